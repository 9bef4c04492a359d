//! Entries of one kind, below the configured prefix.

use std::time::Duration;

use super::{CacheError, CacheProvider, keys};

/// The entries of one kind in a [`CacheProvider`], made by [`CacheProvider::scoped`].
///
/// A key is `{key_prefix}:{kind}:{part}:{part}...`; see [`keys`]. The methods are those of
/// [`CacheService`](super::CacheService), with the same limits and errors. No error may fail a request: it is a miss for
/// a reader and a lost write for a writer.
///
/// ```no_run
/// use tasker_shared::cache::CacheProvider;
/// use tasker_shared::config::tasker::{CacheConfig, CacheEntryKind};
///
/// # async fn query_postgresql(namespace: &str) -> String { String::new() }
/// /// Returns the slowest steps of a namespace, as JSON.
/// async fn slowest_steps(
///     cache: &CacheProvider,
///     config: &CacheConfig,
///     namespace: &str,
/// ) -> String {
///     let analytics = cache.scoped("analytics");
///     let parts = [namespace, "slowest_steps"];
///     if let Ok(Some(cached)) = analytics.get(&parts).await {
///         return cached;
///     }
///     let loaded = query_postgresql(namespace).await;
///     let ttl = config.ttl(CacheEntryKind::Analytics);
///     // Best effort: if this fails, the next caller queries PostgreSQL again.
///     let _ = analytics.set(&parts, &loaded, ttl).await;
///     loaded
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ScopedCache<'a> {
    provider: &'a CacheProvider,
    kind: &'a str,
}

impl CacheProvider {
    /// Returns the entries of one kind, such as `analytics`, below the configured `key_prefix`.
    #[must_use]
    pub fn scoped<'a>(&'a self, kind: &'a str) -> ScopedCache<'a> {
        ScopedCache {
            provider: self,
            kind,
        }
    }
}

impl ScopedCache<'_> {
    /// Returns the key of the entry with these parts.
    #[must_use]
    pub fn key(&self, parts: &[&str]) -> String {
        keys::key(self.provider.key_prefix(), self.kind, parts)
    }

    /// Returns the value of the entry with these parts, if it exists.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub async fn get(&self, parts: &[&str]) -> Result<Option<String>, CacheError> {
        self.provider.get(&self.key(parts)).await
    }

    /// Stores the entry with these parts for `ttl`.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub async fn set(&self, parts: &[&str], value: &str, ttl: Duration) -> Result<(), CacheError> {
        self.provider.set(&self.key(parts), value, ttl).await
    }

    /// Deletes the entry with these parts, and returns whether it existed.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub async fn delete(&self, parts: &[&str]) -> Result<bool, CacheError> {
        self.provider.delete(&self.key(parts)).await
    }

    /// Deletes all entries whose parts begin with these and have more, and returns their number.
    /// Without parts these are all entries of the kind.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub async fn delete_below(&self, parts: &[&str]) -> Result<u64, CacheError> {
        let pattern = keys::pattern(self.provider.key_prefix(), self.kind, parts);
        self.provider.delete_pattern(&pattern).await
    }
}
