//! The registry's public face. (Stub: signatures are settled, bodies are not.)

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::RegistryError;
use crate::cache::CacheProvider;
use crate::config::tasker::CacheConfig;
use crate::events::EventPublisher;
use crate::models::core::task_request::TaskRequest;
use crate::models::core::task_template::TemplateDocument;
use crate::types::{CacheInvalidation, ContentHash, HandlerMetadata};

/// What registering a template did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationStatus {
    /// The name was new.
    Created,
    /// The name pointed to other content.
    Updated,
    /// The content was registered already; nothing was written.
    Unchanged,
}

/// A template that was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub namespace: String,
    pub name: String,
    pub version: String,
    pub status: RegistrationStatus,
    pub named_task_uuid: Uuid,
}

/// A template file that was not registered, or that was with a doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryProblem {
    pub file: std::path::PathBuf,
    pub line: Option<usize>,
    /// Where in the document, such as `steps[2].dependencies[0]`; empty for the document itself.
    pub path: String,
    pub message: String,
}

/// What a discovery found and did.
#[derive(Debug, Clone, Default)]
pub struct TaskTemplateDiscoveryResult {
    pub total_files: usize,
    /// Templates that are registered now, `unchanged` ones among them, in the order of files.
    pub registered: Vec<Registration>,
    /// One for each thing that is wrong; a file with any is not registered.
    pub errors: Vec<DiscoveryProblem>,
    /// What is doubtful in files that are registered.
    pub warnings: Vec<DiscoveryProblem>,
    /// What became of the invalidation that follows a discovery.
    pub invalidation: CacheInvalidation,
}

/// A registered name and what it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredTemplate {
    pub namespace: String,
    pub name: String,
    pub version: String,
    pub description: Option<String>,
    pub hash: ContentHash,
    pub sequence: i64,
    pub registered_at: DateTime<Utc>,
}

/// Registers and resolves task templates.
#[derive(Debug)]
pub struct TaskHandlerRegistry {}

impl TaskHandlerRegistry {
    /// A registry that reads PostgreSQL for every resolve.
    #[must_use]
    pub fn new(_db_pool: PgPool) -> Self {
        unimplemented!()
    }

    #[must_use]
    pub fn with_event_publisher(self, _events: Arc<EventPublisher>) -> Self {
        self
    }

    /// A registry that caches.
    #[must_use]
    pub fn with_cache(
        _db_pool: PgPool,
        _cache_provider: Arc<CacheProvider>,
        _cache_config: CacheConfig,
    ) -> Self {
        unimplemented!()
    }

    /// The template that `request` names.
    pub async fn resolve_handler(
        &self,
        request: &TaskRequest,
    ) -> Result<Arc<HandlerMetadata>, RegistryError> {
        self.get_template(&request.namespace, &request.name, &request.version)
            .await
    }

    /// The template of this name.
    pub async fn get_template(
        &self,
        _namespace: &str,
        _name: &str,
        _version: &str,
    ) -> Result<Arc<HandlerMetadata>, RegistryError> {
        unimplemented!()
    }

    /// Registers one template.
    pub async fn register_task_template(
        &self,
        _template: &TemplateDocument,
    ) -> Result<Registration, RegistryError> {
        unimplemented!()
    }

    /// Registers all templates, or none, in one statement.
    pub async fn register_task_templates(
        &self,
        _templates: &[TemplateDocument],
    ) -> Result<Vec<Registration>, RegistryError> {
        unimplemented!()
    }

    /// Registers every template file below `directory`.
    pub async fn discover_and_register_templates(
        &self,
        _directory: &Path,
    ) -> Result<TaskTemplateDiscoveryResult, RegistryError> {
        unimplemented!()
    }

    /// Registered names, sorted; of one namespace if one is given.
    pub async fn list_templates(
        &self,
        _namespace: Option<&str>,
    ) -> Result<Vec<RegisteredTemplate>, RegistryError> {
        unimplemented!()
    }

    /// Deletes one template's entry from both tiers.
    pub async fn invalidate_cache(
        &self,
        _namespace: &str,
        _name: &str,
        _version: &str,
    ) -> CacheInvalidation {
        unimplemented!()
    }

    /// Deletes all templates' entries from both tiers.
    pub async fn invalidate_all_templates(&self) -> CacheInvalidation {
        unimplemented!()
    }

    /// Deletes one namespace's entries from both tiers.
    pub async fn invalidate_namespace_templates(&self, _namespace: &str) -> CacheInvalidation {
        unimplemented!()
    }

    /// Whether a distributed cache is in use now.
    #[must_use]
    pub fn cache_enabled(&self) -> bool {
        unimplemented!()
    }

    /// Stops the registry's background work. Resolves after it fail with
    /// [`RegistryError::ShutDown`] when they need more than memory.
    pub async fn shutdown(&self) {}
}
