//! Queries templates and operates the caches for HTTP handlers.

use std::sync::Arc;

use tasker_shared::cache::{CacheProvider, CacheStatus};
use tasker_shared::models::core::task_template::TemplateLimits;
use tasker_shared::registry::catalog::{self, TemplateCatalog};
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry};
use tasker_shared::types::{CacheInvalidation, CacheStats, HandlerMetadata};
use tasker_web::{ApiResult, Page, PageQuery, resolve_problem};

use super::jobs::Jobs;
use super::types::{
    CacheOperation, CacheOperationResponse, TemplateListResponse, TemplateResponse,
};
use super::validation::{
    TemplateValidationResponse, validate_document, validate_resolved, validate_unreadable,
};
use crate::worker::{Lookup, TaskTemplateManager, worker_capabilities};

/// Queries templates and operates the caches.
///
/// A failure of the distributed cache never fails a call. Cache operations report it in their
/// response.
#[derive(Debug, Clone)]
pub struct TemplateQueryService {
    manager: Arc<TaskTemplateManager>,
    cache_provider: Arc<CacheProvider>,
    catalog: TemplateCatalog,
    limits: TemplateLimits,
    validations: Jobs,
}

impl TemplateQueryService {
    /// Returns the registry of the templates.
    #[must_use]
    pub fn registry(&self) -> &TaskHandlerRegistry {
        self.manager.registry()
    }

    /// Creates a service for the templates of `manager`, whose registry uses `cache_provider`
    /// and the database of `catalog`. Documents that are validated have the `limits` of files.
    #[must_use]
    pub fn new(
        manager: Arc<TaskTemplateManager>,
        cache_provider: Arc<CacheProvider>,
        catalog: TemplateCatalog,
        limits: TemplateLimits,
    ) -> Self {
        Self {
            manager,
            cache_provider,
            catalog,
            limits,
            validations: Jobs::default(),
        }
    }

    /// Returns a page of the registered templates, of one namespace if it is given. An unknown
    /// namespace has none.
    ///
    /// # Errors
    /// Fails if the page is not valid or PostgreSQL does not answer.
    pub async fn list_templates(
        &self,
        namespace: Option<String>,
        page: &PageQuery,
        include_cache_stats: bool,
    ) -> ApiResult<TemplateListResponse> {
        let limit = page.limit()?;
        let after = page.after()?;
        let rows = self.catalog.page(catalog::Page {
            namespace,
            after,
            limit: limit + 1,
        });
        let page = Page::new(rows.await?, limit, |one| {
            (one.namespace.clone(), one.name.clone(), one.version.clone())
        });
        Ok(TemplateListResponse {
            supported_namespaces: self.manager.supported_namespaces(),
            template_count: page.items.len(),
            cache_stats: include_cache_stats.then(|| self.manager.cache_stats()),
            worker_capabilities: worker_capabilities(),
            templates: page.items.into_iter().map(Into::into).collect(),
            next_cursor: page.next,
        })
    }

    /// Maps an error of resolving to a problem that names the nearest template.
    ///
    /// # Errors
    /// Fails if `result` is an error.
    pub async fn explain<T>(&self, result: Result<T, RegistryError>) -> ApiResult<T> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(resolve_problem(&self.catalog, error).await),
        }
    }

    /// Returns the current template with the overrides of this worker's environment.
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

    /// Returns the answer to a request for this template.
    pub async fn describe(&self, lookup: &Lookup) -> TemplateResponse {
        let template = Arc::clone(&lookup.template);
        // Once for each entry, because the schema is compiled for them.
        let warnings = if let Some(warnings) = template.warnings().get() {
            warnings.clone()
        } else {
            let validate = move || {
                let warnings = || validate_resolved(&template).warnings;
                template.warnings().get_or_init(warnings).clone()
            };
            self.validations.run(validate).await
        };
        TemplateResponse::new(lookup, warnings)
    }

    /// Checks that this worker can run the registered template. Reports a document that cannot be
    /// read as an invalid template, not as an error.
    pub async fn validate_template(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<TemplateValidationResponse, RegistryError> {
        match self.get_template(namespace, name, version).await {
            Ok(lookup) => {
                let job = move || validate_resolved(&lookup.template);
                Ok(self.validations.run(job).await)
            }
            Err(RegistryError::Unreadable { source, .. }) => Ok(validate_unreadable(&source)),
            Err(error) => Err(error),
        }
    }

    /// Checks a template in YAML or JSON that is not registered.
    pub async fn validate_document(&self, text: Vec<u8>) -> TemplateValidationResponse {
        let limits = self.limits;
        let job = move || validate_document(&text, limits);
        self.validations.run(job).await
    }

    /// Resolves one template again, then deletes its entry in the distributed cache.
    ///
    /// # Errors
    /// Fails as resolving does. The distributed entry is deleted even then, because a deleted template
    /// must leave the caches too.
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

    /// Clears this worker's cache and deletes all templates from the distributed cache.
    pub async fn clear_cache(&self) -> CacheOperationResponse {
        let removed = self.manager.clear_cache();
        let distributed = self.manager.registry().invalidate_all_templates().await;
        self.done(CacheOperation::ClearCache, removed, distributed)
    }

    /// Removes entries that are not current from this worker's cache, and deletes the distributed
    /// entries of the same names, which are at least as old.
    ///
    /// If there are none, this checks the distributed cache, so that the response always reports its
    /// failure.
    pub async fn maintain_cache(&self) -> Result<CacheOperationResponse, RegistryError> {
        let dropped = self.manager.maintain().await?;
        let distributed = self.delete_distributed(&dropped).await;
        Ok(self.done(
            CacheOperation::MaintainCache,
            dropped.len() as u64,
            distributed,
        ))
    }

    /// Returns statistics of this worker's cache.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.manager.cache_stats()
    }

    /// Returns the status of the distributed cache.
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
                // Stop because each further deletion would wait for its own timeout.
                total.error = one.error;
                break;
            }
        }
        total
    }

    /// Reports the status of the distributed cache as if nothing had been deleted.
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
