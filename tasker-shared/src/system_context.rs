//! The shared parts of a running service.

use std::sync::Arc;

use sqlx::PgPool;

use crate::cache::CacheProvider;
use crate::config::redact;
use crate::config::tasker::TaskerConfig;
use crate::database::{self, DatabaseError};
use crate::events::EventPublisher;
use crate::registry::TaskHandlerRegistry;

/// Longest wait for the pool to close.
const CLOSE_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// A context could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// PostgreSQL cannot be connected to or migrated.
    #[error("PostgreSQL at {url} cannot be used")]
    Database {
        /// The URL without secrets.
        url: String,
        /// The cause.
        #[source]
        source: DatabaseError,
    },
}

/// Pool, configuration, caches and registry of one process.
#[derive(Debug)]
pub struct SystemContext {
    /// The configuration in force.
    pub tasker_config: Arc<TaskerConfig>,
    /// The distributed cache; [`CacheProvider::NoOp`] while there is none.
    pub cache_provider: Arc<CacheProvider>,
    /// The template registry.
    pub task_handler_registry: Arc<TaskHandlerRegistry>,
    /// Publishes the registry's events.
    pub event_publisher: Arc<EventPublisher>,
    pool: PgPool,
    probes: PgPool,
}

impl TaskHandlerRegistry {
    /// Returns a registry of its own on the pool, the cache and the configuration of `context`.
    /// Services share [`SystemContext::task_handler_registry`].
    #[must_use]
    pub fn with_system_context(context: &SystemContext) -> Self {
        Self::from_parts(
            context.database_pool().clone(),
            Arc::clone(context.cache_provider()),
            Arc::clone(&context.event_publisher),
            &context.tasker_config.common,
        )
    }
}

impl SystemContext {
    /// Connects to PostgreSQL, migrates its schema, and creates a context.
    ///
    /// It does not depend on Redis: see [`CacheProvider::from_config_graceful`].
    ///
    /// The crate's page has an example.
    ///
    /// # Errors
    /// [`ContextError::Database`] if PostgreSQL cannot be connected to within
    /// `acquire_timeout_seconds`, or cannot be migrated.
    pub async fn connect(config: TaskerConfig) -> Result<Self, ContextError> {
        let url = redact::url(&config.common.database.url);
        let failed = |source| ContextError::Database {
            url: url.clone(),
            source,
        };
        let pool = database::pool::create(&config.common.database).map_err(failed)?;
        // Fail early and clearly if PostgreSQL is not reachable.
        drop(pool.acquire().await.map_err(|error| failed(error.into()))?);
        database::migrator::migrate(&pool).await.map_err(failed)?;
        Ok(Self::from_pools_and_config(pool, config).await)
    }

    /// Creates a context on a pool whose database is migrated.
    pub async fn from_pools_and_config(pool: PgPool, config: TaskerConfig) -> Self {
        let cache_provider = Arc::new(Self::create_cache_provider(&config).await);
        let event_publisher = Arc::new(EventPublisher::new());
        let registry = TaskHandlerRegistry::from_parts(
            pool.clone(),
            Arc::clone(&cache_provider),
            Arc::clone(&event_publisher),
            &config.common,
        );
        registry.start();
        Self {
            tasker_config: Arc::new(config),
            cache_provider,
            task_handler_registry: Arc::new(registry),
            event_publisher,
            probes: database::pool::apart(&pool, 2),
            pool,
        }
    }

    async fn create_cache_provider(config: &TaskerConfig) -> CacheProvider {
        match &config.common.cache {
            Some(cache) => CacheProvider::from_config_graceful(cache).await,
            None => CacheProvider::noop(),
        }
    }

    /// Returns the pool.
    #[must_use]
    pub fn database_pool(&self) -> &PgPool {
        &self.pool
    }

    /// Returns the pool of probes, which must not wait until requests leave a connection to them.
    #[must_use]
    pub fn probe_pool(&self) -> &PgPool {
        &self.probes
    }

    /// Returns the distributed cache.
    #[must_use]
    pub fn cache_provider(&self) -> &Arc<CacheProvider> {
        &self.cache_provider
    }

    /// Stops all background work of this process and closes its connections. Idempotent.
    pub async fn shutdown(&self) {
        self.task_handler_registry.shutdown().await;
        self.cache_provider.shutdown().await;
        // A request that still holds a connection has had its time, so do not wait longer for it.
        let closing = async { tokio::join!(self.pool.close(), self.probes.close()) };
        tokio::time::timeout(CLOSE_LIMIT, closing).await.ok();
    }
}
