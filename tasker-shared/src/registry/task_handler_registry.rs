//! The registry's public face.

mod invalidation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::PgPool;

use super::catalog::{Page, TemplateCatalog, TemplateListing};
use super::database_tier;
use super::discovery::{self, FoundTemplates, TaskTemplateDiscoveryResult};
use super::errors::RegistryError;
use super::index::{Moment, TemplateName};
use super::index_status::IndexStatus;
use super::inspection::{CacheEntries, Inspection};
use super::redis_tier::RedisTier;
use super::registration::{
    self, BatchOutcome, CheckedTemplate, RegistrationOutcome, RegistrationStatus,
};
use super::resolution::{Resolution, ResolveMetrics, Tier};
use super::resolver::Resolver;
use crate::cache::CacheProvider;
use crate::config::tasker::{CacheConfig, CommonConfig, TaskTemplatesConfig};
use crate::database::PoolShare;
use crate::events::{EventPublisher, RegistryEvent};
use crate::models::core::task_request::TaskRequest;
use crate::models::core::task_template::TemplateDocument;
use crate::types::{CacheInvalidation, HandlerMetadata};

/// The tenths of the pool that reads of documents use at most. Creating tasks has a limit, too, and
/// both leave connections to everything else.
const READS: u32 = 3;

/// Registers and resolves task templates.
///
/// Without a cache every resolve is one SQL statement. With one, a resolve looks its name up in an
/// index that is never older than `max_staleness_ms`, and takes the document from this process, from
/// Redis or from PostgreSQL, in that order.
///
/// All methods may be called concurrently, and cancelling one affects no other. Clones share caches
/// and background work.
#[derive(Clone)]
pub struct TaskHandlerRegistry {
    db_pool: PgPool,
    /// Reads of documents.
    reads: PoolShare,
    event_publisher: Option<Arc<EventPublisher>>,
    task_templates: TaskTemplatesConfig,
    cache: Option<Arc<Cache>>,
    /// Counts resolves without a cache.
    uncached: Arc<ResolveMetrics>,
}

struct Cache {
    resolver: Resolver,
    invalidate_on_boot: bool,
}

impl TaskHandlerRegistry {
    /// Returns a registry that reads PostgreSQL for every resolve.
    #[must_use]
    pub fn new(db_pool: PgPool) -> Self {
        Self {
            reads: PoolShare::tenths(db_pool.clone(), READS),
            db_pool,
            event_publisher: None,
            task_templates: TaskTemplatesConfig::default(),
            cache: None,
            uncached: Arc::default(),
        }
    }

