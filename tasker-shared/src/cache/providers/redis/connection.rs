//! A connection, and the requests that are sent over it.
//!
//! A connection is used until it fails once; then the supervisor replaces it. The client library's
//! `ConnectionManager` is not used, because after a disconnect all its commands wait for one shared
//! attempt to reconnect, and a command that times out does not make it reconnect.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Arg, Cmd, Pipeline, Value};

use super::cluster::ClusterConnection;
use super::redis_error;
use crate::cache::CacheError;

/// Commands that are sent in one go.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    /// One command. The answer is its own.
    One(&'a Cmd),
    /// Commands that are written together, each about one key. The answer is an array; an error
    /// among the answers is the error of all.
    Many(&'a Pipeline),
}

/// The commands that operations send, for reports.
const COMMANDS: [&str; 5] = ["GET", "SET", "UNLINK", "SCAN", "PING"];

impl Request<'_> {
    /// Returns the name of the command, or of the first one of several, which are all the same.
    pub(super) fn command(&self) -> &'static str {
        let command = match self {
            Self::One(command) => Some(*command),
            Self::Many(pipeline) => pipeline.cmd_iter().next(),
        };
        let name = command.and_then(|command| command.args_iter().next());
        let Some(Arg::Simple(name)) = name else {
            return "other";
        };
        let known = COMMANDS.into_iter().find(|known| known.as_bytes() == name);
        known.unwrap_or("other")
    }

    /// Returns the number of answers.
    pub(super) fn len(&self) -> u32 {
        match self {
            Self::One(_) => 1,
            Self::Many(pipeline) => u32::try_from(pipeline.len()).unwrap_or(u32::MAX),
        }
    }
}

/// A multiplexed connection to one server, or one to each primary of a cluster. Clones share it; it
/// closes with the last of them.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(Arc<ClusterConnection>),
}

impl Connection {
    /// Sends `request` and waits for its answer. Has no limit of its own: callers bound it.
    pub(super) async fn send(&mut self, request: Request<'_>) -> Result<Value, CacheError> {
        let connection = match self {
            Self::Server(connection) => connection,
            // Boxed, so that the futures of requests to a single server stay small.
            Self::Cluster(connection) => return Box::pin(connection.send(request)).await,
        };
        match request {
            Request::One(command) => connection.send_packed_command(command).await,
            Request::Many(pipeline) => connection
                .send_packed_commands(pipeline, 0, pipeline.len())
                .await
                .map(Value::Array),
        }
        .and_then(Value::extract_error)
        .map_err(redis_error::of_operation)
    }

    /// Returns whether the cluster has changed since it was connected to. The connection can still
    /// be used, because nodes redirect.
    pub(super) fn is_outdated(&self) -> bool {
        match self {
            Self::Server(_) => false,
            Self::Cluster(connection) => connection.is_outdated(),
        }
    }
}
