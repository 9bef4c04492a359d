//! Everything a service holds while it runs.

use std::sync::Arc;

use sqlx::PgPool;

use crate::cache::CacheProvider;
use crate::config::redact;
use crate::config::tasker::TaskerConfig;
use crate::database::{self, DatabaseError};
use crate::events::EventPublisher;
use crate::registry::TaskHandlerRegistry;

/// How long closing the pool may take.
const CLOSE_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Why a context could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// PostgreSQL cannot be connected to or migrated.
    #[error("PostgreSQL at {url} cannot be used")]
    Database {
        /// Where, without secrets.
        url: String,
        /// Why not.
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
    /// News of what the registry does.
    pub event_publisher: Arc<EventPublisher>,
    pool: PgPool,
}

impl SystemContext {
    /// Connects to PostgreSQL, brings its schema up to date, and makes a context.
    ///
    /// Redis has no say in whether this succeeds: see [`CacheProvider::from_config_graceful`].
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
        // Fails soon and clearly where PostgreSQL is not there.
        drop(pool.acquire().await.map_err(|error| failed(error.into()))?);
        database::migrator::migrate(&pool).await.map_err(failed)?;
        Ok(Self::from_pools_and_config(pool, config).await)
    }

    /// Makes a context on a pool whose database is migrated.
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
            pool,
        }
    }

    async fn create_cache_provider(config: &TaskerConfig) -> CacheProvider {
        match &config.common.cache {
            Some(cache) => CacheProvider::from_config_graceful(cache).await,
            None => CacheProvider::noop(),
        }
    }

    /// The pool.
    #[must_use]
    pub fn database_pool(&self) -> &PgPool {
        &self.pool
    }

    /// The distributed cache.
    #[must_use]
    pub fn cache_provider(&self) -> &Arc<CacheProvider> {
        &self.cache_provider
    }

    /// Stops all background work of this process and closes its connections. Idempotent.
    pub async fn shutdown(&self) {
        self.task_handler_registry.shutdown().await;
        self.cache_provider.shutdown().await;
        // A request that still holds a connection has been given its time; it loses it now.
        tokio::time::timeout(CLOSE_LIMIT, self.pool.close())
            .await
            .ok();
    }
}
