//! Stands in for the Redis backend in programs that were built without it.

use std::convert::Infallible;
use std::time::Duration;

use crate::cache::{CacheError, CacheService, CacheStatus, Peek, StartError};
use crate::config::tasker::CacheConfig;

/// The Redis backend of a program that was built without one: it cannot be made.
#[derive(Debug)]
pub struct RedisCacheService(Infallible);

impl RedisCacheService {
    /// # Errors
    /// Always [`StartError::CompiledOut`].
    #[expect(clippy::unused_async, reason = "the Redis backend connects here")]
    pub async fn connect(_config: &CacheConfig) -> Result<Self, StartError> {
        Err(StartError::CompiledOut)
    }

    /// Never called.
    pub fn fill(&self, _key: String, _value: String, _ttl: Duration) {
        match self.0 {}
    }

    /// Never called.
    #[expect(clippy::unused_async, reason = "the Redis backend waits here")]
    pub async fn flush_fills(&self, _deadline: Duration) -> bool {
        match self.0 {}
    }

    /// # Errors
    /// Never called.
    #[expect(clippy::unused_async, reason = "the Redis backend waits here")]
    pub async fn peek(
        &self,
        _keys: &[String],
        _bytes: usize,
    ) -> Result<Vec<Option<Peek>>, CacheError> {
        match self.0 {}
    }

    /// Never called.
    #[expect(clippy::unused_async, reason = "the Redis backend waits here")]
    pub async fn status(&self) -> CacheStatus {
        match self.0 {}
    }

    /// Never called.
    #[expect(clippy::unused_async, reason = "the Redis backend waits here")]
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

    async fn delete_many(&self, _keys: &[String]) -> Result<u64, CacheError> {
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
