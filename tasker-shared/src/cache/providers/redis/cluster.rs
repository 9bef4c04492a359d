//! A Redis Cluster: who its primaries are, and a connection to each.
//!
//! A [`ClusterLink`] is never mended. It is one view of the cluster and a connection to each primary
//! in it; when one of them fails, all of it is replaced, as a single connection is. So a cluster has
//! the one breaker that single servers have: while a primary is lost, nothing waits for it. A
//! redirection is followed, and makes a background task replace the link meanwhile
//! ([`super::refresh`]).

mod hash_slot;
mod link;
mod redirect;
pub(super) mod topology;

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::try_join_all;
use rand::seq::SliceRandom;
use redis::{Cmd, Value};
use tokio::sync::Notify;

pub(super) use self::link::ClusterLink;
use self::topology::Topology;
use super::address::Address;
use super::dial::{Dialer, at};
use super::faults;
use super::hedge::first_success;
use crate::cache::ConnectionFault;

/// What is known of a cluster between connections.
pub(super) struct Cluster {
    dialer: Dialer,
    /// The configured nodes.
    seeds: Vec<Address>,
    /// The primaries that were connected to last: the seeds may all be gone one day.
    known: ArcSwap<Vec<Address>>,
    changed: Arc<Notify>,
}

impl Cluster {
    pub(super) fn new(dialer: Dialer, seeds: Vec<Address>) -> Self {
        Self {
            dialer,
            seeds,
            known: ArcSwap::default(),
            changed: Arc::default(),
        }
    }

    /// Wakes who waits in [`Self::until_changed`], now or next.
    pub(super) fn note_change(&self) {
        self.changed.notify_one();
    }

    /// Completes when somebody has noticed that the cluster has changed.
    pub(super) async fn until_changed(&self) {
        self.changed.notified().await;
    }

    /// A connection to each primary; fails if one of them cannot be connected to, or if a slot has
    /// none. Without a limit: the caller bounds it.
    pub(super) async fn connect(&self) -> Result<Arc<ClusterLink>, ConnectionFault> {
        let topology = self.topology().await?;
        self.link(Arc::new(topology), None).await
    }

    /// As [`Self::connect`], with this topology, and with the connections of `old` to primaries that
    /// are still some.
    pub(super) async fn renew(
        &self,
        old: &ClusterLink,
        topology: Arc<Topology>,
    ) -> Result<Arc<ClusterLink>, ConnectionFault> {
        self.link(topology, Some(old)).await
    }

    async fn link(
        &self,
        topology: Arc<Topology>,
        old: Option<&ClusterLink>,
    ) -> Result<Arc<ClusterLink>, ConnectionFault> {
        let connecting = topology.primaries().iter().map(async |primary| {
            match old.and_then(|old| old.connection_to(primary)) {
                Some(connection) => Ok(connection),
                None => self.dialer.dial_at(primary).await,
            }
        });
        let connections = try_join_all(connecting).await?;
        self.known.store(Arc::new(topology.primaries().to_vec()));
        Ok(Arc::new(ClusterLink::new(
            topology,
            connections,
            Arc::clone(&self.changed),
        )))
    }

    /// The primaries and their slots, as the node sees them that answers first. Without a limit: the
    /// caller bounds it.
    pub(super) async fn topology(&self) -> Result<Topology, ConnectionFault> {
        let mut candidates = self.seeds.clone();
        let known = self.known.load();
        let others = known.iter().filter(|known| !self.seeds.contains(known));
        candidates.extend(others.cloned());
        // A node that was cut off may have an old view; the next attempt asks another one.
        candidates.shuffle(&mut rand::rng());
        first_success(candidates, async |node| {
            let mut connection = self.dialer.dial_at(&node).await?;
            let answer = connection
                .send_packed_command(&question())
                .await
                .and_then(Value::extract_error)
                .map_err(|error| at(&node, faults::of_connecting(error)))?;
            Topology::read(&answer, &node)
        })
        .await
        .map_err(|error| error.unwrap_or(ConnectionFault::NoneUp))
    }
}

/// What a node answers with a topology.
pub(super) fn question() -> Cmd {
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    question
}
