//! What a resolve answers, and from where.

use std::sync::Arc;
use std::time::Duration;

use crate::types::HandlerMetadata;

/// Where a body was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// In this process.
    Local,
    /// In Redis.
    Redis,
    /// In PostgreSQL.
    Database,
}

impl Tier {
    /// A label for metrics, headers and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Redis => "redis",
            Self::Database => "database",
        }
    }
}

/// A resolved template, and how it was resolved.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The template.
    pub metadata: Arc<HandlerMetadata>,
    /// Where its body was found.
    pub tier: Tier,
    /// How far past `max_staleness_ms` the answer may be. `None`: it is within the bound, as it
    /// always is unless `serve_stale_seconds` allows otherwise.
    pub stale_by: Option<Duration>,
}
