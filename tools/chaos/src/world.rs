//! The database, and registries on it as other processes would have them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::{CacheConfig, DatabaseConfig, RedisConfig};
use tasker_shared::database::{migrator, pool as database_pool};
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::TestDatabase;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};

use crate::error::FaultsError;
use crate::observer::Observer;
use crate::templates::{COUNT, NAMESPACE, VERSION, document, name};

/// How long anything may take that has to happen before a row can begin, or after it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all rows share.
pub(crate) struct World {
    /// Where what is measured runs, and nothing else.
    pub(crate) subject: Handle,
    pub(crate) observer: Observer,
    /// A registry without a cache, for whoever else registers.
    pub(crate) writer: TaskHandlerRegistry,
    pub(crate) writer_pool: PgPool,
    pub(crate) database: TestDatabase,
}

/// Whether bodies are held in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalTier {
    On,
    Off,
}

impl LocalTier {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// A registry as a process of its own has it.
pub(crate) struct Process {
    pub(crate) registry: Arc<TaskHandlerRegistry>,
    pub(crate) provider: Arc<CacheProvider>,
    /// What `from_config_graceful` took.
    pub(crate) connected_in: Duration,
    pub(crate) pool: PgPool,
}

impl World {
    pub(crate) async fn create(subject: Handle, observer: Observer) -> Result<Self, FaultsError> {
        let database = TestDatabase::create().await?;
        let pool = pool(database.url())?;
        migrator::migrate(&pool).await?;
        let writer = TaskHandlerRegistry::new(pool.clone());
        let documents: Vec<TemplateDocument> = (0..COUNT)
            .map(|number| document(&name(number), 0))
            .collect::<Result<_, _>>()?;
        writer.register_task_templates(&documents).await?;
        Ok(Self {
            subject,
            observer,
            writer,
            writer_pool: pool,
            database,
        })
    }

    /// A registry on `database_url` and the Redis of `config`, made and run by the subject's
    /// runtime.
    pub(crate) async fn process(
        &self,
        database_url: &str,
        config: &CacheConfig,
    ) -> Result<Process, FaultsError> {
        let (config, database_url) = (config.clone(), database_url.to_owned());
        let process = self.subject.spawn(async move {
            let pool = pool(&database_url)?;
            warm_up(&pool).await?;
            let started = Instant::now();
            let provider = CacheProvider::from_config_graceful(&config).await;
            Ok(Process::on(pool, provider, config, started.elapsed()))
        });
        in_time("start", process).await?
    }

    /// A registry that keeps nothing but the directory, and never has a Redis.
    pub(crate) async fn process_without_redis(&self) -> Result<Process, FaultsError> {
        let database_url = self.database.url().to_owned();
        let process = self.subject.spawn(async move {
            let pool = pool(&database_url)?;
            warm_up(&pool).await?;
            let provider = CacheProvider::noop();
            Ok(Process::on(
                pool,
                provider,
                without_local_tier(),
                Duration::ZERO,
            ))
        });
        in_time("start", process).await?
    }
}

impl Process {
    fn on(
        pool: PgPool,
        provider: CacheProvider,
        config: CacheConfig,
        connected_in: Duration,
    ) -> Self {
        let provider = Arc::new(provider);
        let registry = TaskHandlerRegistry::with_cache(pool.clone(), Arc::clone(&provider), config);
        registry.start();
        Self {
            registry: Arc::new(registry),
            provider,
            connected_in,
            pool,
        }
    }

    /// Waits until Redis is in use over all connections.
    pub(crate) async fn until_connected(&self) -> Result<(), FaultsError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.provider.status().await;
            if status.healthy && status.connections_up == status.connections_max {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(FaultsError::RedisNotUsed);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends all that runs in the background.
    pub(crate) async fn stop(self, on: &Handle) -> Result<(), FaultsError> {
        let stopping = on.spawn(async move {
            self.registry.shutdown().await;
            self.provider.shutdown().await;
            self.pool.close().await;
        });
        in_time("stop", stopping).await
    }
}

/// What `work` comes to, if it does in time.
async fn in_time<T>(action: &'static str, work: JoinHandle<T>) -> Result<T, FaultsError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(FaultsError::TooSlow { action }),
    }
}

/// Opens all connections that the pool may have, and has each know the statement that loads a
/// template. Both take round trips, whether there is a Redis or not; what the first requests of a
/// row wait for them says nothing about Redis.
async fn warm_up(pool: &PgPool) -> Result<(), FaultsError> {
    let connections = pool.options().get_max_connections();
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(pool.acquire().await?);
    }
    drop(held);
    let registry = Arc::new(TaskHandlerRegistry::with_cache(
        pool.clone(),
        Arc::new(CacheProvider::noop()),
        without_local_tier(),
    ));
    let mut loads = JoinSet::new();
    for number in 0..COUNT {
        let registry = Arc::clone(&registry);
        loads.spawn(async move {
            registry
                .get_template(NAMESPACE, &name(number), VERSION)
                .await
        });
    }
    for loaded in loads.join_all().await {
        loaded?;
    }
    registry.shutdown().await;
    Ok(())
}

/// A pool as the services have it.
pub(crate) fn pool(database_url: &str) -> Result<PgPool, FaultsError> {
    Ok(database_pool::create(&DatabaseConfig {
        url: database_url.to_owned(),
        ..DatabaseConfig::default()
    })?)
}

/// The configuration of services, with a Redis at `redis_url`.
pub(crate) fn config(
    redis_url: &str,
    local_tier: LocalTier,
    connection_timeout_seconds: u32,
) -> CacheConfig {
    let config = CacheConfig {
        enabled: true,
        redis: Some(RedisConfig {
            url: redis_url.to_owned(),
            connection_timeout_seconds,
            ..RedisConfig::default()
        }),
        ..CacheConfig::default()
    };
    match local_tier {
        LocalTier::On => config,
        LocalTier::Off => CacheConfig {
            redis: config.redis,
            ..without_local_tier()
        },
    }
}

/// A configuration that keeps nothing in the process but the directory.
pub(crate) fn without_local_tier() -> CacheConfig {
    CacheConfig {
        enabled: true,
        local_max_bytes: 0,
        ..CacheConfig::default()
    }
}
