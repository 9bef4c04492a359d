//! The registry's public face.

use std::path::Path;
use std::sync::Arc;

use sqlx::PgPool;

use super::distributed_tier::DistributedTier;
use super::index::{Moment, Snapshot, TemplateIndex, TemplateName};
use super::index_status::IndexStatus;
use super::inspection::{self, CacheEntries, Inspection};
use super::listing::{self, RegisteredTemplate};
use super::registration::{self, Registered, Registration, RegistrationStatus};
use super::resolution::{Resolution, Tier};
use super::resolve_metrics::ResolveMetrics;
use super::resolver::Resolver;
use super::submission::Submission;
use super::{
    RegistryError, TaskTemplateDiscoveryResult, body, discovery, known_files, large_batch,
};
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

impl Cache {
    /// Has this process see what was registered, and deletes what it replaced. Both are bounded.
    /// Neither may fail the registration: it is committed.
    async fn publish(&self, registered: &Registered) {
        let deleted = self.resolver.distributed();
        tokio::join!(
            self.resolver.read_back(registered),
            deleted.delete_names(registered.written()),
        );
    }
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
    /// [`RegistryError::Database`] if PostgreSQL fails; then the template may be registered or
    /// not, and registering it again is safe.
    pub async fn register_task_template(
        &self,
        template: &TemplateDocument,
    ) -> Result<Registration, RegistryError> {
        let mut registered = self.register_all(vec![template.into()]).await?;
        Ok(registered.remove(0))
    }

    /// Registers all templates or none, in one transaction. Names must not repeat.
    ///
    /// # Errors
    /// See [`TaskHandlerRegistry::register_task_template`].
    pub async fn register_task_templates(
        &self,
        templates: &[TemplateDocument],
    ) -> Result<Vec<Registration>, RegistryError> {
        self.register_all(templates.iter().map(Submission::from).collect())
            .await
    }

    async fn register_all(
        &self,
        templates: Vec<Submission>,
    ) -> Result<Vec<Registration>, RegistryError> {
        let index = self.cache.as_ref().map(|cache| cache.resolver.index());
        let _own_write = index.map(TemplateIndex::begin_own_write);
        let registered = registration::register(&self.db_pool, templates, None).await?;
        if let Some(cache) = &self.cache {
            cache.publish(&registered).await;
        }
        self.tell_registered(&registered);
        Ok(registered.registrations)
    }

    /// Registers every template file below `directory`, and deletes what is cached of those that it
    /// writes. Meanwhile it deletes all cached templates, unless `invalidate_on_boot` is off.
    ///
    /// A file that cannot be used is told in the result and does not stop the others. Templates
    /// whose files are gone stay registered. A file whose bytes a template was registered from, or
    /// found to be registered, is not parsed while that template is registered as it was then, unless
    /// there is something to warn of. With a cache, what else is registered already is told by the
    /// directory, as it was at some moment after the call, by hash and strategy: a `description`
    /// column that was changed by hand stays until the document changes.
    ///
    /// Each template is registered whole or not at all, and a few are together. With a cache, 512 KiB
    /// of documents or more are registered in two transactions at once, if the pool has six
    /// connections. If one fails, what the other registered is published all the same.
    ///
    /// # Errors
    /// [`RegistryError::Folder`] if the folder cannot be read; [`RegistryError::Database`] if
    /// PostgreSQL fails: then some templates may be registered, and discovering them again is safe.
    pub async fn discover_and_register_templates(
        &self,
        directory: impl AsRef<Path>,
    ) -> Result<TaskTemplateDiscoveryResult, RegistryError> {
        // The directory is read while the files are, and knows by then what of them is registered.
        let begun = Moment::now();
        self.start();
        let max_file_bytes = self.task_templates.max_file_bytes;
        let mut sources = discovery::read(directory.as_ref(), max_file_bytes).await?;
        let known = match &self.cache {
            Some(cache) => cache.resolver.index().snapshot_since(begun).await,
            None => None,
        };
        // Boxed, as the other parts are, so that who discovers is a small future.
        let register = Box::pin(async {
            // Where nothing is registered, nothing is from a file.
            if known.as_ref().is_none_or(|known| known.len() > 0) {
                Box::pin(sources.recognise(&self.connections)).await;
            }
            let mut files = discovery::parse(sources, max_file_bytes).await;
            let templates = std::mem::take(&mut files.templates);
            let registering = Box::pin(self.register_each(templates, known.as_deref()));
            let (registered, result) = registering.await;
            (files, registered, result)
        });
        let cache = self.cache.as_ref();
        let invalidates = cache.filter(|cache| cache.invalidate_on_boot);
        let ((files, registered, result), invalidation) = match invalidates {
            // Side by side: what is written is deleted once more, when it is.
            Some(cache) => tokio::join!(register, Box::pin(cache.resolver.invalidate(None))),
            None => (register.await, CacheInvalidation::default()),
        };
        self.tell_registered(&registered);
        if invalidates.is_some() {
            self.tell_invalidated(None);
        }
        result?;
        let unmarked = registered.unchanged_from_files().collect();
        Box::pin(known_files::mark(&self.db_pool, unmarked)).await;
        Ok(TaskTemplateDiscoveryResult::new(
            files,
            registered.registrations,
            invalidation,
        ))
    }

    /// Registers and publishes what it can of `templates`; answers that, and what kept the rest from
    /// it.
    async fn register_each(
        &self,
        templates: Vec<Submission>,
        known: Option<&Snapshot>,
    ) -> (Registered, Result<(), RegistryError>) {
        let cache = self.cache.as_ref();
        let _own_write = cache.map(|cache| cache.resolver.index().begin_own_write());
        let (registered, result) = large_batch::register(&self.db_pool, templates, known).await;
        // With nothing registered there may be no database to read it back from.
        let is_any = result.is_ok() || !registered.registrations.is_empty();
        if let Some(cache) = cache.filter(|_| is_any) {
            cache.publish(&registered).await;
        }
        (registered, result)
    }

    /// Registered names, sorted, as the database has them; of one namespace if one is given.
    ///
    /// # Errors
    /// [`RegistryError::Database`] if PostgreSQL fails.
    pub async fn list_templates(
        &self,
        namespace: Option<&str>,
    ) -> Result<Vec<RegisteredTemplate>, RegistryError> {
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

    fn tell_registered(&self, registered: &Registered) {
        for registration in &registered.registrations {
            let Registration {
                namespace,
                name,
                version,
                status,
                ..
            } = registration.clone();
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
