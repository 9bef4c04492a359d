//! The database, the Redis, and registries on them as other processes would have them.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use sqlx::PgPool;
use tasker_shared::cache::{CacheProvider, keys};
use tasker_shared::config::tasker::{CacheConfig, DatabaseConfig, RedisConfig};
use tasker_shared::database::{migrator, pool};
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::{TestDatabase, redis_connection};

use crate::error::BenchError;
use crate::fixtures::{self, VERSION};

/// How many fills are handed over before they are waited for; the queue holds more.
const FILL_BATCH: usize = 500;
/// Where no Redis is.
const NOBODY: &str = "redis://127.0.0.1:1";
/// How long anything that happens in the background may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What is measured on.
pub(crate) struct World {
    pub(crate) pool: PgPool,
    pub(crate) redis_url: String,
    prefix: String,
    database: TestDatabase,
}

/// A registry as a process of its own has it.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) registry: Arc<TaskHandlerRegistry>,
    pub(crate) provider: Arc<CacheProvider>,
}

impl World {
    pub(crate) async fn create() -> Result<Self, BenchError> {
        let database = TestDatabase::create().await?;
        let pool = migrated_pool(&database).await?;
        Ok(Self {
            pool,
            redis_url: tasker_test_support::redis().await?.url().to_owned(),
            prefix: format!("bench_{}", database.name()),
            database,
        })
    }

    pub(crate) fn database_url(&self) -> &str {
        self.database.url()
    }

    pub(crate) async fn postgres_version(&self) -> Result<String, BenchError> {
        Ok(sqlx::query_scalar("SHOW server_version")
            .fetch_one(&self.pool)
            .await?)
    }

    pub(crate) async fn redis_version(&self) -> Result<String, BenchError> {
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut self.redis().await?)
            .await?;
        let version = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"));
        Ok(version.unwrap_or("unknown").trim().to_owned())
    }

    /// The configuration of services, with a budget for Redis that a busy machine does not use
    /// up: what takes longer would be measured as another tier.
    pub(crate) fn cache_config(&self) -> CacheConfig {
        CacheConfig {
            enabled: true,
            key_prefix: self.prefix.clone(),
            operation_timeout_ms: 2_000,
            redis: Some(RedisConfig {
                url: self.redis_url.clone(),
                ..RedisConfig::default()
            }),
            ..CacheConfig::default()
        }
    }

    /// A registry with empty caches of its own, whose directory is read.
    pub(crate) async fn process(&self) -> Result<Process, BenchError> {
        let process = self.process_on(self.pool.clone()).await?;
        process.wait_for_index().await;
        Ok(process)
    }

    /// The same with the budget for Redis that services have by default.
    pub(crate) async fn process_on_budget(&self) -> Result<Process, BenchError> {
        let config = CacheConfig {
            operation_timeout_ms: CacheConfig::default().operation_timeout_ms,
            ..self.cache_config()
        };
        let process = Self::process_with(self.pool.clone(), config).await?;
        process.wait_for_index().await;
        Ok(process)
    }

    pub(crate) async fn process_on(&self, pool: PgPool) -> Result<Process, BenchError> {
        Self::process_with(pool, self.cache_config()).await
    }

    async fn process_with(pool: PgPool, config: CacheConfig) -> Result<Process, BenchError> {
        let provider = Arc::new(CacheProvider::from_config_graceful(&config).await);
        if !provider.is_enabled() {
            return Err(BenchError::RedisNotUsed);
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let status = provider.status().await;
            if status.connections_up == status.connections_max {
                break;
            }
            if tokio::time::Instant::now() > deadline {
                return Err(BenchError::RedisNotUsed);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let registry = TaskHandlerRegistry::with_cache(pool, Arc::clone(&provider), config);
        Ok(Process {
            registry: Arc::new(registry),
            provider,
        })
    }

    /// A registry that caches in the process only, whose directory is read.
    pub(crate) async fn local_process(&self) -> Process {
        self.process_of(CacheProvider::noop()).await
    }

    /// A registry that is to use a Redis which is not there, whose directory is read.
    pub(crate) async fn process_without_redis(&self) -> Result<Process, BenchError> {
        let config = CacheConfig {
            redis: Some(RedisConfig {
                url: NOBODY.to_owned(),
                ..RedisConfig::default()
            }),
            ..self.cache_config()
        };
        let provider = CacheProvider::from_config_graceful(&config).await;
        if provider.is_enabled() {
            return Err(BenchError::Unexpected {
                what: "the Redis that is to be absent",
                expected: String::from("nobody"),
                found: String::from("a Redis"),
            });
        }
        Ok(self.process_of(provider).await)
    }

    async fn process_of(&self, provider: CacheProvider) -> Process {
        let provider = Arc::new(provider);
        let registry = TaskHandlerRegistry::with_cache(
            self.pool.clone(),
            Arc::clone(&provider),
            self.cache_config(),
        );
        let process = Process {
            registry: Arc::new(registry),
            provider,
        };
        process.wait_for_index().await;
        process
    }

    pub(crate) fn uncached(&self) -> TaskHandlerRegistry {
        TaskHandlerRegistry::new(self.pool.clone())
    }

    /// One multiplexed connection.
    pub(crate) async fn redis(&self) -> Result<MultiplexedConnection, BenchError> {
        Ok(redis_connection(&self.redis_url).await?)
    }

    /// The key under which Tasker keeps a template.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        keys::key(&self.prefix, "task_template", &[namespace, name, VERSION])
    }

    /// Registers templates of this size, and answers their names.
    pub(crate) async fn register(
        &self,
        namespace: &str,
        count: usize,
        size: fixtures::Size,
    ) -> Result<Arc<Vec<String>>, BenchError> {
        let names = fixtures::names("template", count);
        let documents: Vec<TemplateDocument> = fixtures::documents(namespace, &names, size)?;
        self.uncached().register_task_templates(&documents).await?;
        Ok(Arc::new(names))
    }

    /// Has Redis hold these templates.
    pub(crate) async fn fill(&self, namespace: &str, names: &[String]) -> Result<(), BenchError> {
        let process = self.process().await?;
        for batch in names.chunks(FILL_BATCH) {
            for name in batch {
                process.registry.resolve(namespace, name, VERSION).await?;
            }
            process.provider.flush_fills(PATIENCE).await;
        }
        process.stop().await;
        Ok(())
    }
}

impl Process {
    async fn wait_for_index(&self) {
        // An unknown name is answered from a directory that is read.
        let _not_found = self.registry.resolve("none", "none", VERSION).await;
    }

    pub(crate) async fn stop(&self) {
        self.provider.flush_fills(PATIENCE).await;
        self.registry.shutdown().await;
        self.provider.shutdown().await;
    }
}

/// A pool as the services have it, on a database that is brought up to date.
pub(crate) async fn migrated_pool(database: &TestDatabase) -> Result<PgPool, BenchError> {
    let pool = new_pool(database)?;
    migrator::migrate(&pool).await?;
    Ok(pool)
}

/// A pool of a new process, without connections.
pub(crate) fn new_pool(database: &TestDatabase) -> Result<PgPool, BenchError> {
    let config = DatabaseConfig {
        url: database.url().to_owned(),
        ..DatabaseConfig::default()
    };
    Ok(pool::create(&config)?)
}
