//! Templates as this worker uses them: registered from files at boot, resolved by name with the
//! overrides of the worker's environment applied.
//!
//! The manager keeps resolved templates in a cache of its own, but asks the registry for the
//! current content each time, which costs a look-up in memory when the registry is warm. What it
//! hands out is therefore never older than what the registry answers.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tasker_shared::metrics::WORKER_TEMPLATE_REQUESTS;
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry, TaskTemplateDiscoveryResult};
use tasker_shared::types::{CacheStats, HandlerMetadata};

use super::environment::override_document;
use super::resolved_cache::{Lookup, ResolvedCache};
use super::template_directories::TemplateDirectories;
use super::template_discovery::{DiscoveryError, DiscoverySummary, RegisteredNames, log_problems};

/// Registers and resolves templates for one worker process.
///
/// All methods may be called concurrently. A caller that is cancelled leaves the cache as it was,
/// or with one more current entry.
#[derive(Debug)]
pub struct TaskTemplateManager {
    registry: Arc<TaskHandlerRegistry>,
    environment: String,
    cache: ResolvedCache,
    namespaces: Mutex<BTreeSet<String>>,
}

impl TaskTemplateManager {
    /// A manager for a worker in `environment` that holds at most `max_entries` resolved
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

    /// The registry that is asked what is current.
    #[must_use]
    pub fn registry(&self) -> &Arc<TaskHandlerRegistry> {
        &self.registry
    }

    /// The environment whose overrides are applied.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// Registers every template file below `directories`, and logs what came of it.
    ///
    /// Nothing is resolved here: a boot leaves the caches empty, and empties the distributed one.
    ///
    /// # Errors
    /// A directory that cannot be searched, and a database that cannot be used. A file that is
    /// no template is logged, counted in the summary, and stops nothing.
    pub async fn ensure_templates_in_database(
        &self,
        directories: &TemplateDirectories,
    ) -> Result<DiscoverySummary, DiscoveryError> {
        let started = Instant::now();
        // All are checked before the first is registered: a boot that fails changes nothing.
        directories.check().await?;
        let mut summary = DiscoverySummary::default();
        let mut names = RegisteredNames::default();
        for directory in directories.paths() {
            let result = self
                .discover_and_register_templates(directory)
                .await
                .map_err(|source| DiscoveryError::Registry {
                    path: directory.clone(),
                    source,
                })?;
            log_problems(&result);
            summary.add(&result);
            summary.warnings += names.add(directory, &result.registered);
        }
        summary.elapsed = started.elapsed();
        summary.log(directories.named_by());
        Ok(summary)
    }

    /// Registers every template file below `config_directory`. Their namespaces are those that
    /// this worker serves from then on.
    pub async fn discover_and_register_templates(
        &self,
        config_directory: &Path,
    ) -> Result<TaskTemplateDiscoveryResult, RegistryError> {
        let result = self
            .registry
            .discover_and_register_templates(config_directory)
            .await?;
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(
                result
                    .registered
                    .iter()
                    .map(|registration| registration.namespace.clone()),
            );
        Ok(result)
    }

    /// The current template of this name, from this worker's cache if that holds it.
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

    /// The current template of this name, resolved anew whatever the worker's cache holds, which
    /// then holds this.
    pub async fn fetch_and_cache_template(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<Lookup, RegistryError> {
        let metadata = self.registry.get_template(namespace, name, version).await?;
        self.resolve_and_cache(metadata)
    }

    /// Makes this worker's entry anew. The registry's caches are left alone.
    ///
    /// # Errors
    /// Those of resolving; the worker then holds no entry of this name.
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

    /// Drops all of this worker's entries and tells how many there were. The registry's caches
    /// are left alone.
    pub fn clear_cache(&self) -> u64 {
        self.cache.clear()
    }

    /// Drops this worker's entries that are not current any more, and answers with what those
    /// were made from. Such entries are never handed out; what they cost is room.
    pub async fn maintain(&self) -> Result<Vec<Arc<HandlerMetadata>>, RegistryError> {
        let registered = self.registry.list_templates(None).await?;
        let current: HashMap<_, _> = registered
            .iter()
            .map(|template| {
                (
                    (&*template.namespace, &*template.name, &*template.version),
                    (template.hash, template.sequence),
                )
            })
            .collect();
        Ok(self.cache.retain(|held| {
            current.get(&(&*held.namespace, &*held.name, &*held.version))
                == Some(&(held.hash, held.sequence))
        }))
    }

    /// What this worker's cache did and holds.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.cache
            .stats(self.supported_namespaces(), Instant::now())
    }

    /// The namespaces of the template files that this worker found, sorted.
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
