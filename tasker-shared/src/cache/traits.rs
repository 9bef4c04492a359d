//! The interface of every cache backend.

use std::future::Future;
use std::time::Duration;

use super::CacheError;

/// The longest value that is written or accepted, in bytes.
///
/// A longer one was not written by us, and reading it would spend the budget of every request.
pub const MAX_VALUE_BYTES: usize = 8 * 1024 * 1024;

/// The limit of [`CacheService::delete_pattern`]. The keys of a server that needs longer expire.
pub const SWEEP_LIMIT: Duration = Duration::from_secs(30);

/// A cache of texts.
///
/// Every method returns within a limit that its backend documents and may be called concurrently.
/// Every method may be cancelled; the operation may or may not have been executed then.
pub trait CacheService: Send + Sync {
    /// Returns the value under `key`; `None` if there is none, or if it has expired.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<String>, CacheError>> + Send;

    /// Stores `value` under `key` for `ttl`. Replaces an earlier value.
    fn set(
        &self,
        key: &str,
        value: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Deletes `key`, and returns whether it existed.
    fn delete(&self, key: &str) -> impl Future<Output = Result<bool, CacheError>> + Send;

    /// Deletes exactly these keys, and returns the number of those that existed.
    fn delete_many(&self, keys: &[String]) -> impl Future<Output = Result<u64, CacheError>> + Send {
        async move {
            let mut deleted = 0;
            for key in keys {
                deleted += u64::from(self.delete(key).await?);
            }
            Ok(deleted)
        }
    }

    /// Deletes every key that matches the glob `pattern`, and returns their number. Keys that are
    /// written meanwhile may or may not be deleted.
    fn delete_pattern(&self, pattern: &str)
    -> impl Future<Output = Result<u64, CacheError>> + Send;

    /// Returns whether the backend answers now, or the error that keeps it from answering.
    fn health_check(&self) -> impl Future<Output = Result<bool, CacheError>> + Send;

    /// Returns the backend's name in configuration, logs and endpoints.
    fn provider_name(&self) -> &'static str;
}
