//! Everything a service holds while it runs. (Stub: signatures are settled.)

use std::sync::Arc;

use sqlx::PgPool;

use crate::cache::CacheProvider;
use crate::config::tasker::TaskerConfig;
use crate::events::EventPublisher;
use crate::registry::TaskHandlerRegistry;

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
        source: sqlx::Error,
    },
}

/// Pool, configuration, caches and registry of one process.
#[derive(Debug)]
pub struct SystemContext {
    /// The configuration in force.
    pub tasker_config: Arc<TaskerConfig>,
    /// The distributed cache.
    pub cache_provider: Arc<CacheProvider>,
    /// The template registry.
    pub task_handler_registry: Arc<TaskHandlerRegistry>,
    /// News of what the registry does.
    pub event_publisher: Arc<EventPublisher>,
    pool: PgPool,
}

impl SystemContext {
    /// Connects to PostgreSQL, migrates it, and makes a context.
    pub async fn connect(_config: TaskerConfig) -> Result<Self, ContextError> {
        unimplemented!()
    }

    /// Makes a context on an existing, migrated pool.
    pub async fn from_pools_and_config(
        _pool: PgPool,
        _config: TaskerConfig,
    ) -> Result<Self, ContextError> {
        unimplemented!()
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

    /// Stops all background work of this process. Idempotent.
    pub async fn shutdown(&self) {
        self.task_handler_registry.shutdown().await;
    }
}
