//! What caches tell of themselves.

use serde::{Deserialize, Serialize};

/// Statistics of a worker's local template cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CacheStats {
    /// Entries held now.
    pub total_cached: u64,
    /// Look-ups answered from the cache since the process started.
    pub cache_hits: u64,
    /// Look-ups that were not, since the process started.
    pub cache_misses: u64,
    /// Entries removed to make room, since the process started.
    pub cache_evictions: u64,
    /// Age of the oldest entry held, in seconds; absent when the cache is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_entry_age_seconds: Option<u64>,
    /// How often a held entry was used, on average.
    pub average_access_count: f64,
    /// The namespaces that this worker serves, sorted.
    pub supported_namespaces: Vec<String>,
}

/// What became of a deletion in the distributed cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CacheInvalidation {
    /// Whether there was a distributed cache to delete from.
    pub attempted: bool,
    /// How many keys were deleted.
    pub deleted: u64,
    /// Why the deletion did not finish; absent when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
