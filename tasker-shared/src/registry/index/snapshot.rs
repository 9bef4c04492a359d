//! An immutable map from all registered names to their pointers.
//!
//! A snapshot consists of shards behind `Arc`s. The next snapshot copies only the shards that a change
//! touches, so that following one change costs the same with ten templates as with a hundred thousand.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use hashbrown::{DefaultHashBuilder, HashTable};
use uuid::Uuid;

use crate::models::core::identity_strategy::IdentityStrategy;
use crate::types::ContentHash;

const SHARDS: usize = 512;

/// A template's name, borrowed from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TemplateName<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
}

/// The current document, row and strategy of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) sequence: i64,
    pub(crate) hash: ContentHash,
    pub(crate) named_task_uuid: Uuid,
    pub(crate) identity_strategy: IdentityStrategy,
    pub(crate) registered_at: DateTime<Utc>,
}

/// A name with its pointer. A changed pointer makes a new entry.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Identifies this entry in this process. Never used again.
    pub(crate) id: u64,
    namespace: Arc<str>,
    // Name and version in one allocation: there may be a hundred thousand entries.
    name_and_version: Box<str>,
    name_length: u32,
    pub(crate) pointer: Pointer,
}

impl Entry {
    fn new(namespace: Arc<str>, name: &str, version: &str, pointer: Pointer) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            namespace,
            name_and_version: [name, version].concat().into(),
            name_length: u32::try_from(name.len()).expect("the column holds at most 64 characters"),
            pointer,
        }
    }

    pub(crate) fn name(&self) -> TemplateName<'_> {
        let (name, version) = self.name_and_version.split_at(self.name_length as usize);
        TemplateName {
            namespace: &self.namespace,
            name,
            version,
        }
    }
}

/// A changed name, as a poll reads it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// `None` if the name is no longer registered.
    pub(crate) pointer: Option<Pointer>,
}

type Shard = HashTable<Arc<Entry>>;

/// All registered names at one position.
#[derive(Clone)]
pub(crate) struct Snapshot {
    shards: Vec<Arc<Shard>>,
    hasher: DefaultHashBuilder,
    templates: usize,
}

impl Snapshot {
    pub(crate) fn empty() -> Self {
        let shard = Arc::new(Shard::new());
        Self {
            shards: vec![shard; SHARDS],
            hasher: DefaultHashBuilder::default(),
            templates: 0,
        }
    }

    /// Returns the number of registered names.
    pub(crate) fn len(&self) -> usize {
        self.templates
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Returns the entry of a name. Allocates nothing and takes no lock.
    pub(crate) fn get(&self, name: TemplateName<'_>) -> Option<&Arc<Entry>> {
        let hash = self.hash(name);
        self.shards[shard_of(hash)].find(hash, |entry| entry.name() == name)
    }

    /// Returns a snapshot with `changes` applied. Entries whose pointer did not change stay the same
    /// entries.
    pub(crate) fn with_changes(&self, changes: impl IntoIterator<Item = Change>) -> Self {
        let mut next = self.clone();
        for change in changes {
            let name = TemplateName {
                namespace: &change.namespace,
                name: &change.name,
                version: &change.version,
            };
            if self
                .get(name)
                .is_some_and(|old| change.pointer.as_ref() == Some(&old.pointer))
            {
                continue;
            }
            let hash = next.hash(name);
            let namespace = next.intern(&change.namespace);
            let hasher = next.hasher.clone();
            let shard = Arc::make_mut(&mut next.shards[shard_of(hash)]);
            if let Ok(found) = shard.find_entry(hash, |entry| entry.name() == name) {
                found.remove();
                next.templates -= 1;
            }
            if let Some(pointer) = change.pointer {
                let entry = Arc::new(Entry::new(namespace, name.name, name.version, pointer));
                shard.insert_unique(hash, entry, |entry| hasher.hash_one(entry.name()));
                next.templates += 1;
            }
        }
        next
    }

    /// Returns a snapshot of exactly `names`, which shares unchanged entries with this one.
    pub(crate) fn replaced_by(&self, names: impl IntoIterator<Item = Change>) -> Self {
        let mut next = Self {
            hasher: self.hasher.clone(),
            ..Self::empty()
        };
        let mut namespaces: hashbrown::HashSet<Arc<str>> = hashbrown::HashSet::new();
        for change in names {
            let Some(pointer) = change.pointer else {
                continue;
            };
            let name = TemplateName {
                namespace: &change.namespace,
                name: &change.name,
                version: &change.version,
            };
            let entry = match self.get(name) {
                Some(old) if old.pointer == pointer => Arc::clone(old),
                _ => {
                    let namespace =
                        namespaces.get_or_insert_with(name.namespace, |text| Arc::from(text));
                    Arc::new(Entry::new(
                        Arc::clone(namespace),
                        name.name,
                        name.version,
                        pointer,
                    ))
                }
            };
            let hash = next.hash(name);
            let hasher = next.hasher.clone();
            Arc::make_mut(&mut next.shards[shard_of(hash)])
                .insert_unique(hash, entry, |entry| hasher.hash_one(entry.name()));
            next.templates += 1;
        }
        next
    }

    // Shares the namespace's text if one of the first entries has it.
    fn intern(&self, namespace: &str) -> Arc<str> {
        self.iter()
            .take(64)
            .find(|entry| &*entry.namespace == namespace)
            .map_or_else(
                || Arc::from(namespace),
                |entry| Arc::clone(&entry.namespace),
            )
    }

    fn hash(&self, name: TemplateName<'_>) -> u64 {
        self.hasher.hash_one(name)
    }
}

fn shard_of(hash: u64) -> usize {
    // The table inside a shard uses the low bits and the top seven.
    usize::try_from((hash >> 40) % SHARDS as u64).expect("a shard's number is small")
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("templates", &self.templates)
            .finish_non_exhaustive()
    }
}
