//! Answers questions about templates and carries out cache operations, for HTTP handlers.

use std::sync::Arc;

use tasker_shared::cache::{CacheProvider, CacheStatus};
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry};
use tasker_shared::types::{CacheInvalidation, CacheStats, HandlerMetadata};

use super::types::{
    CacheOperation, CacheOperationResponse, TemplateListResponse, TemplateValidationResponse,
};
use super::validation::{validate_document, validate_resolved, validate_unreadable};
use crate::worker::{Lookup, TaskTemplateManager, worker_capabilities};

/// What HTTP handlers ask about templates and caches.
///
/// The distributed cache is never what a question fails on: its operations report what became of
/// them in their answer.
#[derive(Debug, Clone)]
pub struct TemplateQueryService {
    manager: Arc<TaskTemplateManager>,
    cache_provider: Arc<CacheProvider>,
}

impl TemplateQueryService {
    /// The registry that the templates come from.
    #[must_use]
    pub fn registry(&self) -> &TaskHandlerRegistry {
        self.manager.registry()
    }

    /// A service over the templates of `manager`, whose registry uses `cache_provider`.
    #[must_use]
    pub fn new(manager: Arc<TaskTemplateManager>, cache_provider: Arc<CacheProvider>) -> Self {
        Self {
            manager,
            cache_provider,
        }
    }

    /// The registered templates, of one namespace if one is given. A namespace that nobody
    /// registered anything in has none.
    pub async fn list_templates(
        &self,
        namespace: Option<&str>,
        include_cache_stats: bool,
    ) -> Result<TemplateListResponse, RegistryError> {
        let templates = self.manager.registry().list_templates(namespace).await?;
        Ok(TemplateListResponse {
            supported_namespaces: self.manager.supported_namespaces(),
            template_count: templates.len(),
            cache_stats: include_cache_stats.then(|| self.manager.cache_stats()),
            worker_capabilities: worker_capabilities(),
            templates: templates.into_iter().map(Into::into).collect(),
        })
    }

    /// The current template of this name as this worker's environment sees it.
    pub async fn get_template(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<Lookup, RegistryError> {
        self.manager
            .get_task_template(namespace, name, version)
            .await
    }

    /// Whether this worker can run the registered template of this name. One that cannot be read
    /// is a template that is not valid, not an error.
    pub async fn validate_template(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<TemplateValidationResponse, RegistryError> {
        match self.get_template(namespace, name, version).await {
            Ok(lookup) => Ok(validate_resolved(&lookup.template)),
            Err(RegistryError::Unreadable { source, .. }) => Ok(validate_unreadable(&source)),
            Err(error) => Err(error),
        }
    }

    /// Checks a template in YAML or JSON that is not registered, on a thread for blocking work,
    /// because reading a large document takes long.
    pub async fn validate_document(&self, text: Vec<u8>) -> TemplateValidationResponse {
        tokio::task::spawn_blocking(move || validate_document(&text))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Resolves one template anew, then deletes its entry in the distributed cache.
    ///
    /// # Errors
    /// Those of resolving. The distributed entry is deleted all the same: a template that is gone
    /// must leave the caches, too.
    pub async fn refresh_template(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<CacheOperationResponse, RegistryError> {
        let refreshed = self.manager.refresh(namespace, name, version).await;
        let distributed = self
            .manager
            .registry()
            .invalidate_cache(namespace, name, version)
            .await;
        refreshed.map(|_| self.done(CacheOperation::RefreshTemplate, 0, distributed))
    }

    /// Empties this worker's cache and deletes every template from the distributed one.
    pub async fn clear_cache(&self) -> CacheOperationResponse {
        let removed = self.manager.clear_cache();
        let distributed = self.manager.registry().invalidate_all_templates().await;
        self.done(CacheOperation::ClearCache, removed, distributed)
    }

    /// Drops the entries that are not current from this worker's cache, and deletes the
    /// distributed entries of the same names, which are at best as old.
    ///
    /// When there are none, the distributed cache is asked whether it is there, so that whoever
    /// maintains the caches hears of it either way.
    pub async fn maintain_cache(&self) -> Result<CacheOperationResponse, RegistryError> {
        let dropped = self.manager.maintain().await?;
        let distributed = self.delete_distributed(&dropped).await;
        Ok(self.done(
            CacheOperation::MaintainCache,
            dropped.len() as u64,
            distributed,
        ))
    }

    /// What this worker's cache did and holds.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.manager.cache_stats()
    }

    /// Whether there is a distributed cache, which, and whether it answers.
    pub async fn distributed_cache_status(&self) -> CacheStatus {
        self.cache_provider.status().await
    }

    async fn delete_distributed(&self, names: &[Arc<HandlerMetadata>]) -> CacheInvalidation {
        if names.is_empty() {
            return self.ask_distributed().await;
        }
        let mut total = CacheInvalidation::default();
        for name in names {
            let one = self
                .manager
                .registry()
                .invalidate_cache(&name.namespace, &name.name, &name.version)
                .await;
            total.attempted |= one.attempted;
            total.deleted += one.deleted;
            if one.error.is_some() {
                // The rest would wait for the same failure, each for its own deadline.
                total.error = one.error;
                break;
            }
        }
        total
    }

    /// A deletion of nothing, which fails as any other would.
    async fn ask_distributed(&self) -> CacheInvalidation {
        let status = self.cache_provider.status().await;
        CacheInvalidation {
            attempted: status.enabled,
            deleted: 0,
            error: (!status.healthy).then(|| {
                status
                    .last_error
                    .unwrap_or_else(|| String::from("the distributed cache does not answer"))
            }),
        }
    }

    fn done(
        &self,
        operation: CacheOperation,
        removed: u64,
        distributed: CacheInvalidation,
    ) -> CacheOperationResponse {
        CacheOperationResponse {
            operation,
            success: distributed.error.is_none(),
            removed,
            cache_stats: self.manager.cache_stats(),
            distributed,
        }
    }
}
