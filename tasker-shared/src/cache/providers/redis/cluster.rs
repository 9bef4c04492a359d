//! A Redis Cluster: one view of its slots, and a connection to each primary.
//!
//! A [`ClusterConnection`] is never repaired. When one of its connections fails, all of it is
//! replaced, like a connection to a single server; so nothing waits for a lost primary. Redirections
//! to known primaries are followed, and have the supervisor replace the connection.
//!
//! The client library's cluster client is not used. While it learns that slots have moved, it sends
//! nothing, and it leaves a primary that it cannot connect to out of `PING`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{join_all, select_ok, try_join_all};
use redis::aio::MultiplexedConnection;
use redis::{Arg, Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::commands::Request;
use super::endpoint::{Address, Endpoint};
use super::redis_error;
use crate::cache::{CacheError, ConnectionFault, RefusalKind};

/// The number of slots of every cluster.
const SLOTS: u16 = 16384;

/// The primaries and their slots, as one node sees them. Equal views of one cluster compare equal,
/// because everything is sorted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Topology {
    primaries: Vec<Address>,
    /// Ranges of slots, and the index of the primary of each.
    ranges: Vec<(u16, u16, usize)>,
}

impl Topology {
    /// Reads the answer of `asked` to `CLUSTER SLOTS`.
    fn read(answer: &Value, asked: &Address) -> Result<Self, ConnectionFault> {
        let Value::Array(ranges) = answer else {
            return Err(ConnectionFault::Protocol);
        };
        let ranges = ranges
            .iter()
            .map(|range| read_range(range, asked))
            .collect::<Result<Vec<_>, _>>()?;
        let mut primaries: Vec<Address> = ranges.iter().map(|(_, node)| node.clone()).collect();
        primaries.sort_unstable();
        primaries.dedup();
        let mut ranges: Vec<(u16, u16, usize)> = ranges
            .iter()
            .filter_map(|(slots, node)| {
                let primary = primaries.binary_search(node).ok()?;
                Some((*slots.start(), *slots.end(), primary))
            })
            .collect();
        ranges.sort_unstable();
        let covered: usize = ranges
            .iter()
            .map(|(first, last, _)| (*first..=*last).len())
            .sum();
        if covered == usize::from(SLOTS) {
            Ok(Self { primaries, ranges })
        } else {
            Err(ConnectionFault::SlotsWithoutPrimary)
        }
    }

    /// Returns the index of the primary that has `key`.
    fn owner(&self, key: &[u8]) -> usize {
        let slot = slot(key);
        let after = self.ranges.partition_point(|(first, _, _)| *first <= slot);
        self.ranges[after.saturating_sub(1)].2
    }
}

fn read_range(
    range: &Value,
    asked: &Address,
) -> Result<(RangeInclusive<u16>, Address), ConnectionFault> {
    let parts = match range {
        Value::Array(parts) => &parts[..],
        _ => &[],
    };
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(primary),
        ..,
    ] = parts
    else {
        return Err(ConnectionFault::Protocol);
    };
    let [host, Value::Int(port), ..] = &primary[..] else {
        return Err(ConnectionFault::Protocol);
    };
    let host = match host {
        Value::BulkString(host) => String::from_utf8_lossy(host),
        _ => "".into(),
    };
    let host = match host.as_ref() {
        // The node means the address at which it was asked.
        "" | "0.0.0.0" | "::" => asked.host.clone(),
        // The node does not know yet under which name the primary is reached.
        "?" => return Err(ConnectionFault::SlotsWithoutPrimary),
        host => host.to_owned(),
    };
    let number = |number: &i64| u16::try_from(*number).map_err(|_| ConnectionFault::Protocol);
    let port = number(port)?;
    Ok((number(first)?..=number(last)?, Address { host, port }))
}

/// Plain connections to all servers that hold keys.
pub(super) struct Servers {
    pub(super) connections: Vec<MultiplexedConnection>,
    /// `None` if there is only one server.
    topology: Option<Topology>,
}

impl Servers {
    pub(super) fn one(connection: MultiplexedConnection) -> Self {
        Self {
            connections: vec![connection],
            topology: None,
        }
    }

    /// Returns whether they still hold all keys, because every primary sees the same slots as when
    /// it was connected to. Callers bound it.
    pub(super) async fn are_complete(&mut self) -> bool {
        let Some(topology) = &self.topology else {
            return true;
        };
        let connections = self.connections.iter_mut().zip(&topology.primaries);
        let asking = connections.map(async |(connection, primary)| {
            let answer = ask(connection, &slots())
                .await
                .map_err(redis_error::of_connecting)?;
            Topology::read(&answer, primary)
        });
        try_join_all(asking)
            .await
            .is_ok_and(|views| views.iter().all(|view| view == topology))
    }
}

