//! Errors of the cache layer. (Stub.)

/// Why the cache could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The budget of the request was used up.
    #[error("the cache did not answer in time")]
    Timeout,
}
