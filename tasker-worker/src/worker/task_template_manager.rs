//! Registers template files at boot, and resolves templates by name with the overrides of the
//! worker's environment applied.
//!
//! The manager caches resolved templates, but asks the registry for the current registration each
//! time, which is a look-up in memory if the registry is warm. Its answers are therefore never older
//! than those of the registry.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tasker_shared::config::tasker::TaskTemplatesConfig;
use tasker_shared::metrics::WORKER_TEMPLATE_REQUESTS;
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry, TaskTemplateDiscoveryResult};
use tasker_shared::types::{CacheStats, HandlerMetadata};

use super::environment::override_document;
use super::resolved_cache::{Lookup, ResolvedCache};
use super::template_directories::TemplateDirectories;
use super::template_discovery::{
    DiscoveryError, DiscoverySummary, RegisteredNames, log_changes, log_problems,
};

/// Registers and resolves templates for one worker process.
///
/// All methods may be called concurrently. A cancelled call leaves the cache unchanged, or with one
/// more current entry.
#[derive(Debug)]
pub struct TaskTemplateManager {
    registry: Arc<TaskHandlerRegistry>,
    environment: String,
    cache: ResolvedCache,
    namespaces: Mutex<BTreeSet<String>>,
}

impl TaskTemplateManager {
    /// Creates a manager for a worker in `environment` that caches at most `max_entries` resolved
    /// templates.
    #[must_use]
    pub fn new(
        registry: Arc<TaskHandlerRegistry>,
        environment: impl Into<String>,
        max_entries: u64,
    ) -> Self {
        Self {
            registry,
            environment: environment.into(),
            cache: ResolvedCache::new(max_entries),
            namespaces: Mutex::default(),
        }
    }

    /// Returns the registry.
    #[must_use]
    pub fn registry(&self) -> &Arc<TaskHandlerRegistry> {
        &self.registry
    }

    /// Registers every template file below `directories`, and logs the result.
    ///
    /// This resolves nothing, so it leaves the caches empty, and it deletes all templates from the
    /// distributed cache.
    ///
    /// # Errors
    /// Fails if a folder cannot be searched or the database cannot be used. An invalid file is logged
    /// and counted in the summary, and the other files are still registered, unless `strict_boot` is
    /// on.
    pub async fn ensure_templates_in_database(
        &self,
        directories: &TemplateDirectories,
        config: &TaskTemplatesConfig,
    ) -> Result<DiscoverySummary, DiscoveryError> {
        let started = Instant::now();
        // Check all folders first, so that a boot that fails registers nothing.
        directories.check().await?;
        let mut summary = DiscoverySummary::default();
        let mut names = RegisteredNames::default();
        for directory in directories.paths() {
            let registered = match directories.files_of(directory).await? {
                Some(files) => {
                    let result = self.registry.register_template_files(&files).await;
                    result.inspect(|result| self.add_namespaces(result))
                }
                None => self.discover_and_register_templates(directory).await,
            };
            let result = registered.map_err(|source| DiscoveryError::Registry {
                path: directory.clone(),
                source,
            })?;
            log_problems(&result);
            log_changes(&result.registered, config.on_changed_version());
            summary.add(&result);
            summary.warnings += names.add(directory, &result.registered);
        }
        summary.elapsed = started.elapsed();
        summary.log(directories.named_by());
        if config.strict_boot && summary.refused > 0 {
            return Err(DiscoveryError::Refused {
                files: summary.refused,
            });
        }
        Ok(summary)
    }

    /// Registers every template file below `config_directory`, and adds their namespaces to
    /// [`Self::supported_namespaces`].
    pub async fn discover_and_register_templates(
        &self,
        config_directory: &Path,
    ) -> Result<TaskTemplateDiscoveryResult, RegistryError> {
        let result = self
            .registry
            .discover_and_register_templates(config_directory)
            .await?;
        self.add_namespaces(&result);
        Ok(result)
    }

    fn add_namespaces(&self, result: &TaskTemplateDiscoveryResult) {
        let registered = result.registered.iter();
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(registered.map(|registration| registration.namespace.clone()));
    }

    /// Returns the current template of this name, from this worker's cache if possible.
    pub async fn get_task_template(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<Lookup, RegistryError> {
        let resolution = self.registry.resolve(namespace, name, version).await?;
        let found = self.cache.lookup(&resolution.metadata, Instant::now());
        let result = if found.is_some() { "hit" } else { "miss" };
        metrics::counter!(WORKER_TEMPLATE_REQUESTS.name, "result" => result).increment(1);
        let lookup = match found {
            Some(lookup) => lookup,
            None => self.resolve_and_cache(resolution.metadata)?,
        };
        Ok(Lookup {
            stale_by: resolution.stale_by,
            ..lookup
        })
    }

    /// Resolves the current template of this name without this worker's cache, and caches it.
    pub async fn fetch_and_cache_template(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<Lookup, RegistryError> {
        let metadata = self.registry.get_template(namespace, name, version).await?;
        self.resolve_and_cache(metadata)
    }

    /// Replaces this worker's entry. Does not touch the registry's caches.
    ///
    /// # Errors
    /// Fails as resolving does. The worker then has no entry of this name.
    pub async fn refresh(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<Lookup, RegistryError> {
        self.cache.remove(namespace, name, version);
        self.fetch_and_cache_template(namespace, name, version)
            .await
    }

    /// Removes all entries of this worker and returns their number. Does not touch the registry's
    /// caches.
    pub fn clear_cache(&self) -> u64 {
        self.cache.clear()
    }

    /// Removes this worker's outdated entries and returns their registrations. Such entries are never
    /// returned by look-ups, but they use memory.
    pub async fn maintain(&self) -> Result<Vec<Arc<HandlerMetadata>>, RegistryError> {
        let registered = self.registry.list_templates(None).await?;
        let current: HashMap<_, _> = registered
            .iter()
            .map(|template| {
                (
                    (&*template.namespace, &*template.name, &*template.version),
                    (template.hash, template.sequence, template.registered_at),
                )
            })
            .collect();
        Ok(self.cache.retain(|held| {
            current.get(&(&*held.namespace, &*held.name, &*held.version))
                == Some(&(held.hash, held.sequence, held.registered_at))
        }))
    }

    /// Returns statistics of this worker's cache.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.cache
            .stats(self.supported_namespaces(), Instant::now())
    }

    /// Returns the namespaces of the template files that this worker found, sorted.
    #[must_use]
    pub fn supported_namespaces(&self) -> Vec<String> {
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    fn resolve_and_cache(&self, metadata: Arc<HandlerMetadata>) -> Result<Lookup, RegistryError> {
        let overridden =
            override_document(&metadata.document, &self.environment).map_err(|source| {
                RegistryError::Unreadable {
                    namespace: metadata.namespace.clone(),
                    name: metadata.name.clone(),
                    version: metadata.version.clone(),
                    source: Arc::new(source),
                }
            })?;
        Ok(self.cache.insert(metadata, overridden, Instant::now()))
    }
}
