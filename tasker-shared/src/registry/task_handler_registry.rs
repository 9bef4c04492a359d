//! The registry's public face.

use std::path::Path;
use std::sync::Arc;

use sqlx::PgPool;

use super::distributed_tier::DistributedTier;
use super::index::{Moment, TemplateName};
use super::index_status::IndexStatus;
use super::inspection::{self, CacheEntries, Inspection};
use super::listing::{self, TemplateListing};
use super::registration::{
    self, BatchOutcome, RegistrationOutcome, RegistrationStatus, Submission,
};
use super::resolution::{Resolution, Tier};
use super::resolve_metrics::ResolveMetrics;
use super::resolver::Resolver;
use super::{RegistryError, TaskTemplateDiscoveryResult, body, discovery};
use crate::cache::CacheProvider;
use crate::config::tasker::{CacheConfig, TaskTemplatesConfig};
use crate::database::HeldConnections;
use crate::events::{EventPublisher, RegistryEvent};
use crate::models::core::task_request::TaskRequest;
use crate::models::core::task_template::TemplateDocument;
use crate::system_context::SystemContext;
use crate::types::{CacheInvalidation, HandlerMetadata};

/// Registers and resolves task templates.
///
/// Without a cache every resolve is one SQL statement. With one, a resolve looks its name up in a
/// directory that is never older than `max_staleness_ms`, and finds the body in this process, in
/// Redis, or in PostgreSQL, in that order.
///
/// All methods may be called concurrently, and cancelling one affects no other.
pub struct TaskHandlerRegistry {
    db_pool: PgPool,
    /// Of the same pool, for reading bodies.
    connections: Arc<HeldConnections>,
    event_publisher: Option<Arc<EventPublisher>>,
    task_templates: TaskTemplatesConfig,
    cache: Option<Cache>,
    /// Of resolves without a cache.
    uncached: ResolveMetrics,
}

struct Cache {
    resolver: Resolver,
    invalidate_on_boot: bool,
}

impl TaskHandlerRegistry {
    /// A registry that reads PostgreSQL for every resolve.
    #[must_use]
    pub fn new(db_pool: PgPool) -> Self {
        Self {
            connections: Arc::new(HeldConnections::new(db_pool.clone())),
            db_pool,
            event_publisher: None,
            task_templates: TaskTemplatesConfig::default(),
            cache: None,
            uncached: ResolveMetrics::default(),
        }
    }

