//! The answer of a resolve, and its metrics.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::errors::RegistryError;
use super::index::{Pointer, TemplateName};
use crate::metrics::{TEMPLATE_RESOLVE_DURATION, TEMPLATE_RESOLVES};
use crate::models::core::task_template::TaskTemplate;
use crate::types::{Document, HandlerMetadata};

/// The tier that had a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Tier {
    /// The memory of this process.
    Local,
    /// Redis.
    Redis,
    /// PostgreSQL.
    Database,
}

impl Tier {
    /// Returns a label for metrics, headers and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// A resolved template, and how it was resolved.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The template.
    pub metadata: Arc<HandlerMetadata>,
    /// The tier that had its document.
    pub tier: Tier,
    /// The time by which the answer may be older than `max_staleness_ms`. `None` unless
    /// `serve_stale_seconds` allows such answers.
    pub stale_by: Option<Duration>,
}

/// The metrics of resolves. The handles are kept, because finding a metric by its labels takes as
/// long as the rest of a warm resolve.
///
/// A handle is made when it is first needed: a recorder may be installed after the registry, and
/// events that never happened are not exported.
#[derive(Default)]
pub(super) struct ResolveMetrics {
    local: TierMetrics,
    redis: TierMetrics,
    database: TierMetrics,
}

#[derive(Default)]
struct TierMetrics {
    resolves: OnceLock<metrics::Counter>,
    duration: OnceLock<metrics::Histogram>,
}

impl ResolveMetrics {
    /// Counts a resolve whose duration is not measured.
    pub(super) fn count(&self, tier: Tier) {
        let result = match tier {
            Tier::Local | Tier::Redis => "hit",
            Tier::Database => "miss",
        };
        let resolves = self.of(tier).resolves.get_or_init(|| {
            metrics::counter!(TEMPLATE_RESOLVES.name, "tier" => tier.label(), "result" => result)
        });
        resolves.increment(1);
    }

    /// Counts a resolve and records its duration.
    pub(super) fn record(&self, tier: Tier, duration: Duration) {
        self.count(tier);
        let histogram = self.of(tier).duration.get_or_init(
            || metrics::histogram!(TEMPLATE_RESOLVE_DURATION.name, "tier" => tier.label()),
        );
        histogram.record(duration);
    }

    fn of(&self, tier: Tier) -> &TierMetrics {
        match tier {
            Tier::Local => &self.local,
            Tier::Redis => &self.redis,
            Tier::Database => &self.database,
        }
    }

    /// Counts a resolve that failed, in this tier or in `none`.
    pub(super) fn count_failure(tier: Option<Tier>, error: &RegistryError) {
        let tier = tier.map_or("none", Tier::label);
        let result = match error {
            RegistryError::NotFound { .. } => "not_found",
            _ => "error",
        };
        metrics::counter!(TEMPLATE_RESOLVES.name, "tier" => tier, "result" => result).increment(1);
    }
}

/// Returns the answer of a resolve: the document under its name, with the row's columns.
///
/// # Errors
/// Fails if `document` is not a template.
pub(super) fn assemble(
    name: TemplateName<'_>,
    pointer: &Pointer,
    document: Arc<str>,
) -> Result<HandlerMetadata, serde_json::Error> {
    let (document, template) = Document::read::<TaskTemplate>(document)?;
    Ok(HandlerMetadata {
        namespace: name.namespace.to_owned(),
        name: name.name.to_owned(),
        version: name.version.to_owned(),
        handler_class: template
            .task_handler
            .as_ref()
            .map(|handler| handler.callable.clone())
            .unwrap_or_default(),
        default_dependent_system: template
            .system_dependencies
            .as_ref()
            .and_then(|systems| systems.primary.clone()),
        hash: pointer.hash,
        sequence: pointer.sequence,
        named_task_uuid: pointer.named_task_uuid,
        identity_strategy: pointer.identity_strategy,
        registered_at: pointer.registered_at,
        template,
        document,
    })
}
