//! Response types. Their field names are a contract with clients.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tasker_shared::models::core::identity_strategy::IdentityStrategy;
use tasker_shared::registry::TemplateListing;
use tasker_shared::types::{CacheInvalidation, CacheStats, ContentHash, Document, HandlerMetadata};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::worker::Lookup;

/// The registered templates, and the capabilities of this worker.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TemplateListResponse {
    /// The namespaces of the template files that this worker found at boot, sorted.
    pub supported_namespaces: Vec<String>,
    /// Number of templates on this page.
    pub template_count: usize,
    /// Statistics of this worker's cache, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_stats: Option<CacheStats>,
    /// The step types that this worker can run, sorted.
    pub worker_capabilities: Vec<String>,
    /// Registered templates sorted by name, of one namespace if requested.
    pub templates: Vec<RegisteredTemplateResponse>,
    /// The cursor of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The name of a registered template and the hash of its document.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RegisteredTemplateResponse {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// The hash of the document: 64 hexadecimal digits.
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

/// A template with the overrides of this worker's environment.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TemplateResponse {
    /// The document as registered, unknown keys included, with the overrides of this worker's
    /// environment applied.
    #[schema(value_type = Object)]
    pub template: Document,
    /// The warnings of the document, one sentence each.
    pub warnings: Vec<String>,
    /// The registration, without the document.
    pub handler_metadata: HandlerMetadataResponse,
    /// True if the template was in this worker's cache.
    pub cached: bool,
    /// Age of the entry in this worker's cache, in seconds.
    pub cache_age_seconds: u64,
    /// Number of times this worker returned the entry, including this time.
    pub access_count: u64,
    /// Milliseconds by which the answer may exceed `max_staleness_ms`, if the configuration allows
    /// this while PostgreSQL is lost. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_by_ms: Option<u64>,
}

impl TemplateResponse {
    /// Describes a template that was looked up, with its `warnings`.
    pub(super) fn new(lookup: &Lookup, warnings: Vec<String>) -> Self {
        Self {
            template: lookup.template.document().clone(),
            warnings,
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

/// The registration of a template, without its document.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HandlerMetadataResponse {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// `task_handler.callable`. Empty if the template names no task handler.
    pub handler_class: String,
    /// `system_dependencies.primary`.
    pub default_dependent_system: Option<String>,
    /// The hash of the document before overrides: 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub hash: ContentHash,
    /// The position of this registration in the database's order of commits.
    pub sequence: i64,
    /// The row in `tasker.named_tasks`.
    pub named_task_uuid: Uuid,
    /// Defines which requests are the same and return the same task.
    pub identity_strategy: IdentityStrategy,
    /// The time at which this document was registered, by the database's clock.
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

/// The result of a cache operation.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CacheOperationResponse {
    /// The operation.
    pub operation: CacheOperation,
    /// True if it succeeded in both tiers. Otherwise `distributed.error` has the cause.
    pub success: bool,
    /// Number of entries removed from this worker's cache.
    pub removed: u64,
    /// Statistics of this worker's cache after the operation.
    pub cache_stats: CacheStats,
    /// The result in the distributed cache.
    pub distributed: CacheInvalidation,
}

/// A cache operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheOperation {
    /// Resolves one template again and deletes its distributed entry.
    RefreshTemplate,
    /// Removes all entries in both tiers.
    ClearCache,
    /// Removes outdated entries in both tiers.
    MaintainCache,
}
