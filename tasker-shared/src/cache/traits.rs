//! What every cache backend can do.

use std::future::Future;
use std::time::Duration;

use super::CacheError;

/// A cache of texts.
///
/// Every method answers within a limit that its backend documents, may be called concurrently,
/// and may be cancelled: an operation whose caller went away may or may not have been done.
pub trait CacheService: Send + Sync {
    /// The value under `key`; `None` when there is none, or its time is over.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<String>, CacheError>> + Send;

    /// Stores `value` under `key` for `ttl`, whatever was there.
    fn set(
        &self,
        key: &str,
        value: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Deletes `key`, and says whether there was something to delete.
    fn delete(&self, key: &str) -> impl Future<Output = Result<bool, CacheError>> + Send;

    /// Deletes exactly these keys, and says how many there were.
    fn delete_many(&self, keys: &[String]) -> impl Future<Output = Result<u64, CacheError>> + Send;

    /// Deletes every key that matches the glob `pattern`, and says how many there were. Keys
    /// that are written meanwhile may or may not be deleted.
    fn delete_pattern(&self, pattern: &str)
    -> impl Future<Output = Result<u64, CacheError>> + Send;

    /// Whether the backend answers now. An error says why it does not.
    fn health_check(&self) -> impl Future<Output = Result<bool, CacheError>> + Send;

    /// The backend's name in configuration, logs and endpoints.
    fn provider_name(&self) -> &'static str;
}
