//! Answers about templates, with the field names that clients know.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tasker_shared::models::core::identity_strategy::IdentityStrategy;
use tasker_shared::registry::TemplateListing;
use tasker_shared::types::{CacheInvalidation, CacheStats, ContentHash, Document, HandlerMetadata};
use utoipa::ToSchema;
use uuid::Uuid;

use super::validation::validate_resolved;
use crate::worker::Lookup;

/// The registered templates, and what this worker can do with them.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TemplateListResponse {
    /// The namespaces of the template files that this worker found at boot, sorted.
    pub supported_namespaces: Vec<String>,
    /// How many templates are listed.
    pub template_count: usize,
    /// What this worker's cache did and holds; only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_stats: Option<CacheStats>,
    /// The step types that this worker understands, sorted.
    pub worker_capabilities: Vec<String>,
    /// Registered templates, sorted by name; of one namespace when one was asked for.
    pub templates: Vec<RegisteredTemplateResponse>,
}

/// A registered name and the content that it points to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RegisteredTemplateResponse {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// The content hash: 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub hash: ContentHash,
}

impl From<TemplateListing> for RegisteredTemplateResponse {
    fn from(template: TemplateListing) -> Self {
        Self {
            namespace: template.namespace,
            name: template.name,
            version: template.version,
            hash: template.hash,
        }
    }
}

/// One template as this worker's environment sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TemplateResponse {
    /// The document as registered, unknown keys included, with the overrides of this worker's
    /// environment applied.
    #[schema(value_type = Object)]
    pub template: Document,
    /// The document's warnings, a sentence each.
    pub warnings: Vec<String>,
    /// What the registry knows of it.
    pub handler_metadata: HandlerMetadataResponse,
    /// Whether this worker's cache held the template already.
    pub cached: bool,
    /// For how long this worker's cache has held it, in seconds.
    pub cache_age_seconds: u64,
    /// How often this worker handed out what it holds, this answer included.
    pub access_count: u64,
    /// How far past `max_staleness_ms` the answer may be, in milliseconds, where the configuration
    /// allows that while PostgreSQL cannot be reached. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_by_ms: Option<u64>,
}

impl From<&Lookup> for TemplateResponse {
    fn from(lookup: &Lookup) -> Self {
        Self {
            template: lookup.template.document().clone(),
            warnings: validate_resolved(&lookup.template).warnings,
            handler_metadata: HandlerMetadataResponse::from(&**lookup.template.metadata()),
            cached: lookup.cached,
            cache_age_seconds: lookup.age.as_secs(),
            access_count: lookup.access_count,
            stale_by_ms: lookup
                .stale_by
                .map(|stale_by| u64::try_from(stale_by.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// What the registry knows of a template, apart from its document.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HandlerMetadataResponse {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// `task_handler.callable`; empty when the template names no task handler.
    pub handler_class: String,
    /// `system_dependencies.primary`.
    pub default_dependent_system: Option<String>,
    /// The content hash of the document before overrides: 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub hash: ContentHash,
    /// The commit that made this registration current, in the database's order of commits.
    pub sequence: i64,
    /// The row in `tasker.named_tasks`.
    pub named_task_uuid: Uuid,
    /// How requests for this template are deduplicated.
    pub identity_strategy: IdentityStrategy,
    /// When this content was registered, by the database's clock.
    pub registered_at: DateTime<Utc>,
}

impl From<&HandlerMetadata> for HandlerMetadataResponse {
    fn from(metadata: &HandlerMetadata) -> Self {
        Self {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            version: metadata.version.clone(),
            handler_class: metadata.handler_class.clone(),
            default_dependent_system: metadata.default_dependent_system.clone(),
            hash: metadata.hash,
            sequence: metadata.sequence,
            named_task_uuid: metadata.named_task_uuid,
            identity_strategy: metadata.identity_strategy,
            registered_at: metadata.registered_at,
        }
    }
}

/// Whether this worker can run a registered template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TemplateValidationResponse {
    /// True if there are no errors.
    pub valid: bool,
    /// The errors, a sentence each.
    pub errors: Vec<String>,
    /// The warnings, a sentence each.
    pub warnings: Vec<String>,
    /// The step types that the template uses, sorted.
    pub required_capabilities: Vec<String>,
    /// The callables of its steps in this environment, each once, in the order of steps.
    pub step_handlers: Vec<String>,
}

/// What an operation on the caches did.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CacheOperationResponse {
    /// Which operation it was.
    pub operation: CacheOperation,
    /// Whether it was done in both tiers; if not, `distributed.error` says why.
    pub success: bool,
    /// How many entries it dropped from this worker's cache.
    pub removed: u64,
    /// This worker's cache after it.
    pub cache_stats: CacheStats,
    /// What became of it in the distributed cache.
    pub distributed: CacheInvalidation,
}

/// An operation on the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheOperation {
    /// One template was resolved anew, and its distributed entry deleted.
    RefreshTemplate,
    /// All entries were dropped, in both tiers.
    ClearCache,
    /// Entries that were not current were dropped, in both tiers.
    MaintainCache,
}
