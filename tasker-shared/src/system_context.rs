//! The shared parts of a running service.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::cache::CacheProvider;
use crate::config::redact;
use crate::config::tasker::{DatabaseConfig, TaskerConfig};
use crate::database::{self, DatabaseCause, DatabaseError, Host};
use crate::events::EventPublisher;
use crate::registry::TaskHandlerRegistry;

/// The time for which a start tries a PostgreSQL that will probably be there soon.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The first pause between two attempts; it doubles up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// Longest wait for the pool to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

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
    /// Leads the pools to an address of the host that answers.
    following: Option<AbortOnDropHandle<()>>,
    _closing_unneeded: AbortOnDropHandle<()>,
}

/// Returns a pool whose database is migrated, and its host if that has a name.
async fn migrated(config: &DatabaseConfig) -> Result<(PgPool, Option<Host>), ContextError> {
    let failed = |source| ContextError::Database {
        url: redact::url(&config.url),
        source,
    };
    let pool = database::pool::create(config).map_err(failed)?;
    let host = Host::of(&pool);
    let connecting = Duration::from_secs(config.pool.acquire_timeout_seconds.into());
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut tried_others = false;
    loop {
        // Over a connection beside the pool, because the pool keeps the cause of a failure to itself.
        let error = match database::migrator::migrate_within(&pool, connecting).await {
            Ok(()) => return Ok((pool, host)),
            Err(error) => error,
        };
        let cause = error.kind();
        if cause == DatabaseCause::Late && !tried_others {
            tried_others = true;
            if let Some(host) = &host
                && host.prefer_live(std::slice::from_ref(&pool)).await
            {
                continue;
            }
        }
        let limit = match cause {
            // Nobody says that it will ever be there.
            DatabaseCause::Refused | DatabaseCause::Unreachable => connecting,
            _ => START_LIMIT,
        };
        if !cause.is_temporary() || started.elapsed() + pause > limit {
            return Err(failed(error));
        }
        if pause == FIRST_PAUSE {
            tracing::warn!(%error, cause = cause.code(), "PostgreSQL cannot be used yet; trying again");
        }
        sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
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
    /// `acquire_timeout_seconds`, or cannot be migrated. A PostgreSQL that has no connection left,
    /// that starts or stops, or that loses the connection is tried for half a minute.
    pub async fn connect(config: TaskerConfig) -> Result<Self, ContextError> {
        let (pool, host) = migrated(&config.common.database).await?;
        let mut context = Self::from_pools_and_config(pool, config).await;
        if let Some(host) = host {
            let pools = vec![context.pool.clone(), context.probes.clone()];
            let following = tokio::spawn(host.follow(pools));
            context.following = Some(AbortOnDropHandle::new(following));
        }
        Ok(context)
    }

    /// Connects to PostgreSQL and migrates its schema, and does nothing else.
    ///
    /// # Errors
    /// See [`connect`](Self::connect).
    pub async fn migrate(config: &DatabaseConfig) -> Result<(), ContextError> {
        let (pool, _host) = migrated(config).await?;
        pool.close().await;
        Ok(())
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
            _closing_unneeded: AbortOnDropHandle::new(tokio::spawn(database::close_unneeded(
                pool.clone(),
            ))),
            pool,
            following: None,
        }
    }

    async fn create_cache_provider(config: &TaskerConfig) -> CacheProvider {
        match (&config.common.cache, &config.common.cache_refused) {
            (Some(cache), _) => CacheProvider::from_config_graceful(cache).await,
            (None, Some(reason)) => CacheProvider::refused(reason.clone()),
            (None, None) => CacheProvider::noop(),
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
        if let Some(following) = &self.following {
            following.abort();
        }
        self.task_handler_registry.shutdown().await;
        self.cache_provider.shutdown().await;
        // A request that still holds a connection has had its time, so do not wait longer for it.
        let closing = async { tokio::join!(self.pool.close(), self.probes.close()) };
        tokio::time::timeout(CLOSE_LIMIT, closing).await.ok();
    }
}
