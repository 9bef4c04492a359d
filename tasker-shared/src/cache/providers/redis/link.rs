//! What is sent, and over what.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};

use super::address::Address;
use super::cluster::ClusterLink;
use super::cluster::topology::Topology;
use super::faults;
use crate::cache::CacheError;

/// What is sent to Redis in one go.
pub(super) enum Request<'a> {
    /// One command and its answer. In a cluster it goes to the primary of its first argument, or to
    /// all primaries if it has none; then the answer is that of one of them.
    One(&'a Cmd),
    /// Commands that are written together, and an array of their answers. Each must be about one
    /// key.
    Many(&'a Pipeline),
    /// Like [`Request::Many`], but an error is the answer in its place, and none of the others. In a
    /// cluster it is that of all: there commands that may fail by themselves are sent by themselves.
    Each(&'a Pipeline),
    /// One command for this part of the cache, and its answer.
    To(&'a Part, &'a Cmd),
}

impl Request<'_> {
    /// How many of the answers are no errors.
    pub(super) fn good_answers(&self, answer: &Value) -> u32 {
        let count = match (self, answer) {
            (Self::Each(_), Value::Array(answers)) => answers
                .iter()
                .filter(|answer| !matches!(answer, Value::ServerError(_)))
                .count(),
            (Self::Many(pipeline), _) => pipeline.len(),
            _ => 1,
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// A part of the cache that is looked through by itself: a primary of a cluster, or all there is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    All,
    Primary(Address),
}

/// How the keys are spread.
#[derive(Debug, Clone)]
pub(super) enum Layout {
    Single,
    Cluster(Arc<Topology>),
}

impl Layout {
    /// The parts of the cache, which together hold all keys.
    pub(super) fn parts(&self) -> Vec<Part> {
        match self {
            Self::Single => vec![Part::All],
            Self::Cluster(topology) => topology
                .primaries()
                .iter()
                .cloned()
                .map(Part::Primary)
                .collect(),
        }
    }

    /// Keys that begin with `base`, of which each part of the cache that can hold such keys holds
    /// one.
    pub(super) fn key_in_each_part(&self, base: &str) -> Vec<String> {
        match self {
            Self::Single => vec![base.to_owned()],
            Self::Cluster(topology) => topology.key_at_each_primary(base),
        }
    }
}

/// One multiplexed connection, or one to each primary of a cluster. Clones share it; it closes with
/// the last of them.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(Arc<ClusterLink>),
}

impl Link {
    /// Sends `request` and waits for its answer, without a limit: callers bound it. An error
    /// among the answers to many commands is the error of all.
    pub(super) async fn send(&mut self, request: &Request<'_>) -> Result<Value, CacheError> {
        let connection = match self {
            Self::Single(connection) => connection,
            // Boxed, so that the futures of all who use a single server stay small.
            Self::Cluster(cluster) => return Box::pin(cluster.send(request)).await,
        };
        match request {
            Request::One(command) | Request::To(_, command) => {
                connection.send_packed_command(command).await
            }
            Request::Many(pipeline) => together(connection, pipeline).await.map(Value::Array),
            Request::Each(pipeline) => {
                let answers = together(connection, pipeline).await;
                return answers.map(Value::Array).map_err(faults::of_operation);
            }
        }
        .and_then(Value::extract_error)
        .map_err(faults::of_operation)
    }

    /// How the keys are spread, as far as this link knows.
    pub(super) fn layout(&self) -> Layout {
        match self {
            Self::Single(_) => Layout::Single,
            Self::Cluster(cluster) => Layout::Cluster(cluster.topology()),
        }
    }

    /// How many connections it is.
    pub(super) fn connections(&self) -> usize {
        self.layout().parts().len()
    }

    /// Whether the cluster is no more as it was when this was made.
    pub(super) fn is_outdated(&self) -> bool {
        match self {
            Self::Single(_) => false,
            Self::Cluster(cluster) => cluster.is_outdated(),
        }
    }
}

async fn together(
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
) -> Result<Vec<Value>, RedisError> {
    connection
        .send_packed_commands(pipeline, 0, pipeline.len())
        .await
}
