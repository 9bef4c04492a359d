//! A list or mapping that is being read.

use serde_json::{Map, Value};

use super::budget::Moment;
use crate::path::{Segment, clip};
use crate::problem::{Location, ProblemKind};

/// A list or mapping that is being read.
#[derive(Debug)]
pub(super) struct Frame {
    contents: Contents,
    /// The anchor that names it, 0 for none.
    pub(super) anchor: usize,
    /// The counts when it began, from which its size follows when it ends.
    pub(super) start: Moment,
    /// Levels of its deepest value.
    pub(super) height: usize,
}

#[derive(Debug)]
enum Contents {
    List(Vec<Value>),
    Mapping {
        entries: Vec<Entry>,
        /// The value of `<<`, and its location.
        merge: Option<(Value, Location)>,
        /// The key whose value comes next.
        pending: Option<Key>,
    },
}

#[derive(Debug)]
struct Entry {
    key: String,
    at: Location,
    value: Value,
}

/// A mapping's key and its location.
#[derive(Debug)]
pub(super) enum Key {
    Text(String, Location),
    Merge(Location),
}

impl Frame {
    pub(super) fn list(anchor: usize, start: Moment) -> Self {
        let contents = Contents::List(Vec::new());
        Self::new(contents, anchor, start)
    }

    pub(super) fn mapping(anchor: usize, start: Moment) -> Self {
        let contents = Contents::Mapping {
            entries: Vec::new(),
            merge: None,
            pending: None,
        };
        Self::new(contents, anchor, start)
    }

    fn new(contents: Contents, anchor: usize, start: Moment) -> Self {
        Self {
            contents,
            anchor,
            start,
            height: 0,
        }
    }

    /// Returns true if the next node is a mapping's key.
    pub(super) fn expects_key(&self) -> bool {
        matches!(self.contents, Contents::Mapping { pending: None, .. })
    }

    pub(super) fn set_key(&mut self, key: Key) {
        if let Contents::Mapping { pending, .. } = &mut self.contents {
            *pending = Some(key);
        }
    }

    /// Returns the path segment of the next value.
    pub(super) fn segment(&self) -> Segment<'_> {
        match &self.contents {
            Contents::List(items) => Segment::Index(items.len()),
            Contents::Mapping { pending, .. } => match pending {
                Some(Key::Text(text, _)) => Segment::Key(text),
                Some(Key::Merge(_)) => Segment::Key("<<"),
                None => Segment::Root,
            },
        }
    }

    /// Returns true if the next value belongs to `key`.
    pub(super) fn is_at(&self, key: &str) -> bool {
        matches!(self.segment(), Segment::Key(pending) if pending == key)
    }

    /// Returns the location of the key whose value comes next.
    pub(super) fn key_location(&self) -> Option<Location> {
        match &self.contents {
            Contents::Mapping {
                pending: Some(Key::Text(_, at) | Key::Merge(at)),
                ..
            } => Some(*at),
            _ => None,
        }
    }

    /// Adds the next value. Returns a problem with its location if it cannot be added.
    pub(super) fn push(&mut self, value: Value, height: usize) -> Option<(Location, ProblemKind)> {
        self.height = self.height.max(height);
        match &mut self.contents {
            Contents::List(items) => {
                items.push(value);
                None
            }
            Contents::Mapping {
                entries,
                merge,
                pending,
            } => match pending.take()? {
                Key::Text(key, at) => {
                    entries.push(Entry { key, at, value });
                    None
                }
                Key::Merge(at) => {
                    if let Some((_, first)) = merge {
                        let key = String::from("<<");
                        let first_line = first.line;
                        return Some((at, ProblemKind::DuplicateKey { key, first_line }));
                    }
                    let is_mergeable = match &value {
                        Value::Object(_) => true,
                        Value::Array(items) => items.iter().all(Value::is_object),
                        _ => false,
                    };
                    if !is_mergeable {
                        return Some((at, ProblemKind::NotMergeable));
                    }
                    *merge = Some((value, at));
                    None
                }
            },
        }
    }

    /// Returns the finished value, and a problem with its location for each repeated key.
    pub(super) fn finish(self) -> (Value, Vec<(Location, ProblemKind)>) {
        let mut duplicates = Vec::new();
        let (mut entries, merge) = match self.contents {
            Contents::List(items) => return (Value::Array(items), duplicates),
            Contents::Mapping { entries, merge, .. } => (entries, merge),
        };
        // The sort is stable, so that of equal keys the one that was written first stays first.
        entries.sort_by(|left, right| left.key.cmp(&right.key));
        for pair in entries.windows(2) {
            if pair[0].key == pair[1].key {
                let kind = ProblemKind::DuplicateKey {
                    key: clip(&pair[1].key),
                    first_line: pair[0].at.line,
                };
                duplicates.push((pair[1].at, kind));
            }
        }
        let mut map: Map<String, Value> = entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect();
        match merge {
            Some((Value::Object(other), _)) => merge_into(&mut map, other),
            Some((Value::Array(others), _)) => {
                for other in others {
                    if let Value::Object(other) = other {
                        merge_into(&mut map, other);
                    }
                }
            }
            _ => {}
        }
        (Value::Object(map), duplicates)
    }
}

/// Adds the keys that `map` does not have. Its own keys win, then earlier merged mappings.
fn merge_into(map: &mut Map<String, Value>, other: Map<String, Value>) {
    for (key, value) in other {
        map.entry(key).or_insert(value);
    }
}
