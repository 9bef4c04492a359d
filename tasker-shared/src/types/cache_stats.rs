//! Statistics of caches.

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
    /// Age of the oldest entry held, in seconds; 0 when the cache is empty.
    #[serde(default)]
    pub oldest_entry_age_seconds: u64,
    /// The mean number of uses of a held entry.
    pub average_access_count: f64,
    /// The namespaces that this worker serves, sorted.
    pub supported_namespaces: Vec<String>,
}

/// The result of a deletion in the distributed cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CacheInvalidation {
    /// True if there was a distributed cache to delete from.
    pub attempted: bool,
    /// The number of deleted keys.
    pub deleted: u64,
    /// The error that ended the deletion; absent if it finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
