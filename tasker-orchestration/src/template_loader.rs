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
    /// Creates a loader for the templates of `registry`.
    #[must_use]
    pub fn new(registry: Arc<TaskHandlerRegistry>) -> Self {
        Self { registry }
    }

    /// Returns the template that `request` names, at most as old as the registry's bound.
    pub async fn load(&self, request: &TaskRequest) -> Result<Arc<HandlerMetadata>, RegistryError> {
        self.registry.resolve_handler(request).await
    }
}