    /// Returns a registry that caches in the process and in `cache_provider`.
    ///
    /// It caches if the provider has a backend, or if the configuration is enabled. Background work
    /// starts with the first use, in the Tokio runtime of that use.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the specification gives the signature"
    )]
    pub fn with_cache(
        db_pool: PgPool,
        cache_provider: Arc<CacheProvider>,
        cache_config: CacheConfig,
    ) -> Self {
        let mut registry = Self::new(db_pool);
        if cache_config.enabled || cache_provider.is_enabled() {
            let redis = RedisTier::new(cache_provider, &cache_config);
            registry.cache = Some(Arc::new(Cache {
                resolver: Resolver::new(
                    registry.db_pool.clone(),
                    registry.reads.clone(),
                    redis,
                    &cache_config,
                ),
                invalidate_on_boot: cache_config.invalidate_on_boot,
            }));
        }
        registry
    }

    pub(crate) fn from_parts(
        db_pool: PgPool,
        cache_provider: Arc<CacheProvider>,
        event_publisher: Arc<EventPublisher>,
        config: &CommonConfig,
    ) -> Self {
        let registry = match &config.cache {
            Some(cache_config) => Self::with_cache(db_pool, cache_provider, cache_config.clone()),
            None => Self::new(db_pool),
        };
        registry
            .with_task_templates(config.task_templates.clone())
            .with_event_publisher(event_publisher)
    }

    /// Registers files as `task_templates` says. Its search paths are not used.
    #[must_use]
    pub fn with_task_templates(mut self, task_templates: TaskTemplatesConfig) -> Self {
        self.task_templates = task_templates;
        self
    }

    /// Publishes the registry's events to `event_publisher`.
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

    /// Returns the template that `request` names.
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

    /// Returns the template of this name.
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

    /// Returns the template of this name, and the tier that had it.
    ///
    /// The answer was current during the call or within `max_staleness_ms` before it, unless
    /// [`Resolution::stale_by`] says otherwise. Concurrent resolves share one load, which is
    /// cancelled with the last of them.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if the database, asked after the call, does not know the name;
    /// [`RegistryError::Stale`] if the bound cannot be kept because the database does not answer;
    /// [`RegistryError::Changing`] if the template changes faster than it can be loaded;
    /// [`RegistryError::Database`] if it fails; [`RegistryError::Unreadable`] if the
    /// registered document is not a template.
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
            // Boxed, because it is fifty times as large as a warm resolve, and would be a part of
            // every task that resolves.
            None => Box::pin(self.resolve_uncached(name)).await,
        }
    }

    async fn resolve_uncached(&self, name: TemplateName<'_>) -> Result<Resolution, RegistryError> {
        let resolved = database_tier::resolve(&self.reads, name)
            .await
            .inspect_err(|error| ResolveMetrics::count_failure(Some(Tier::Database), error))?;
        self.uncached.count(Tier::Database);
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
        self.register_all(templates.iter().map(CheckedTemplate::from).collect())
            .await
    }

    async fn register_all(
        &self,
        templates: Vec<CheckedTemplate>,
    ) -> Result<Vec<RegistrationOutcome>, RegistryError> {
        let batch = registration::register(&self.db_pool, templates, None, None).await?;
        self.publish(&batch, false).await;
        Ok(batch.outcomes)
    }

    /// Registers every template file below `folder` in one transaction, and then deletes the cached
    /// templates of all registered names, or those that changed if `invalidate_on_boot` is off. What
    /// else is cached is swept in the background; see [`swept`](Self::swept).
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
        discovery::require_folder(folder.as_ref()).await?;
        self.register_template_files(&[folder.as_ref().to_owned()])
            .await
    }

    /// Registers these files, and every template file below these folders, like
    /// [`Self::discover_and_register_templates`] in one transaction.
    ///
    /// # Errors
    /// See [`Self::discover_and_register_templates`].
    pub async fn register_template_files(
        &self,
        paths: &[PathBuf],
    ) -> Result<TaskTemplateDiscoveryResult, RegistryError> {
        // The index is loaded while the files are parsed.
        let begun = Moment::now();
        self.start();
        let max_file_bytes = self.task_templates.max_file_bytes;
        let found = discovery::find(paths, max_file_bytes).await?;
        Box::pin(self.register_found(begun, found)).await
    }

    async fn register_found(
        &self,
        begun: Moment,
        mut found: FoundTemplates,
    ) -> Result<TaskTemplateDiscoveryResult, RegistryError> {
        if self.task_templates.strict_boot && !found.errors.is_empty() {
            found.templates.clear();
        }
        let index = match &self.cache {
            Some(cache) => cache.resolver.index().snapshot_since(begun).await,
            None => None,
        };
        // Boxed, so that the caller's future is small.
        let on_changed = self.task_templates.on_changed_version();
        let registering = registration::register(
            &self.db_pool,
            found.templates,
            index.as_deref(),
            Some(on_changed),
        );
        let batch = Box::pin(registering).await?;
        let invalidates = self
            .cache
            .as_ref()
            .is_some_and(|cache| cache.invalidate_on_boot);
        let invalidation = Box::pin(self.publish(&batch, invalidates)).await;
        let retired = batch.outcomes.iter().filter(|one| one.is_retired);
        let mut warnings = found.warnings;
        warnings.extend(retired.map(discovery::retired));
        let (refused, registered): (Vec<_>, Vec<_>) = batch
            .outcomes
            .into_iter()
            .partition(|one| one.status == RegistrationStatus::Refused);
        let mut errors = found.errors;
        errors.extend(refused.iter().map(discovery::refused));
        Ok(TaskTemplateDiscoveryResult {
            total_files: found.total_files,
            registered,
            errors,
            warnings,
            invalidation,
        })
    }

    /// Waits until this process sees the registered templates, and deletes cached ones: all of them, or
    /// those that `batch` invalidates. Both are bounded. Neither may fail the registration, because it is
    /// committed.
    async fn publish(&self, batch: &BatchOutcome, invalidates_all: bool) -> CacheInvalidation {
        let mut invalidation = CacheInvalidation::default();
        if let Some(cache) = &self.cache {
            let delete = async {
                if invalidates_all {
                    return cache.resolver.invalidate_for_boot(batch).await;
                }
                cache
                    .resolver
                    .redis()
                    .delete_names(batch.invalidated())
                    .await;
                CacheInvalidation::default()
            };
            ((), invalidation) = tokio::join!(cache.resolver.read_back(batch), delete);
        }
        for outcome in &batch.outcomes {
            self.tell(outcome.event());
        }
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
        let all = Page {
            namespace: namespace.map(str::to_owned),
            after: None,
            limit: i64::MAX,
        };
        self.catalog().page(all).await
    }

    /// Returns the triggers of the templates' tables that do not fire as they have to, because somebody
    /// disabled them. Changes may then be missed.
    ///
    /// # Errors
    /// [`RegistryError::Database`] if PostgreSQL fails.
    pub async fn wrong_triggers(&self) -> Result<Vec<String>, RegistryError> {
        self.catalog().wrong_triggers().await
    }

    fn catalog(&self) -> TemplateCatalog {
        TemplateCatalog::new(self.db_pool.clone())
    }

    /// Lists the cached templates of this process. With `verify`, compares them with Redis and the
    /// database.
    ///
    /// # Errors
    /// [`RegistryError::Database`] if `verify` is set and PostgreSQL fails.
    pub async fn cache_entries(&self, which: &Inspection) -> Result<CacheEntries, RegistryError> {
        match &self.cache {
            Some(cache) => cache.resolver.inspect(which).await,
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

    /// Returns the age of this process' template index; `None` without a cache, because every resolve
    /// then asks PostgreSQL. Waits for a poll, a second at most, if the index is older than its bound,
    /// because a process that resolves nothing does not poll.
    pub async fn index_status(&self) -> Option<IndexStatus> {
        let index = self.cache.as_ref()?.resolver.index();
        index.refresh().await;
        Some(IndexStatus::of(index))
    }

    /// Returns the result of the sweep that the last discovery of this process began, once it has
    /// ended.
    #[must_use]
    pub fn swept(&self) -> Option<CacheInvalidation> {
        self.cache.as_ref()?.resolver.swept()
    }

    /// Returns whether a distributed cache is in use now.
    #[must_use]
    pub fn cache_enabled(&self) -> bool {
        self.cache
            .as_ref()
            .is_some_and(|cache| cache.resolver.redis().is_enabled())
    }

    /// Stops background work and waits for it. With a cache, resolves that need more than memory fail
    /// from then on. Idempotent.
    pub async fn shutdown(&self) {
        if let Some(cache) = &self.cache {
            cache.resolver.shutdown().await;
        }
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
