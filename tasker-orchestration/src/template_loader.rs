//! Finds the template that a task request names.

use std::sync::Arc;

use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry};
use tasker_shared::types::HandlerMetadata;

/// Loads templates through the registry, which caches them; nothing is cached here.
#[derive(Debug, Clone)]
pub struct TemplateLoader {
    registry: Arc<TaskHandlerRegistry>,
}

impl TemplateLoader {
    /// A loader of what `registry` holds.
    #[must_use]
    pub fn new(registry: Arc<TaskHandlerRegistry>) -> Self {
        Self { registry }
    }

    /// The template that `request` names, no older than the registry's bound.
    pub async fn load(&self, request: &TaskRequest) -> Result<Arc<HandlerMetadata>, RegistryError> {
        self.registry.resolve_handler(request).await
    }
}
