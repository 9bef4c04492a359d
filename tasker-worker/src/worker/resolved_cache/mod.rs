//! The worker's own cache: templates with the overrides of its environment.
//!
//! It is not a source of truth and has no age limit. Each look-up first asks the registry for the
//! current registration, and an entry is a hit only if it was built from that one: with the same name,
//! hash, position, row, strategy and time. A database that was made anew may have another row at the same
//! position. A race can therefore only cause a miss, never an outdated answer.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tasker_shared::types::{CacheStats, Document, HandlerMetadata};

/// A template with the overrides of this worker's environment.
#[derive(Debug)]
pub struct ResolvedTemplate {
    metadata: Arc<HandlerMetadata>,
    overridden: Option<Document>,
    warnings: OnceLock<Vec<String>>,
    cached_at: Instant,
    accesses: AtomicU64,
}

impl ResolvedTemplate {
    /// Returns the registration, without overrides.
    #[must_use]
    pub fn metadata(&self) -> &Arc<HandlerMetadata> {
        &self.metadata
    }

    /// Returns the document with the environment's overrides applied.
    #[must_use]
    pub fn document(&self) -> &Document {
        // Most templates override nothing in most environments, so they share the registry's bytes.
        self.overridden.as_ref().unwrap_or(&self.metadata.document)
    }

    /// Returns the place for the warnings of the document.
    pub(crate) fn warnings(&self) -> &OnceLock<Vec<String>> {
        &self.warnings
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

/// A template that was looked up, and the statistics of its entry.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The template.
    pub template: Arc<ResolvedTemplate>,
    /// True if the template was in the cache.
    pub cached: bool,
    /// Age of the entry; zero if it is new.
    pub age: Duration,
    /// Number of times the entry was returned, including this time.
    pub access_count: u64,
    /// The time by which the answer may exceed the bound; see
    /// [`Resolution::stale_by`](tasker_shared::registry::Resolution::stale_by).
    pub stale_by: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TemplateKey {
    namespace: Box<str>,
    name: Box<str>,
    version: Box<str>,
}

/// Hashes like a [`TemplateKey`] of the same names, so that a look-up allocates nothing.
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

/// Entries by name, up to a configured number. Evicts the least recently used entry.
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
                // Replaced and deleted entries are not evictions.
                if cause == RemovalCause::Size {
                    listener.evictions.fetch_add(1, Relaxed);
                }
            })
            .build();
        Self { entries, counters }
    }

    /// Returns the entry that was built from `metadata`. Any other entry of this name is a miss.
    pub(crate) fn lookup(&self, metadata: &HandlerMetadata, now: Instant) -> Option<Lookup> {
        let held = self
            .entries
            .get(&key_of(metadata))
            .filter(|held| pointer(&held.metadata) == pointer(metadata));
        let counter = match held {
            Some(_) => &self.counters.hits,
            None => &self.counters.misses,
        };
        counter.fetch_add(1, Relaxed);
        held.map(|held| held.access(true, now))
    }

    /// Inserts a template and replaces the entry of the same name.
    ///
    /// `overridden` is the document with overrides applied, if it differs from the registered one.
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
            warnings: OnceLock::new(),
            cached_at: now,
            accesses: AtomicU64::new(0),
        });
        // Positions are not compared, because after a restored backup the current one can be lower.
        // A late caller can therefore insert an older entry; the next look-up replaces it.
        self.entries.insert(key, Arc::clone(&template));
        template.access(false, now)
    }

    /// Removes the entry of this name. Returns true if there was one.
    pub(crate) fn remove(&self, namespace: &str, name: &str, version: &str) -> bool {
        let key = TemplateKeyRef {
            namespace,
            name,
            version,
        };
        self.entries.remove(&key).is_some()
    }

    /// Removes all entries and returns their number.
    pub(crate) fn clear(&self) -> u64 {
        self.retain(|_| false).len() as u64
    }

    /// Removes the entries that `keep` rejects, and returns the registrations of those.
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
        // Frees the memory now and not with the next insert.
        self.entries.run_pending_tasks();
        dropped
    }

    /// Returns statistics. Under concurrent look-ups the numbers are not of the same moment.
    pub(crate) fn stats(&self, supported_namespaces: Vec<String>, now: Instant) -> CacheStats {
        // Evictions run after inserts, so without this the count could exceed the limit.
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
            oldest_entry_age_seconds: oldest.map_or(0, |age| age.as_secs()),
            average_access_count: average(accesses, total_cached),
            supported_namespaces,
        }
    }
}

/// Returns the parts of a registration by which it differs from others of its name.
fn pointer(metadata: &HandlerMetadata) -> impl PartialEq {
    let HandlerMetadata {
        hash,
        sequence,
        named_task_uuid,
        identity_strategy,
        registered_at,
        ..
    } = *metadata;
    (
        hash,
        sequence,
        named_task_uuid,
        identity_strategy,
        registered_at,
    )
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
mod tests;
