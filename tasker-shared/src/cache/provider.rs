//! Dispatch over cache backends. (Stub.)

use crate::config::tasker::CacheConfig;

/// A distributed cache, or none.
#[derive(Debug)]
pub enum CacheProvider {
    /// No cache.
    NoOp,
}

impl CacheProvider {
    /// The backend that `config` names; none, with a warning, if it cannot be connected to.
    #[expect(clippy::unused_async, reason = "stub")]
    pub async fn from_config_graceful(_config: &CacheConfig) -> Self {
        Self::NoOp
    }

    /// A cache that holds nothing.
    #[must_use]
    pub fn noop() -> Self {
        Self::NoOp
    }

    /// Whether a backend is in use now.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        false
    }

    /// `redis` or `noop`.
    #[must_use]
    pub fn provider_name(&self) -> &'static str {
        "noop"
    }
}