/// Connections to all primaries, used as one.
pub(super) struct ClusterConnection {
    topology: Topology,
    /// In the order of `topology.primaries`.
    connections: Vec<MultiplexedConnection>,
    outdated: AtomicBool,
}

impl ClusterConnection {
    /// Connects to every primary, and waits until each has answered. Callers bound it.
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, ConnectionFault> {
        let topology = topology(endpoint).await?;
        let dialing = topology.primaries.iter().map(async |primary| {
            let mut connection = endpoint.dial(Some(primary)).await?;
            match ask(&mut connection, &redis::cmd("PING")).await {
                Ok(_) => Ok(connection),
                Err(error) => match redis_error::of_connecting(error) {
                    // An account may have no right to PING.
                    ConnectionFault::Refused(refusal)
                        if refusal.kind() == RefusalKind::Operation =>
                    {
                        Ok(connection)
                    }
                    fault => Err(fault.at(primary)),
                },
            }
        });
        let connections = try_join_all(dialing).await?;
        endpoint.known.store(Arc::new(topology.primaries.clone()));
        Ok(Self {
            topology,
            connections,
            outdated: AtomicBool::new(false),
        })
    }

    pub(super) fn servers(&self) -> Servers {
        Servers {
            connections: self.connections.clone(),
            topology: Some(self.topology.clone()),
        }
    }

    /// Returns whether the cluster has changed since it was connected to.
    pub(super) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    /// Sends each command to the primary that has its key, and a command without a key to all. Waits
    /// for all answers. Callers bound it.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Value, CacheError> {
        match request {
            Request::One(command) => self.send_one(command).await,
            Request::Many(pipeline) => {
                join_all(pipeline.cmd_iter().map(|command| self.send_one(command)))
                    .await
                    .into_iter()
                    .collect::<Result<_, _>>()
                    .map(Value::Array)
            }
        }
    }

    async fn send_one(&self, command: &Cmd) -> Result<Value, CacheError> {
        // Commands of ours have their key, if any, first.
        let Some(Arg::Simple(key)) = command.args_iter().nth(1) else {
            let all = (0..self.connections.len()).map(|primary| self.send_to(primary, command));
            let answers = try_join_all(all)
                .await
                .map_err(|(at, error)| self.fault(at, error))?;
            return Ok(answers.into_iter().next().unwrap_or(Value::Nil));
        };
        match self.send_to(self.topology.owner(key), command).await {
            Ok(answer) => Ok(answer),
            Err((at, error)) => self.follow(command, at, error).await,
        }
    }

    async fn send_to(&self, primary: usize, command: &Cmd) -> Result<Value, (usize, RedisError)> {
        ask(&mut self.connections[primary].clone(), command)
            .await
            .map_err(|error| (primary, error))
    }

    /// Sends `command` to the primary to which the one at `at` has redirected it. Returns the error
    /// if it is no redirection, or if it leads to an unknown node.
    async fn follow(
        &self,
        command: &Cmd,
        at: usize,
        error: RedisError,
    ) -> Result<Value, CacheError> {
        let only_once = match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => {
                self.outdated.store(true, Ordering::Relaxed);
                false
            }
            ErrorKind::Server(ServerErrorKind::Ask) => true,
            _ => return Err(self.fault(at, error)),
        };
        let target = error.redirect_node().and_then(|(node, _)| {
            let node = redirection(node, &self.topology.primaries[at])?;
            self.topology.primaries.binary_search(&node).ok()
        });
        let Some(target) = target else {
            return Err(self.fault(at, error));
        };
        if !only_once {
            return self
                .send_to(target, command)
                .await
                .map_err(|(at, error)| self.fault(at, error));
        }
        let mut asking = redis::Pipeline::with_capacity(2);
        asking.cmd("ASKING");
        asking.add_command(command.clone());
        self.connections[target]
            .clone()
            .send_packed_commands(&asking, 1, 1)
            .await
            .map(|answers| answers.into_iter().next().unwrap_or(Value::Nil))
            .and_then(Value::extract_error)
            .map_err(|error| self.fault(target, error))
    }

    /// Translates an error of the primary at `at`, and names it if its connection is at fault.
    fn fault(&self, at: usize, error: RedisError) -> CacheError {
        match redis_error::of_operation(error) {
            CacheError::ConnectionError(fault) => {
                CacheError::ConnectionError(fault.at(&self.topology.primaries[at]))
            }
            other => other,
        }
    }
}

/// Returns the view of the configured node that answers first. Callers bound it.
async fn topology(endpoint: &Endpoint) -> Result<Topology, ConnectionFault> {
    let asking = endpoint.servers().into_iter().map(|node| {
        Box::pin(async move {
            let mut connection = endpoint.dial(Some(&node)).await?;
            let answer = ask(&mut connection, &slots())
                .await
                .map_err(|error| redis_error::of_connecting(error).at(&node))?;
            Topology::read(&answer, &node)
        })
    });
    let (topology, _others) = select_ok(asking).await?;
    Ok(topology)
}

