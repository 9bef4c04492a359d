//! Connections to all primaries of a cluster, used as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{join_all, try_join_all};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::Notify;

use super::super::address::Address;
use super::super::dial::at;
use super::super::faults;
use super::super::link::{Part, Request};
use super::redirect::Redirect;
use super::topology::Topology;
use crate::cache::{CacheError, ConnectionFault, Refusal};

pub(in super::super) struct ClusterLink {
    topology: Arc<Topology>,
    /// One for each primary, in the topology's order.
    connections: Vec<MultiplexedConnection>,
    outdated: AtomicBool,
    changed: Arc<Notify>,
}

impl ClusterLink {
    pub(super) fn new(
        topology: Arc<Topology>,
        connections: Vec<MultiplexedConnection>,
        changed: Arc<Notify>,
    ) -> Self {
        Self {
            topology,
            connections,
            outdated: AtomicBool::new(false),
            changed,
        }
    }

    pub(in super::super) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology)
    }

    /// The connection to this primary, if it is one.
    pub(super) fn connection_to(&self, primary: &Address) -> Option<MultiplexedConnection> {
        self.place_of(primary)
            .map(|place| self.connections[place].clone())
    }

    pub(in super::super) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    /// See `Link::send`. A redirection to a known primary is followed once.
    pub(in super::super) async fn send(&self, request: &Request<'_>) -> Result<Value, CacheError> {
        match request {
            Request::One(command) => self.send_one(command).await,
            Request::Many(pipeline) | Request::Each(pipeline) => self.send_many(pipeline).await,
            Request::To(part, command) => {
                let place = match part {
                    Part::Primary(address) => self.place_of(address),
                    Part::All => None,
                };
                let Some(place) = place else {
                    // As a node would answer that is asked for what another one has. Whether this
                    // view is old or that of who asks, they differ.
                    self.note_change();
                    return Err(CacheError::BackendError(Refusal::new("MOVED")));
                };
                let answer = self.send_at(place, command).await;
                answer.map_err(|error| self.fault(place, error))
            }
        }
    }

    async fn send_one(&self, command: &Cmd) -> Result<Value, CacheError> {
        let Some(key) = key_of(command) else {
            return self.send_to_all(command).await;
        };
        let place = self.topology.owner(key);
        match self.send_at(place, command).await {
            Err(error) => self.follow(place, command, error).await,
            Ok(answer) => Ok(answer),
        }
    }

    async fn send_at(&self, place: usize, command: &Cmd) -> Result<Value, RedisError> {
        self.connections[place]
            .clone()
            .send_packed_command(command)
            .await
            .and_then(Value::extract_error)
    }

    async fn send_to_all(&self, command: &Cmd) -> Result<Value, CacheError> {
        let places = 0..self.connections.len();
        let answers = try_join_all(places.map(|place| async move {
            let answer = self.send_at(place, command).await;
            answer.map_err(|error| self.fault(place, error))
        }))
        .await?;
        answers
            .into_iter()
            .next()
            .ok_or(CacheError::ConnectionError(ConnectionFault::NoneUp))
    }

    /// Sends all commands side by side, each where its key is; a connection writes together what it
    /// is given at once. Waits for all answers, also if one is an error.
    async fn send_many(&self, pipeline: &Pipeline) -> Result<Value, CacheError> {
        let answers = join_all(pipeline.cmd_iter().map(|command| self.send_one(command))).await;
        let answers: Result<_, _> = answers.into_iter().collect();
        answers.map(Value::Array)
    }

    /// Sends `command` where the node at `place` said that its key is. If it did not say, or
    /// named a node that this link does not know, the error is the answer.
    async fn follow(
        &self,
        place: usize,
        command: &Cmd,
        error: RedisError,
    ) -> Result<Value, CacheError> {
        let Some(redirect) = Redirect::read(&error, &self.topology.primaries()[place]) else {
            return Err(self.fault(place, error));
        };
        // Wherever the slot is now: this view is old.
        if !redirect.only_once {
            self.note_change();
        }
        let Some(target) = redirect.target.and_then(|target| self.place_of(&target)) else {
            return Err(self.fault(place, error));
        };
        if redirect.only_once {
            let mut asking = Pipeline::with_capacity(2);
            asking.cmd("ASKING").ignore();
            asking.add_command(command.clone());
            // The answers from the second on, of which there is one.
            self.connections[target]
                .clone()
                .send_packed_commands(&asking, 1, 1)
                .await
                .map(|answers| answers.into_iter().next().unwrap_or(Value::Nil))
                .and_then(Value::extract_error)
        } else {
            self.send_at(target, command).await
        }
        .map_err(|error| self.fault(target, error))
    }

    /// An error of the node at `place`, which it names if the connection is at fault.
    fn fault(&self, place: usize, error: RedisError) -> CacheError {
        match faults::of_operation(error) {
            CacheError::ConnectionError(fault) => {
                CacheError::ConnectionError(at(&self.topology.primaries()[place], fault))
            }
            other => other,
        }
    }

    fn place_of(&self, address: &Address) -> Option<usize> {
        self.topology
            .primaries()
            .iter()
            .position(|primary| primary == address)
    }

    fn note_change(&self) {
        if !self.outdated.swap(true, Ordering::Relaxed) {
            self.changed.notify_one();
        }
    }
}

/// The key that a command of ours is about: its first argument, if it has one.
fn key_of(command: &Cmd) -> Option<&[u8]> {
    match command.args_iter().nth(1) {
        Some(redis::Arg::Simple(key)) => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redis::Value;

    use super::super::super::address::Address;
    use super::super::topology::Topology;
    use super::ClusterLink;

    /// A link whose one primary has all slots, and to which no connection is up.
    fn link() -> ClusterLink {
        let range =
            redis::parse_redis_value(b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$3\r\none\r\n:1\r\n")
                .expect("an answer to CLUSTER SLOTS");
        let asked = Address::parse("one:1").expect("an address");
        let topology = Topology::read(&range, &asked).expect("all slots are there");
        ClusterLink::new(Arc::new(topology), Vec::new(), Arc::default())
    }

    async fn redirected(answer: &[u8]) -> ClusterLink {
        let link = link();
        let error = redis::parse_redis_value(answer)
            .and_then(Value::extract_error)
            .expect_err("an error line is an error");
        link.follow(0, redis::cmd("GET").arg("key"), error)
            .await
            .expect_err("it leads nowhere that is known");
        link
    }

    #[tokio::test]
    async fn every_move_makes_the_view_old_wherever_it_leads() {
        for answer in [
            &b"-MOVED 3999 fd00::2:6379\r\n"[..],
            b"-MOVED 3999 ?:6379\r\n",
            b"-MOVED\r\n",
        ] {
            let link = redirected(answer).await;
            assert!(link.is_outdated());
            link.changed.notified().await;
        }
        let link = redirected(b"-ASK 3999 fd00::2:6379\r\n").await;
        assert!(!link.is_outdated());
    }
}
