//! What a cache tells about itself to operators.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// Whether requests may use the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Requests use the backend.
    Closed,
    /// Requests go on without it; one background task finds out when it is well.
    Open,
}

/// The state of the distributed cache in this process. It contains no secret.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CacheStatus {
    /// Whether a backend is in use. It stays so while the breaker is open.
    pub enabled: bool,
    /// `redis` or `noop`.
    pub provider: &'static str,
    /// Whether the backend answers now. Without a backend: whether none is wanted.
    pub healthy: bool,
    /// The breaker; absent without a backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerState>,
    /// Since when provider and breaker are as they are.
    pub since: DateTime<Utc>,
    /// The error that opened the breaker last, or that keeps the backend from being used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Entries waiting to be written.
    pub pending_fills: u64,
    /// Half of the operations of the last minute took at most so many milliseconds. The true
    /// value is at most a fifth lower; absent when there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p50_ms: Option<f64>,
    /// 99 in 100 operations of the last minute took at most so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p99_ms: Option<f64>,
    /// Connections that are up. In a cluster one of them is a connection to each primary.
    pub connections_up: u32,
    /// `max_connections`, shared out among the primaries of a cluster; 0 without a backend.
    pub connections_max: u32,
}

impl CacheStatus {
    /// The status of a cache without a backend.
    pub(super) fn without_backend(
        since: DateTime<Utc>,
        wanted: bool,
        last_error: Option<String>,
    ) -> Self {
        Self {
            enabled: false,
            provider: "noop",
            healthy: !wanted,
            breaker: None,
            since,
            last_error,
            pending_fills: 0,
            latency_p50_ms: None,
            latency_p99_ms: None,
            connections_up: 0,
            connections_max: 0,
        }
    }
}
