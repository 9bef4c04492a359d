//! Stands in for the Redis backend in programs that were built without it.

use std::convert::Infallible;
use std::time::Duration;

use crate::cache::{CacheError, CacheService, CacheStatus, ConfigurationFault};
use crate::config::tasker::CacheConfig;

/// The Redis backend of a program that was built without one. It has no values, so its methods
/// are never called.
#[derive(Debug)]
pub struct RedisCacheService(Infallible);

#[expect(
    missing_docs,
    clippy::unused_async,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    reason = "the methods of the Redis backend are described there"
)]
impl RedisCacheService {
    /// # Errors
    /// Always [`ConfigurationFault::CompiledOut`].
    pub async fn start(_config: &CacheConfig) -> Result<Self, ConfigurationFault> {
        Err(ConfigurationFault::CompiledOut)
    }

    pub fn was_reached(&self) -> bool {
        match self.0 {}
    }

    pub fn last_error(&self) -> Option<String> {
        match self.0 {}
    }

    pub fn key_prefix(&self) -> &str {
        match self.0 {}
    }

    pub async fn sweep(&self, _pattern: &str, _limit: Duration) -> (u64, Result<(), CacheError>) {
        match self.0 {}
    }

    pub async fn status(&self) -> CacheStatus {
        match self.0 {}
    }

    pub async fn shutdown(&self) {
        match self.0 {}
    }
}

impl CacheService for RedisCacheService {
    async fn get(&self, _key: &str) -> Result<Option<String>, CacheError> {
        match self.0 {}
    }

    async fn set(&self, _key: &str, _value: &str, _ttl: Duration) -> Result<(), CacheError> {
        match self.0 {}
    }

    async fn delete(&self, _key: &str) -> Result<bool, CacheError> {
        match self.0 {}
    }

    async fn delete_pattern(&self, _pattern: &str) -> Result<u64, CacheError> {
        match self.0 {}
    }

    async fn health_check(&self) -> Result<bool, CacheError> {
        match self.0 {}
    }

    fn provider_name(&self) -> &'static str {
        match self.0 {}
    }
}
