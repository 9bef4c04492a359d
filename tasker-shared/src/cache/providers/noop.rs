//! The cache that holds nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::cache::late::LateArrival;
use crate::cache::{CacheError, CacheService, CacheStatus, RedisCacheService};

/// A cache that holds nothing and never fails.
///
/// It may be waiting for a backend that could not be reached; the provider uses that one as soon
/// as it has arrived.
#[derive(Debug)]
pub struct NoOpCacheService {
    since: DateTime<Utc>,
    awaited: Option<LateArrival>,
    /// Why there is no backend although one is configured.
    refused_because: Option<String>,
}

impl NoOpCacheService {
    /// A cache without a backend, since none is wanted.
    #[must_use]
    pub fn new() -> Self {
        Self {
            since: Utc::now(),
            awaited: None,
            refused_because: None,
        }
    }

    /// A cache without a backend, since the one that is wanted can never be used.
    pub(in crate::cache) fn instead_of_refused(reason: String) -> Self {
        Self {
            refused_because: Some(reason),
            ..Self::new()
        }
    }

    /// A cache without a backend until the awaited one arrives.
    pub(in crate::cache) fn until(awaited: LateArrival) -> Self {
        Self {
            awaited: Some(awaited),
            ..Self::new()
        }
    }

    /// The backend that was awaited, if it has arrived.
    pub(in crate::cache) fn arrived(&self) -> Option<&RedisCacheService> {
        self.awaited.as_ref().and_then(LateArrival::arrived)
    }

    pub(in crate::cache) fn status(&self) -> CacheStatus {
        let last_error = match &self.awaited {
            Some(awaited) => Some(awaited.last_error()),
            None => self.refused_because.clone(),
        };
        CacheStatus::without_backend(self.since, last_error.is_some(), last_error)
    }

    /// Stops waiting, and shuts down what has arrived.
    pub(in crate::cache) async fn shutdown(&self) {
        if let Some(awaited) = &self.awaited {
            awaited.shutdown().await;
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

    async fn delete_many(&self, _keys: &[String]) -> Result<u64, CacheError> {
        Ok(0)
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
