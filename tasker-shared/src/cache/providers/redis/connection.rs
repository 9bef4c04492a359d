//! A connection to the configured server.
//!
//! A connection is used until it fails once; then the supervisor replaces it. The client library's
//! `ConnectionManager` is not used, because after a disconnect all its commands wait for one shared
//! attempt to reconnect, and a command that times out does not make it reconnect.

use std::sync::Arc;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::cluster::{ClusterConnection, Servers};
use super::commands::Request;
use super::endpoint::Endpoint;
use super::{redis_error, sentinel};
use crate::cache::CacheError;
use crate::config::tasker::RedisMode;

/// A multiplexed connection to one server, or one to each primary of a cluster. Clones share it; it
/// closes with the last of them.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(Arc<ClusterConnection>),
}

impl Connection {
    /// Connects: authenticated, with the database selected; behind sentinels to the primary, in a
    /// cluster to all primaries. Takes `connection_timeout_seconds` at most, name resolution and TLS
    /// included.
    pub(super) async fn to(endpoint: &Endpoint) -> Result<Self, CacheError> {
        let connecting = async {
            match endpoint.mode {
                RedisMode::Single => endpoint.dial(None).await.map(Self::Server),
                RedisMode::Sentinel => sentinel::connect(endpoint).await.map(Self::Server),
                RedisMode::Cluster => ClusterConnection::connect(endpoint)
                    .await
                    .map(|connection| Self::Cluster(Arc::new(connection))),
            }
        };
        endpoint.in_time(connecting).await
    }

    /// Returns plain connections to all servers that hold keys.
    pub(super) fn servers(self) -> Servers {
        match self {
            Self::Server(connection) => Servers::one(connection),
            Self::Cluster(connection) => connection.servers(),
        }
    }

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
