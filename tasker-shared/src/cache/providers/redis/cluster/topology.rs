//! Which primary has which slots, as one node of the cluster sees it.

use redis::Value;

use super::super::address::Address;
use super::hash_slot;
use crate::cache::ConnectionFault;

/// Keys that are tried before a primary is taken for one that no key with this beginning can reach.
/// A primary with a single slot is missed one time in 450.
const TRIES: u32 = 100_000;

/// The primaries, and the slots of each. Every slot has one. Compares unequal when something has
/// moved, however the nodes that were asked order what they know.
#[derive(Debug, PartialEq)]
pub(in super::super) struct Topology {
    /// Sorted.
    primaries: Vec<Address>,
    /// For each slot the place of its primary among them.
    owners: Box<[u16]>,
}

impl Topology {
    /// Reads an answer to `CLUSTER SLOTS` that `asked` gave.
    pub(in super::super) fn read(answer: &Value, asked: &Address) -> Result<Self, ConnectionFault> {
        let Value::Array(ranges) = answer else {
            return Err(ConnectionFault::Protocol);
        };
        let ranges = ranges
            .iter()
            .map(|range| read_range(range, asked))
            .collect::<Result<Vec<_>, _>>()?;
        let mut primaries: Vec<Address> = ranges
            .iter()
            .map(|(_, _, primary)| primary.clone())
            .collect();
        primaries.sort_unstable();
        primaries.dedup();
        let mut owners = vec![None; usize::from(hash_slot::SLOTS)];
        for (first, last, primary) in ranges {
            let place = primaries
                .binary_search(&primary)
                .ok()
                .and_then(|place| u16::try_from(place).ok())
                .ok_or(ConnectionFault::Protocol)?;
            owners
                .get_mut(first..=last)
                .ok_or(ConnectionFault::Protocol)?
                .fill(Some(place));
        }
        let owners = owners
            .into_iter()
            .collect::<Option<Box<[u16]>>>()
            .ok_or(ConnectionFault::SlotsWithoutPrimary)?;
        Ok(Self { primaries, owners })
    }

    pub(in super::super) fn primaries(&self) -> &[Address] {
        &self.primaries
    }

    /// The place of the primary that has `key`.
    pub(super) fn owner(&self, key: &[u8]) -> usize {
        self.owners[usize::from(hash_slot::of_key(key))].into()
    }

    /// See `Layout::key_in_each_part`. A `base` with a hash tag has all its keys in one place.
    pub(in super::super) fn key_at_each_primary(&self, base: &str) -> Vec<String> {
        if hash_slot::tag(base.as_bytes()).is_some() {
            return vec![base.to_owned()];
        }
        let mut keys = vec![None; self.primaries.len()];
        let mut missing = keys.len();
        for number in 0..TRIES {
            let key = format!("{base}:{number}");
            let place = &mut keys[self.owner(key.as_bytes())];
            if place.is_none() {
                *place = Some(key);
                missing -= 1;
            }
            if missing == 0 {
                break;
            }
        }
        keys.into_iter().flatten().collect()
    }
}

fn read_range(range: &Value, asked: &Address) -> Result<(usize, usize, Address), ConnectionFault> {
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
        Value::BulkString(host) => String::from_utf8_lossy(host).into_owned(),
        _ => String::new(),
    };
    let number = |number: &i64| usize::try_from(*number).map_err(|_| ConnectionFault::Protocol);
    let primary = Address {
        host: match host.as_str() {
            // The node that was asked, or one that listens where it does.
            "" | "0.0.0.0" | "::" => asked.host.clone(),
            // One that has not said yet under which name it is known.
            "?" => return Err(ConnectionFault::SlotsWithoutPrimary),
            _ => host,
        },
        port: u16::try_from(*port).map_err(|_| ConnectionFault::Protocol)?,
    };
    Ok((number(first)?, number(last)?, primary))
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::super::super::address::Address;
    use super::Topology;
    use crate::cache::ConnectionFault;

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
        let asked = Address::parse("asked:1").expect("an address");
        Topology::read(&Value::Array(ranges), &asked)
    }

    #[test]
    fn each_slot_has_the_primary_of_its_range() {
        let topology = read(vec![
            range(0, 5000, "a", 1),
            range(5001, 12000, "", 2),
            range(12001, 16383, "a", 1),
        ])
        .expect("all slots are there");
        let shown: Vec<String> = topology
            .primaries()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["a:1", "asked:2"]);
        assert_eq!(topology.owner(b"foo"), 0, "slot 12182");
        assert_eq!(topology.owner(b"bar"), 1, "slot 5061");
    }

    #[test]
    fn the_order_of_an_answer_does_not_matter() {
        let ranges = || {
            vec![
                range(0, 5000, "b", 1),
                range(5001, 12000, "a", 2),
                range(12001, 16383, "a", 1),
            ]
        };
        let mut others = ranges();
        others.reverse();
        let one = read(ranges()).expect("all slots are there");
        assert_eq!(one, read(others).expect("all slots are there"));
        let mut moved = ranges();
        moved[2] = range(12001, 16383, "b", 1);
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
            vec![range(0, 16384, "a", 1)],
            vec![range(-1, 16383, "a", 1)],
            vec![range(0, 16383, "a", 100_000)],
        ] {
            assert!(matches!(read(ranges), Err(ConnectionFault::Protocol)));
        }
    }

    #[test]
    fn each_primary_gets_a_key_of_its_own() {
        let topology = read(vec![
            range(0, 0, "lonely", 1),
            range(1, 8000, "a", 1),
            range(8001, 16383, "b", 1),
        ])
        .expect("all slots are there");
        let keys = topology.key_at_each_primary("tasker:probe:1");
        let owners: Vec<usize> = keys
            .iter()
            .map(|key| topology.owner(key.as_bytes()))
            .collect();
        assert_eq!(owners, [0, 1, 2]);
        assert_eq!(topology.key_at_each_primary("{t}:probe"), ["{t}:probe"]);
    }
}