/// Returns the slot of `key`: the CRC-16/XMODEM of its hash tag, or of all of it.
fn slot(key: &[u8]) -> u16 {
    let crc = tag(key).unwrap_or(key).iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let polynomial = if crc & 0x8000 == 0 { 0 } else { 0x1021 };
            (crc << 1) ^ polynomial
        })
    });
    crc % SLOTS
}

/// Returns the text between the first `{` and the next `}`, unless it is empty.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let start = key.iter().position(|byte| *byte == b'{')? + 1;
    let length = key[start..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &key[start..start + length])
}

fn slots() -> Cmd {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    command
}

async fn ask(connection: &mut MultiplexedConnection, command: &Cmd) -> Result<Value, RedisError> {
    connection
        .send_packed_command(command)
        .await
        .and_then(Value::extract_error)
}

/// Reads the address to which the node at `answered` redirects. Nodes write addresses of version 6
/// without brackets: the port follows the last colon.
fn redirection(text: &str, answered: &Address) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host {
        "" => answered.host.as_str(),
        host => host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host),
    };
    Some(Address {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{Address, Topology, redirection, slot};
    use crate::cache::ConnectionFault;

    fn address(host: &str, port: u16) -> Address {
        let host = host.to_owned();
        Address { host, port }
    }

    fn range(first: i64, last: i64, host: &str, port: i64) -> Value {
        Value::Array(vec![
            Value::Int(first),
            Value::Int(last),
            Value::Array(vec![
                Value::BulkString(host.as_bytes().to_vec()),
                Value::Int(port),
                Value::BulkString(b"id".to_vec()),
            ]),
            // A replica.
            Value::Array(vec![Value::BulkString(b"r".to_vec()), Value::Int(9)]),
        ])
    }

    fn read(ranges: Vec<Value>) -> Result<Topology, ConnectionFault> {
        Topology::read(&Value::Array(ranges), &address("asked", 1))
    }

    #[test]
    fn slots_are_those_that_redis_computes() {
        assert_eq!(slot(b"123456789"), 12739);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"bar"), 5061);
        assert_eq!(slot(b"{foo}:anything"), slot(b"foo"));
        assert_ne!(slot(b"{}foo"), slot(b"foo"));
    }

    #[test]
    fn each_key_has_the_primary_of_its_slot() {
        let topology = read(vec![
            range(0, 5060, "a", 1),
            range(12183, 16383, "a", 1),
            range(5061, 12182, "", 2),
        ])
        .expect("all slots are there");
        assert_eq!(topology.primaries, [address("a", 1), address("asked", 2)]);
        for (key, owner) in [
            ("foo", 1), // Slot 12182.
            ("{foo}:anything", 1),
            ("bar", 1),       // Slot 5061.
            ("123456789", 0), // Slot 12739.
        ] {
            assert_eq!(topology.owner(key.as_bytes()), owner, "{key}");
        }
    }

    #[test]
    fn the_order_of_an_answer_does_not_matter() {
        let ranges = || vec![range(0, 5000, "b", 1), range(5001, 16383, "a", 2)];
        let mut others = ranges();
        others.reverse();
        let one = read(ranges()).expect("all slots are there");
        assert_eq!(one, read(others).expect("all slots are there"));
        let mut moved = ranges();
        moved[1] = range(5001, 16383, "b", 1);
        assert_ne!(one, read(moved).expect("all slots are there"));
    }

    #[test]
    fn a_slot_without_a_primary_is_a_fault() {
        for ranges in [
            vec![],
            vec![range(0, 16382, "a", 1)],
            vec![range(0, 100, "a", 1), range(102, 16383, "b", 1)],
            vec![range(0, 16383, "?", 1)],
        ] {
            assert!(matches!(
                read(ranges),
                Err(ConnectionFault::SlotsWithoutPrimary)
            ));
        }
    }

    #[test]
    fn an_answer_of_another_shape_is_a_fault() {
        for ranges in [
            vec![Value::Nil],
            vec![range(-1, 16383, "a", 1)],
            vec![range(0, 16383, "a", 100_000)],
        ] {
            assert!(matches!(read(ranges), Err(ConnectionFault::Protocol)));
        }
    }

    #[test]
    fn redirections_are_read_as_nodes_write_them() {
        let answered = address("asked", 1);
        for (written, expected) in [
            ("127.0.0.1:6381", address("127.0.0.1", 6381)),
            ("node_1.example:6381", address("node_1.example", 6381)),
            ("fd00::2:6379", address("fd00::2", 6379)),
            ("[fd00::2]:6379", address("fd00::2", 6379)),
            (":6381", address("asked", 6381)),
        ] {
            assert_eq!(redirection(written, &answered), Some(expected));
        }
        assert_eq!(redirection("one:port", &answered), None);
    }
}