    /// A registry that caches: in the process, and in `cache_provider`.
    ///
    /// Handing over a backend, or a configuration that is enabled, turns caching on. Background
    /// work starts with the first use, in the Tokio runtime of that use.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the registry is given its configuration"
    )]
    pub fn with_cache(
        db_pool: PgPool,
        cache_provider: Arc<CacheProvider>,
        cache_config: CacheConfig,
    ) -> Self {
        let mut registry = Self::new(db_pool);
        if cache_config.enabled || cache_provider.is_enabled() {
            let distributed = DistributedTier::new(cache_provider, &cache_config);
            registry.cache = Some(Cache {
                resolver: Resolver::new(
                    registry.db_pool.clone(),
                    Arc::clone(&registry.connections),
                    distributed,
                    &cache_config,
                ),
                invalidate_on_boot: cache_config.invalidate_on_boot,
            });
        }
        registry
    }

    /// A registry of its own on what `context` holds. Services use the context's.
    #[must_use]
    pub fn with_system_context(context: &SystemContext) -> Self {
        Self::from_parts(
            context.database_pool().clone(),
            Arc::clone(context.cache_provider()),
            Arc::clone(&context.event_publisher),
            &context.tasker_config.common,
        )
    }

    pub(crate) fn from_parts(
        db_pool: PgPool,
        cache_provider: Arc<CacheProvider>,
        event_publisher: Arc<EventPublisher>,
        config: &crate::config::tasker::CommonConfig,
    ) -> Self {
        let registry = match &config.cache {
            Some(cache_config) => Self::with_cache(db_pool, cache_provider, cache_config.clone()),
            None => Self::new(db_pool),
        };
        Self {
            task_templates: config.task_templates.clone(),
            ..registry
        }
        .with_event_publisher(event_publisher)
    }

    /// The same registry, which tells `event_publisher` what it does.
    #[must_use]
    pub fn with_event_publisher(mut self, event_publisher: Arc<EventPublisher>) -> Self {
        self.event_publisher = Some(event_publisher);
        self
    }

    /// Starts background work now instead of with the first resolve, so that the first resolve
    /// does not wait for it. Must be called within a Tokio runtime.
    pub fn start(&self) {
        if let Some(cache) = &self.cache {
            cache.resolver.start();
        }
    }

    /// The template that `request` names.
    ///
    /// # Errors
    /// See [`TaskHandlerRegistry::resolve`].
    pub async fn resolve_handler(
        &self,
        request: &TaskRequest,
    ) -> Result<Arc<HandlerMetadata>, RegistryError> {
        self.get_template(&request.namespace, &request.name, &request.version)
            .await
    }

    /// The template of this name.
    ///
    /// # Errors
    /// See [`TaskHandlerRegistry::resolve`].
    pub async fn get_template(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<Arc<HandlerMetadata>, RegistryError> {
        Ok(self.resolve(namespace, name, version).await?.metadata)
    }

    /// The template of this name, and how it was found.
    ///
    /// The answer was registered at some moment no longer ago than `max_staleness_ms`, unless
    /// [`Resolution::stale_by`] says otherwise. Cancelling loses nothing: a load that was begun
    /// goes on for those who wait with this caller.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if the database, asked after the call, does not know the name;
    /// [`RegistryError::Stale`] if the bound cannot be kept because the database does not answer;
    /// [`RegistryError::Database`] if it fails; [`RegistryError::Unreadable`] if what is
    /// registered is no template.
    pub async fn resolve(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<Resolution, RegistryError> {
        let name = TemplateName {
            namespace,
            name,
            version,
        };
        match &self.cache {
            Some(cache) => cache.resolver.resolve(name).await,
            // Boxed: it is fifty times as large as a warm resolve, and would be a part of every
            // task that resolves.
            None => Box::pin(self.resolve_uncached(name)).await,
        }
    }

    async fn resolve_uncached(&self, name: TemplateName<'_>) -> Result<Resolution, RegistryError> {
        let resolved = body::resolve(&self.connections, name)
            .await
            .inspect_err(|error| ResolveMetrics::failed(Some(Tier::Database), error))?;
        self.uncached.counted(Tier::Database);
        Ok(Resolution {
            metadata: Arc::new(resolved),
            tier: Tier::Database,
            stale_by: None,
        })
    }

    /// Registers one template, and deletes its entries in the caches. After it returns, this
    /// process resolves what was registered.
    ///
    /// # Errors
    /// [`RegistryError::Database`] if PostgreSQL fails. The template may be registered or not, and
    /// registering it again is safe.
    pub async fn register_task_template(
        &self,
        template: &TemplateDocument,
    ) -> Result<RegistrationOutcome, RegistryError> {
        let mut outcomes = self.register_all(vec![template.into()]).await?;
        Ok(outcomes.remove(0))
    }

    /// Registers all templates or none, in one transaction. Names must not repeat.
    ///
    /// # Errors
    /// See [`TaskHandlerRegistry::register_task_template`].
    pub async fn register_task_templates(
        &self,
        templates: &[TemplateDocument],
    ) -> Result<Vec<RegistrationOutcome>, RegistryError> {
        self.register_all(templates.iter().map(Submission::from).collect())
            .await
    }

    async fn register_all(
        &self,
        templates: Vec<Submission>,
    ) -> Result<Vec<RegistrationOutcome>, RegistryError> {
        let batch = registration::register(&self.db_pool, templates, None).await?;
        self.publish(&batch, false).await;
        Ok(batch.outcomes)
    }

    /// Registers every template file below `folder` in one transaction, and then deletes all cached
    /// templates, or those that changed if `invalidate_on_boot` is off.
    ///
    /// A file that cannot be used is reported in the result and does not stop the others. Templates
    /// whose files are gone stay registered. With a cache, the template index, read after the call,
    /// says which templates are registered already, by hash and strategy: a `description` column that
    /// was changed by hand stays until the document changes.
    ///
    /// # Errors
    /// [`RegistryError::Folder`] if the folder cannot be read; [`RegistryError::Database`] if
    /// PostgreSQL fails. Discovering the templates again is safe.
    pub async fn discover_and_register_templates(
        &self,
        folder: impl AsRef<Path>,
    ) -> Result<TaskTemplateDiscoveryResult, RegistryError> {
        // The index is loaded while the files are parsed.
        let begun = Moment::now();
        self.start();
        let max_file_bytes = self.task_templates.max_file_bytes;
        let found = discovery::find(folder.as_ref(), max_file_bytes).await?;
        let index = match &self.cache {
            Some(cache) => cache.resolver.index().snapshot_since(begun).await,
            None => None,
        };
        // Boxed, so that the caller's future is small.
        let registering = registration::register(&self.db_pool, found.templates, index.as_deref());
        let batch = Box::pin(registering).await?;
        let invalidates = self
            .cache
            .as_ref()
            .is_some_and(|cache| cache.invalidate_on_boot);
        let invalidation = Box::pin(self.publish(&batch, invalidates)).await;
        Ok(TaskTemplateDiscoveryResult {
            total_files: found.total_files,
            registered: batch.outcomes,
            errors: found.errors,
            warnings: found.warnings,
            invalidation,
        })
    }

    /// Waits until this process sees the registered templates, and deletes the cached ones: all of
    /// them, or those that were replaced. Both are bounded. Neither may fail the registration, because
    /// it is committed.
    async fn publish(&self, batch: &BatchOutcome, invalidates_all: bool) -> CacheInvalidation {
        let mut invalidation = CacheInvalidation::default();
        if let Some(cache) = &self.cache {
            let delete = async {
                if invalidates_all {
                    return cache.resolver.invalidate(None).await;
                }
                let distributed = cache.resolver.distributed();
                distributed.delete_names(batch.written()).await;
                CacheInvalidation::default()
            };
            ((), invalidation) = tokio::join!(cache.resolver.read_back(batch), delete);
        }
        self.announce(batch);
        if invalidates_all {
            self.tell_invalidated(None);
        }
        invalidation
    }

    /// Registered names, sorted, as the database has them; of one namespace if one is given.
    ///
    /// # Errors
    /// [`RegistryError::Database`] if PostgreSQL fails.
    pub async fn list_templates(
        &self,
        namespace: Option<&str>,
    ) -> Result<Vec<TemplateListing>, RegistryError> {
        listing::list(&self.db_pool, namespace).await
    }

    /// Deletes one template's entry from both tiers. Never needed for correctness: an entry whose
    /// hash is not current is not used.
    pub async fn invalidate_cache(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> CacheInvalidation {
        let Some(cache) = &self.cache else {
            return CacheInvalidation::default();
        };
        let resolver = &cache.resolver;
        let template = TemplateName {
            namespace,
            name,
            version,
        };
        if let Some(entry) = resolver.index().snapshot().get(template) {
            resolver.local().remove(entry);
        }
        let invalidation = resolver.distributed().delete(template).await;
        self.tell(RegistryEvent::Invalidated {
            namespace: Some(namespace.to_owned()),
            template: Some((name.to_owned(), version.to_owned())),
        });
        invalidation
    }

    /// Deletes all templates' entries from both tiers: first those of registered names, which is
    /// quick, then whatever else is found under the prefix by scanning.
    pub async fn invalidate_all_templates(&self) -> CacheInvalidation {
        self.invalidate(None).await
    }

    /// Deletes the entries of one namespace's templates from both tiers, in the same way.
    pub async fn invalidate_namespace_templates(&self, namespace: &str) -> CacheInvalidation {
        self.invalidate(Some(namespace)).await
    }

    async fn invalidate(&self, namespace: Option<&str>) -> CacheInvalidation {
        let Some(cache) = &self.cache else {
            return CacheInvalidation::default();
        };
        let invalidation = cache.resolver.invalidate(namespace).await;
        self.tell_invalidated(namespace);
        invalidation
    }

    /// What the caches of this process hold, and whether it agrees with the database.
    ///
    /// # Errors
    /// [`RegistryError::Database`] if `verify` is asked for and PostgreSQL fails.
    pub async fn cache_entries(&self, which: &Inspection) -> Result<CacheEntries, RegistryError> {
        match &self.cache {
            Some(cache) => inspection::inspect(&cache.resolver, which).await,
            None => Ok(CacheEntries {
                caching: false,
                directory_age_ms: None,
                directory_fresh: false,
                total: 0,
                distributed_error: None,
                entries: Vec::new(),
            }),
        }
    }

    /// How old this process' directory of templates is; `None` without a cache, when every resolve
    /// asks PostgreSQL.
    #[must_use]
    pub fn index_status(&self) -> Option<IndexStatus> {
        let cache = self.cache.as_ref()?;
        Some(IndexStatus::of(cache.resolver.index()))
    }

    /// Whether a distributed cache is in use now.
    #[must_use]
    pub fn cache_enabled(&self) -> bool {
        self.cache
            .as_ref()
            .is_some_and(|cache| cache.resolver.distributed().provider().is_enabled())
    }

    /// Stops background work and waits for it, and gives connections back to the pool. With a cache,
    /// resolves that need more than memory fail from then on. Idempotent.
    pub async fn shutdown(&self) {
        if let Some(cache) = &self.cache {
            cache.resolver.shutdown().await;
        }
        self.connections.shutdown().await;
    }

    fn announce(&self, batch: &BatchOutcome) {
        for outcome in &batch.outcomes {
            let RegistrationOutcome {
                namespace,
                name,
                version,
                status,
                ..
            } = outcome.clone();
            self.tell(match status {
                RegistrationStatus::Unchanged => RegistryEvent::Unchanged {
                    namespace,
                    name,
                    version,
                },
                RegistrationStatus::Created | RegistrationStatus::Updated => {
                    RegistryEvent::Registered {
                        namespace,
                        name,
                        version,
                    }
                }
            });
        }
    }

    fn tell_invalidated(&self, namespace: Option<&str>) {
        self.tell(RegistryEvent::Invalidated {
            namespace: namespace.map(str::to_owned),
            template: None,
        });
    }

    fn tell(&self, event: RegistryEvent) {
        if let Some(publisher) = &self.event_publisher {
            publisher.publish(event);
        }
    }
}

impl std::fmt::Debug for TaskHandlerRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The pool's options hold a password.
        f.debug_struct("TaskHandlerRegistry")
            .field("task_templates", &self.task_templates)
            .field("cache_enabled", &self.cache_enabled())
            .finish_non_exhaustive()
    }
}
