//! The cache that holds nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::cache::{CacheError, CacheService, CacheStatus, RedisCacheService};

/// A cache that holds nothing and never fails.
///
/// It stands in for a Redis that could not be reached at the start. That Redis continues to try in
/// the background, and the provider uses it as soon as it has been reached.
#[derive(Debug)]
pub struct NoOpCacheService {
    since: DateTime<Utc>,
    instead_of: InsteadOf,
}

#[derive(Debug)]
enum InsteadOf {
    Nothing,
    /// A configuration that can never work, for this reason.
    Refused(String),
    /// A backend that has not been reached yet. Boxed, because it is large.
    Awaited(Box<RedisCacheService>),
}

impl NoOpCacheService {
    /// Returns a cache without a backend, because none is configured.
    #[must_use]
    pub fn new() -> Self {
        Self::instead_of(InsteadOf::Nothing)
    }

    /// Returns a cache without a backend, because the configured one can never be used.
    pub(in crate::cache) fn refused(reason: String) -> Self {
        Self::instead_of(InsteadOf::Refused(reason))
    }

    /// Returns a cache without a backend until `awaited` has been reached.
    pub(in crate::cache) fn until(awaited: RedisCacheService) -> Self {
        Self::instead_of(InsteadOf::Awaited(Box::new(awaited)))
    }

    fn instead_of(instead_of: InsteadOf) -> Self {
        Self {
            since: Utc::now(),
            instead_of,
        }
    }

    /// Returns the awaited backend once it has been reached.
    pub(in crate::cache) fn arrived(&self) -> Option<&RedisCacheService> {
        self.awaited().filter(|awaited| awaited.was_reached())
    }

    /// Returns the backend that this stands in for, reached or not.
    pub(in crate::cache) fn awaited(&self) -> Option<&RedisCacheService> {
        match &self.instead_of {
            InsteadOf::Awaited(awaited) => Some(awaited),
            InsteadOf::Nothing | InsteadOf::Refused(_) => None,
        }
    }

    pub(in crate::cache) fn status(&self) -> CacheStatus {
        let (last_error, refused) = match &self.instead_of {
            InsteadOf::Nothing => (None, None),
            InsteadOf::Refused(reason) => (Some(reason.clone()), Some(reason.clone())),
            InsteadOf::Awaited(awaited) => (awaited.last_error(), None),
        };
        CacheStatus {
            refused,
            ..CacheStatus::without_backend(self.since, last_error)
        }
    }
}

impl Default for NoOpCacheService {
    fn default() -> Self {
        Self::new()
    }
}

impl CacheService for NoOpCacheService {
    async fn get(&self, _key: &str) -> Result<Option<String>, CacheError> {
        Ok(None)
    }

    async fn set(&self, _key: &str, _value: &str, _ttl: Duration) -> Result<(), CacheError> {
        Ok(())
    }

    async fn delete(&self, _key: &str) -> Result<bool, CacheError> {
        Ok(false)
    }

    async fn delete_pattern(&self, _pattern: &str) -> Result<u64, CacheError> {
        Ok(0)
    }

    async fn health_check(&self) -> Result<bool, CacheError> {
        Ok(true)
    }

    fn provider_name(&self) -> &'static str {
        "noop"
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::NoOpCacheService;
    use crate::cache::CacheService;

    #[tokio::test]
    async fn nothing_is_kept_and_nothing_fails() {
        let cache = NoOpCacheService::new();
        cache
            .set("key", "value", Duration::from_mins(1))
            .await
            .expect("a set succeeds");
        assert!(matches!(cache.get("key").await, Ok(None)));
        assert!(matches!(cache.delete("key").await, Ok(false)));
        assert!(matches!(
            cache.delete_many(&[String::from("key")]).await,
            Ok(0)
        ));
        assert!(matches!(cache.delete_pattern("*").await, Ok(0)));
        assert!(matches!(cache.health_check().await, Ok(true)));
        assert_eq!(cache.provider_name(), "noop");
        let status = cache.status();
        assert!(!status.enabled && status.healthy && status.last_error.is_none());
    }
}
