//! The worker's own cache: templates with its environment's overrides applied.
//!
//! It is no source of truth and knows no age limit. Whoever looks up first asks the registry
//! what is current, and an entry answers only if it was made from exactly that: same name, same
//! content hash, same sequence. So whatever races with whatever, the worst that an entry can do
//! is to be made again.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tasker_shared::types::{CacheStats, ContentHash, Document, HandlerMetadata};

/// The pointer that an entry was made from, and that decides whether it is current.
pub(crate) type Pointer = (ContentHash, i64);

/// A template as this worker's environment sees it.
#[derive(Debug)]
pub struct ResolvedTemplate {
    metadata: Arc<HandlerMetadata>,
    overridden: Option<Document>,
    cached_at: Instant,
    accesses: AtomicU64,
}

impl ResolvedTemplate {
    /// What the registry answered, overrides not applied.
    #[must_use]
    pub fn metadata(&self) -> &Arc<HandlerMetadata> {
        &self.metadata
    }

    /// The document with the environment's overrides applied.
    #[must_use]
    pub fn document(&self) -> &Document {
        // Most templates override nothing in most environments: those share the registry's bytes.
        self.overridden.as_ref().unwrap_or(&self.metadata.document)
    }

    fn pointer(&self) -> Pointer {
        (self.metadata.hash, self.metadata.sequence)
    }

    fn access(self: Arc<Self>, cached: bool, now: Instant) -> Lookup {
        Lookup {
            cached,
            age: now.saturating_duration_since(self.cached_at),
            access_count: self.accesses.fetch_add(1, Relaxed) + 1,
            template: self,
            stale_by: None,
        }
    }
}

/// A template that was looked up, and what the cache knew of it at that moment.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The template.
    pub template: Arc<ResolvedTemplate>,
    /// Whether it was held already.
    pub cached: bool,
    /// For how long it has been held; zero when it was not.
    pub age: Duration,
    /// How often it was handed out since it was made, this time included.
    pub access_count: u64,
    /// How far past the bound the answer may be; see
    /// [`Resolution::stale_by`](tasker_shared::registry::Resolution::stale_by).
    pub stale_by: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TemplateKey {
    namespace: Box<str>,
    name: Box<str>,
    version: Box<str>,
}

/// Hashes as a [`TemplateKey`] of the same names does, so that looking up allocates nothing.
#[derive(Hash)]
struct TemplateKeyRef<'a> {
    namespace: &'a str,
    name: &'a str,
    version: &'a str,
}

impl moka::Equivalent<TemplateKey> for TemplateKeyRef<'_> {
    fn equivalent(&self, key: &TemplateKey) -> bool {
        *self.namespace == *key.namespace
            && *self.name == *key.name
            && *self.version == *key.version
    }
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

/// Entries by name, at most a configured number of them; the least recently used one makes room.
#[derive(Debug)]
pub(crate) struct ResolvedCache {
    entries: Cache<TemplateKey, Arc<ResolvedTemplate>>,
    counters: Arc<Counters>,
}

impl ResolvedCache {
    pub(crate) fn new(max_entries: u64) -> Self {
        let counters = Arc::new(Counters::default());
        let listener = Arc::clone(&counters);
        let entries = Cache::builder()
            .max_capacity(max_entries)
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, _, cause| {
                // An entry that was replaced or deleted was not in anybody's way.
                if cause == RemovalCause::Size {
                    listener.evictions.fetch_add(1, Relaxed);
                }
            })
            .build();
        Self { entries, counters }
    }

    /// The entry that was made from `metadata`. One that was made from anything else is a miss.
    pub(crate) fn lookup(&self, metadata: &HandlerMetadata, now: Instant) -> Option<Lookup> {
        let held = self
            .entries
            .get(&key_of(metadata))
            .filter(|held| held.pointer() == (metadata.hash, metadata.sequence));
        let counter = match held {
            Some(_) => &self.counters.hits,
            None => &self.counters.misses,
        };
        counter.fetch_add(1, Relaxed);
        held.map(|held| held.access(true, now))
    }

    /// Holds a template, in place of whatever was held under its name.
    ///
    /// `overridden` is the document with overrides applied, if that differs from the registered
    /// one.
    pub(crate) fn insert(
        &self,
        metadata: Arc<HandlerMetadata>,
        overridden: Option<Document>,
        now: Instant,
    ) -> Lookup {
        let key = TemplateKey {
            namespace: metadata.namespace.as_str().into(),
            name: metadata.name.as_str().into(),
            version: metadata.version.as_str().into(),
        };
        let template = Arc::new(ResolvedTemplate {
            metadata,
            overridden,
            cached_at: now,
            accesses: AtomicU64::new(0),
        });
        // Sequences are not compared: after a restored backup the current one may be the lower.
        // A late caller may so put an older entry back, and the next look-up replaces it.
        self.entries.insert(key, Arc::clone(&template));
        template.access(false, now)
    }

    /// Drops the entry of this name, and tells whether there was one.
    pub(crate) fn remove(&self, namespace: &str, name: &str, version: &str) -> bool {
        let key = TemplateKeyRef {
            namespace,
            name,
            version,
        };
        self.entries.remove(&key).is_some()
    }

    /// Drops all entries, and tells how many there were.
    pub(crate) fn clear(&self) -> u64 {
        self.retain(|_| false).len() as u64
    }

    /// Drops the entries that `keep` refuses, and answers with what they were made from.
    pub(crate) fn retain(
        &self,
        mut keep: impl FnMut(&HandlerMetadata) -> bool,
    ) -> Vec<Arc<HandlerMetadata>> {
        self.entries.run_pending_tasks();
        let mut dropped = Vec::new();
        for (key, held) in &self.entries {
            if !keep(&held.metadata) && self.entries.remove(&*key).is_some() {
                dropped.push(Arc::clone(&held.metadata));
            }
        }
        // The memory is given back now, not with the next insert.
        self.entries.run_pending_tasks();
        dropped
    }

    /// What the cache did and holds. Under concurrent look-ups each number is true of a moment
    /// within the call, not all of them of the same moment.
    pub(crate) fn stats(&self, supported_namespaces: Vec<String>, now: Instant) -> CacheStats {
        // Evictions happen behind inserts: without this, more than the limit could be told.
        self.entries.run_pending_tasks();
        let mut total_cached = 0;
        let mut accesses = 0;
        let mut oldest: Option<Duration> = None;
        for (_, held) in &self.entries {
            total_cached += 1;
            accesses += held.accesses.load(Relaxed);
            oldest = oldest.max(Some(now.saturating_duration_since(held.cached_at)));
        }
        CacheStats {
            total_cached,
            cache_hits: self.counters.hits.load(Relaxed),
            cache_misses: self.counters.misses.load(Relaxed),
            cache_evictions: self.counters.evictions.load(Relaxed),
            oldest_entry_age_seconds: oldest.map(|age| age.as_secs()),
            average_access_count: average(accesses, total_cached),
            supported_namespaces,
        }
    }
}

fn key_of(metadata: &HandlerMetadata) -> TemplateKeyRef<'_> {
    TemplateKeyRef {
        namespace: &metadata.namespace,
        name: &metadata.name,
        version: &metadata.version,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an average is exact enough past 2^53 uses"
)]
fn average(sum: u64, count: u64) -> f64 {
    if count == 0 {
        0.0
    } else {
        sum as f64 / count as f64
    }
}

#[cfg(test)]
#[path = "resolved_cache_tests.rs"]
mod tests;
