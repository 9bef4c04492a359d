//! The metrics of resolves that found a template. Each is looked up once: finding a metric by its
//! labels takes as long as all else on the warm path.

use std::sync::OnceLock;
use std::time::Duration;

use super::RegistryError;
use super::resolution::Tier;
use crate::metrics::{TEMPLATE_RESOLVE_DURATION, TEMPLATE_RESOLVES};

/// Looked up when they are first needed, not before: a recorder may be installed after a registry
/// was made, and what never happened is not exported.
#[derive(Default)]
pub(super) struct ResolveMetrics {
    local: OfTier,
    redis: OfTier,
    database: OfTier,
}

#[derive(Default)]
struct OfTier {
    resolves: OnceLock<metrics::Counter>,
    duration: OnceLock<metrics::Histogram>,
}

impl ResolveMetrics {
    /// Counts a resolve whose duration is not measured.
    pub(super) fn counted(&self, tier: Tier) {
        let result = match tier {
            Tier::Local | Tier::Redis => "hit",
            Tier::Database => "miss",
        };
        let resolves = self.of(tier).resolves.get_or_init(|| {
            metrics::counter!(TEMPLATE_RESOLVES.name, "tier" => tier.label(), "result" => result)
        });
        resolves.increment(1);
    }

    /// Counts a resolve that was answered after it `took` this time.
    pub(super) fn answered(&self, tier: Tier, took: Duration) {
        self.counted(tier);
        let duration = self.of(tier).duration.get_or_init(
            || metrics::histogram!(TEMPLATE_RESOLVE_DURATION.name, "tier" => tier.label()),
        );
        duration.record(took);
    }

    fn of(&self, tier: Tier) -> &OfTier {
        match tier {
            Tier::Local => &self.local,
            Tier::Redis => &self.redis,
            Tier::Database => &self.database,
        }
    }

    /// Counts a resolve that failed, in this tier or in `none`.
    pub(super) fn failed(tier: Option<Tier>, error: &RegistryError) {
        let tier = tier.map_or("none", Tier::label);
        let result = match error {
            RegistryError::NotFound { .. } => "not_found",
            _ => "error",
        };
        metrics::counter!(TEMPLATE_RESOLVES.name, "tier" => tier, "result" => result).increment(1);
    }
}
