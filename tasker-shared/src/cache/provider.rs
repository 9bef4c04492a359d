//! Dispatch to the cache backend.

use std::time::Duration;

use metrics::gauge;

use super::errors::Chain;
use super::{
    CacheError, CacheService, CacheStatus, ConfigurationFault, NoOpCacheService, RedisCacheService,
};
use crate::config::tasker::CacheConfig;
use crate::metrics::CACHE_IN_USE;

/// A distributed cache, or none.
///
/// Dropping it ends its background work; [`CacheProvider::shutdown`] also waits for that.
#[derive(Debug)]
pub enum CacheProvider {
    /// Redis was reached at the start.
    Redis(RedisCacheService),
    /// No cache; or a Redis that was not reached at the start. When that one is reached later, all
    /// methods use it, and [`CacheProvider::is_enabled`] returns true.
    NoOp(NoOpCacheService),
}

/// The service in use.
enum Serving<'a> {
    Redis(&'a RedisCacheService),
    NoOp(&'a NoOpCacheService),
}

/// Passes a call to the service in use.
macro_rules! dispatch {
    ($provider:expr, $service:ident => $call:expr) => {
        match $provider.serving() {
            Serving::Redis($service) => $call,
            Serving::NoOp($service) => $call,
        }
    };
}

impl CacheProvider {
    /// Returns the backend in `config`, or [`CacheProvider::NoOp`] after one line if it cannot be used
    /// now: a warning, or an error if its configuration is wrong.
    ///
    /// Takes `connection_timeout_seconds` at most. A backend that could not be reached is tried
    /// again in the background, and used as soon as it has been reached. A configuration that can
    /// never work is not tried again. With `enabled = false` nothing is ever connected to.
    ///
    /// Must be called on a tokio runtime, which runs the background work.
    pub async fn from_config_graceful(config: &CacheConfig) -> Self {
        if !config.enabled {
            return Self::noop();
        }
        if config.redis.is_none() {
            tracing::warn!(
                remedy = "set REDIS_URL, or url in [common.cache.redis]",
                "the cache is enabled and no Redis is configured"
            );
            return Self::noop();
        }
        gauge!(CACHE_IN_USE.name).set(0.0);
        let started = match config.backend.as_str() {
            "redis" => RedisCacheService::start(config).await,
            _ => Err(ConfigurationFault::UnknownBackend),
        };
        match started {
            Ok(service) if service.was_reached() => Self::Redis(service),
            Ok(service) => {
                tracing::warn!(
                    error = service.last_error(),
                    "the cache cannot be reached yet; trying again in the background"
                );
                Self::NoOp(NoOpCacheService::until(service))
            }
            Err(fault) => Self::refused(Chain(&fault).to_string()),
        }
    }

    /// Returns a cache that never holds anything, because the configured one can never work for this
    /// reason, and logs that.
    pub(crate) fn refused(reason: String) -> Self {
        gauge!(CACHE_IN_USE.name).set(0.0);
        tracing::error!(
            error = %reason,
            "the cache is not used, because its configuration is wrong"
        );
        Self::NoOp(NoOpCacheService::refused(reason))
    }

    /// Returns a cache that never holds anything.
    #[must_use]
    pub fn noop() -> Self {
        Self::NoOp(NoOpCacheService::new())
    }

    /// Returns the configured `key_prefix`; empty if no backend is configured.
    pub(super) fn key_prefix(&self) -> &str {
        self.backend().map_or("", RedisCacheService::key_prefix)
    }

    /// Returns the backend, reached or not.
    fn backend(&self) -> Option<&RedisCacheService> {
        match self {
            Self::Redis(service) => Some(service),
            Self::NoOp(service) => service.awaited(),
        }
    }

    fn serving(&self) -> Serving<'_> {
        match self {
            Self::Redis(service) => Serving::Redis(service),
            Self::NoOp(service) => match service.arrived() {
                Some(arrived) => Serving::Redis(arrived),
                None => Serving::NoOp(service),
            },
        }
    }

    /// Returns whether a backend is in use. It is while its breaker is open, too: see
    /// [`CacheProvider::status`].
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        match self.serving() {
            Serving::Redis(_) => true,
            Serving::NoOp(_) => false,
        }
    }

    /// Returns the value under `key`; `None` if there is none, or without a backend.
    ///
    /// # Errors
    /// Every [`CacheError`]; callers treat all of them as no value. So in the other methods.
    pub async fn get(&self, key: &str) -> Result<Option<String>, CacheError> {
        dispatch!(self, service => service.get(key).await)
    }

    /// Stores `value` under `key` for `ttl`. Replaces an earlier value.
    ///
    /// # Errors
    /// See [`CacheProvider::get`].
    pub async fn set(&self, key: &str, value: &str, ttl: Duration) -> Result<(), CacheError> {
        dispatch!(self, service => service.set(key, value, ttl).await)
    }

    /// Deletes `key`, and returns whether it existed.
    ///
    /// # Errors
    /// See [`CacheProvider::get`].
    pub async fn delete(&self, key: &str) -> Result<bool, CacheError> {
        dispatch!(self, service => service.delete(key).await)
    }

    /// Deletes exactly these keys, and returns the number of those that existed.
    ///
    /// # Errors
    /// See [`CacheProvider::get`].
    pub async fn delete_many(&self, keys: &[String]) -> Result<u64, CacheError> {
        dispatch!(self, service => service.delete_many(keys).await)
    }

    /// Deletes every key that matches the glob `pattern`, within [`SWEEP_LIMIT`](super::SWEEP_LIMIT),
    /// and returns their number.
    ///
    /// # Errors
    /// See [`CacheProvider::get`].
    pub async fn delete_pattern(&self, pattern: &str) -> Result<u64, CacheError> {
        dispatch!(self, service => service.delete_pattern(pattern).await)
    }

    /// Returns whether the backend answers now; true without a backend.
    ///
    /// # Errors
    /// See [`CacheProvider::get`].
    pub async fn health_check(&self) -> Result<bool, CacheError> {
        dispatch!(self, service => service.health_check().await)
    }

    /// Returns the name of the backend in use, or `noop`.
    #[must_use]
    pub fn provider_name(&self) -> &'static str {
        dispatch!(self, service => service.provider_name())
    }

    /// Deletes every key that matches the glob `pattern`, within `limit`, and returns the number of deleted
    /// ones, also if it fails.
    pub async fn sweep(&self, pattern: &str, limit: Duration) -> (u64, Result<(), CacheError>) {
        match self.serving() {
            Serving::Redis(service) => service.sweep(pattern, limit).await,
            Serving::NoOp(_) => (0, Ok(())),
        }
    }

    /// Returns the state of the cache. Asks the backend for an answer, within the budget of one
    /// operation; does no I/O while the breaker is open.
    pub async fn status(&self) -> CacheStatus {
        match self.serving() {
            Serving::Redis(service) => service.status().await,
            Serving::NoOp(service) => service.status(),
        }
    }

    /// Ends all background work and closes all connections. Idempotent; later calls of a backend fail
    /// with a connection error.
    pub async fn shutdown(&self) {
        if let Some(service) = self.backend() {
            service.shutdown().await;
        }
    }
}

impl CacheService for CacheProvider {
    async fn get(&self, key: &str) -> Result<Option<String>, CacheError> {
        Self::get(self, key).await
    }

    async fn set(&self, key: &str, value: &str, ttl: Duration) -> Result<(), CacheError> {
        Self::set(self, key, value, ttl).await
    }

    async fn delete(&self, key: &str) -> Result<bool, CacheError> {
        Self::delete(self, key).await
    }

    async fn delete_many(&self, keys: &[String]) -> Result<u64, CacheError> {
        Self::delete_many(self, keys).await
    }

    async fn delete_pattern(&self, pattern: &str) -> Result<u64, CacheError> {
        Self::delete_pattern(self, pattern).await
    }

    async fn health_check(&self) -> Result<bool, CacheError> {
        Self::health_check(self).await
    }

    fn provider_name(&self) -> &'static str {
        Self::provider_name(self)
    }
}

#[cfg(test)]
mod tests;
