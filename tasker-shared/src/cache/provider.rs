//! Dispatch over cache backends.

use std::time::Duration;

use metrics::gauge;

use super::errors::Chain;
use super::late::LateArrival;
use super::{
    CacheError, CacheService, CacheStatus, ConfigurationFault, NoOpCacheService, Peek,
    RedisCacheService, StartError,
};
use crate::config::tasker::CacheConfig;
use crate::metrics::CACHE_IN_USE;

/// A distributed cache, or none.
///
/// Dropping it ends its background work; [`CacheProvider::shutdown`] also waits for that.
#[derive(Debug)]
pub enum CacheProvider {
    /// Redis was reached when the provider was made.
    Redis(RedisCacheService),
    /// No cache, or none yet: a backend that arrives late is used from then on.
    NoOp(NoOpCacheService),
}

/// The service that answers at this moment.
enum Serving<'a> {
    Redis(&'a RedisCacheService),
    NoOp(&'a NoOpCacheService),
}

/// The one place where a call is passed to the service that answers it.
macro_rules! dispatch {
    ($provider:expr, $service:ident => $call:expr) => {
        match $provider.serving() {
            Serving::Redis($service) => $call,
            Serving::NoOp($service) => $call,
        }
    };
}

impl CacheProvider {
    /// The backend that `config` names; none, with one warning, if it cannot be used now.
    ///
    /// Answers within `connection_timeout_seconds`. A backend that could not be reached is looked
    /// for in the background from then on, and put to use when it is found; a configuration that
    /// can never work is not tried again. With `enabled = false` nothing is ever connected to.
    ///
    /// Must be called on a tokio runtime, which runs the background work.
    pub async fn from_config_graceful(config: &CacheConfig) -> Self {
        if !config.enabled {
            return Self::noop();
        }
        match Self::connect(config).await {
            Ok(service) => {
                tracing::info!(provider = service.provider_name(), "the cache is in use");
                gauge!(CACHE_IN_USE.name).set(1.0);
                Self::Redis(service)
            }
            Err(error) if error.is_permanent() => {
                gauge!(CACHE_IN_USE.name).set(0.0);
                let reason = Chain(&error).to_string();
                tracing::warn!(error = %reason, "the configured cache is not used");
                Self::NoOp(NoOpCacheService::instead_of_refused(reason))
            }
            Err(error) => {
                gauge!(CACHE_IN_USE.name).set(0.0);
                tracing::warn!(
                    error = %Chain(&error),
                    "the cache cannot be used yet; going on without it and trying in the background"
                );
                Self::NoOp(NoOpCacheService::until(LateArrival::spawn(
                    config.clone(),
                    &error,
                )))
            }
        }
    }

    async fn connect(config: &CacheConfig) -> Result<RedisCacheService, StartError> {
        if config.backend == "redis" {
            RedisCacheService::connect(config).await
        } else {
            Err(StartError::Configuration(
                ConfigurationFault::UnknownBackend,
            ))
        }
    }

    /// A cache that holds nothing, and never will.
    #[must_use]
    pub fn noop() -> Self {
        Self::NoOp(NoOpCacheService::new())
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

    /// Whether a backend is in use. It is while its breaker is open, too: see
    /// [`CacheProvider::status`].
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        match self.serving() {
            Serving::Redis(_) => true,
            Serving::NoOp(_) => false,
        }
    }

    /// The name of the backend in use, or `noop`.
    #[must_use]
    pub fn provider_name(&self) -> &'static str {
        dispatch!(self, service => service.provider_name())
    }

    /// Hands over an entry to be written in the background; never waits.
    ///
    /// The entry is dropped, and counted, when too many are waiting, when the backend cannot be
    /// used, or when its key is deleted through this provider before it was written.
    pub fn fill(&self, key: String, value: String, ttl: Duration) {
        if let Serving::Redis(service) = self.serving() {
            service.fill(key, value, ttl);
        }
    }

    /// Waits until no entry is waiting to be written, and says whether that came within `limit`.
    pub async fn flush_fills(&self, limit: Duration) -> bool {
        match self.serving() {
            Serving::Redis(service) => service.flush_fills(limit).await,
            Serving::NoOp(_) => true,
        }
    }

    /// Looks at the first `bytes` of each entry and at its time to live. For operators: it takes up
    /// to a second, and counts as no hit or miss.
    ///
    /// # Errors
    /// Like any operation; see [`CacheError`].
    pub async fn peek(
        &self,
        keys: &[String],
        bytes: usize,
    ) -> Result<Vec<Option<Peek>>, CacheError> {
        match self.serving() {
            Serving::Redis(service) => service.peek(keys, bytes).await,
            Serving::NoOp(_) => Ok(vec![None; keys.len()]),
        }
    }

    /// The state of the cache. Asks the backend whether it answers, within the budget of one
    /// operation; does no I/O while the breaker is open.
    pub async fn status(&self) -> CacheStatus {
        match self.serving() {
            Serving::Redis(service) => service.status().await,
            Serving::NoOp(service) => service.status(),
        }
    }

    /// Ends all background work and closes all connections. Entries that wait to be written are
    /// dropped. Idempotent; later calls of a backend fail with a connection error.
    pub async fn shutdown(&self) {
        match self {
            Self::Redis(service) => service.shutdown().await,
            Self::NoOp(service) => service.shutdown().await,
        }
    }
}

impl CacheService for CacheProvider {
    async fn get(&self, key: &str) -> Result<Option<String>, CacheError> {
        dispatch!(self, service => service.get(key).await)
    }

    async fn set(&self, key: &str, value: &str, ttl: Duration) -> Result<(), CacheError> {
        dispatch!(self, service => service.set(key, value, ttl).await)
    }

    async fn delete(&self, key: &str) -> Result<bool, CacheError> {
        dispatch!(self, service => service.delete(key).await)
    }

    async fn delete_many(&self, keys: &[String]) -> Result<u64, CacheError> {
        dispatch!(self, service => service.delete_many(keys).await)
    }

    async fn delete_pattern(&self, pattern: &str) -> Result<u64, CacheError> {
        dispatch!(self, service => service.delete_pattern(pattern).await)
    }

    async fn health_check(&self) -> Result<bool, CacheError> {
        dispatch!(self, service => service.health_check().await)
    }

    fn provider_name(&self) -> &'static str {
        Self::provider_name(self)
    }
}

#[cfg(test)]
mod tests;
