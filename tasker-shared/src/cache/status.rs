//! The state of the cache, for operators.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// The state of the breaker between requests and the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Requests use the backend.
    Closed,
    /// Requests continue without the backend. A background task probes it and closes the breaker.
    Open,
}

/// The state of the distributed cache in this process. It contains no secret.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CacheStatus {
    /// True if a backend is in use. Stays true while the breaker is open.
    pub enabled: bool,
    /// `redis` or `noop`.
    pub provider: &'static str,
    /// True if the backend answers now, or if none is configured.
    pub healthy: bool,
    /// The breaker; absent without a backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerState>,
    /// The time of the last change of provider or breaker.
    pub since: DateTime<Utc>,
    /// The error that opened the breaker last, or that keeps the backend from being used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The reason why the configured cache can never be used; absent if it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The commands that the backend refuses now, each with its error code, such as `SET: NOPERM`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub refused_commands: Vec<String>,
    /// Connections that are up. In a cluster each of them is one to every primary.
    pub connections_up: u32,
    /// The number of connections that are kept up; 0 without a backend.
    pub connections_max: u32,
}

impl CacheStatus {
    /// Returns the status of a cache without a backend. `last_error` is the reason why a configured
    /// backend is not used.
    pub(super) fn without_backend(since: DateTime<Utc>, last_error: Option<String>) -> Self {
        Self {
            enabled: false,
            provider: "noop",
            healthy: last_error.is_none(),
            breaker: None,
            since,
            last_error,
            refused: None,
            refused_commands: Vec::new(),
            connections_up: 0,
            connections_max: 0,
        }
    }
}
