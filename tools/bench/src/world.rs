//! The database, the Redis, and registries on them as separate processes would have them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use sqlx::PgPool;
use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::{CacheConfig, DatabaseConfig, RedisConfig};
use tasker_shared::database::{migrator, pool};
use tasker_shared::models::core::task_template::{TemplateDocument, TemplateLimits};
use tasker_shared::registry::{TaskHandlerRegistry, Tier};
use tasker_test_support::{PostgresServer, TestDatabase, redis_connection};

use crate::counters::COUNTING;
use crate::error::{Result, expect};
use crate::fixtures::{self, Size, VERSION};
use crate::measure::rate;

/// The limit for work in the background.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A PostgreSQL of this run's own with a database, and a Redis with a key prefix of this run's own.
pub(crate) struct World {
    pub(crate) pool: PgPool,
    pub(crate) redis_url: String,
    pub(crate) prefix: String,
    _database: TestDatabase,
    postgres: PostgresServer,
}

/// A registry with a cache provider, as one process has them.
pub(crate) struct Process {
    pub(crate) registry: Arc<TaskHandlerRegistry>,
    pub(crate) provider: Arc<CacheProvider>,
}

/// Registered templates of one namespace.
pub(crate) struct Templates {
    pub(crate) namespace: String,
    pub(crate) names: Vec<String>,
    /// Tasker's keys in Redis.
    pub(crate) keys: Vec<String>,
}

impl World {
    pub(crate) async fn create() -> Result<Self> {
        let redis = tasker_test_support::redis().await?;
        Self::create_with(redis.url().to_owned(), &COUNTING).await
    }

    /// Starts a PostgreSQL with these settings, to be used with this Redis.
    pub(crate) async fn create_with(redis_url: String, settings: &[(&str, &str)]) -> Result<Self> {
        let postgres = PostgresServer::start_with(settings).await?;
        let database = TestDatabase::create_on(&postgres.url("postgres")).await?;
        Ok(Self {
            pool: migrated_pool(&database).await?,
            redis_url,
            prefix: format!("bench_{}", database.name()),
            _database: database,
            postgres,
        })
    }

    /// Creates another database.
    pub(crate) async fn database(&self) -> Result<TestDatabase> {
        TestDatabase::create_on(&self.postgres.url("postgres")).await
    }

    /// Returns the servers' names and versions.
    pub(crate) async fn servers(&self) -> Result<String> {
        let version = sqlx::query_scalar("SHOW server_version");
        let postgres: String = version.fetch_one(&self.pool).await?;
        let mut info = redis::cmd("INFO");
        let connection = &mut self.redis().await?;
        let info: redis::InfoDict = info.arg("server").query_async(connection).await?;
        let redis: String = info.get("redis_version").unwrap_or_default();
        Ok(format!("PostgreSQL {postgres}, Redis {redis}"))
    }

    /// Returns a registry on Redis, with empty caches and a loaded index.
    pub(crate) async fn process(&self) -> Result<Process> {
        let process = self.process_on(&self.pool, true).await?;
        process.load_index().await;
        Ok(process)
    }

    /// Returns a registry with empty caches whose index is not loaded.
    pub(crate) async fn process_on(&self, pool: &PgPool, with_redis: bool) -> Result<Process> {
        let config = self.cache_config();
        let provider = if with_redis {
            CacheProvider::from_config_graceful(&config).await
        } else {
            CacheProvider::noop()
        };
        expect("Redis in use", &with_redis, &provider.is_enabled())?;
        let provider = Arc::new(provider);
        let registry = TaskHandlerRegistry::with_cache(pool.clone(), Arc::clone(&provider), config);
        Ok(Process {
            registry: Arc::new(registry),
            provider,
        })
    }

    /// Returns the services' configuration, but with so much time for Redis that a pause of the
    /// machine does not turn a hit into a load from PostgreSQL.
    fn cache_config(&self) -> CacheConfig {
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

    pub(crate) async fn redis(&self) -> Result<MultiplexedConnection> {
        Ok(redis_connection(&self.redis_url).await?)
    }

    /// Registers `count` templates of this size.
    pub(crate) async fn register(
        &self,
        namespace: &str,
        count: usize,
        size: Size,
    ) -> Result<Arc<Templates>> {
        let names = fixtures::names(count);
        let mut documents = Vec::new();
        let mut keys = Vec::new();
        for name in &names {
            let yaml = fixtures::yaml(namespace, name, size);
            let document = TemplateDocument::from_yaml(yaml.as_bytes(), TemplateLimits::default());
            documents.push(document?);
            let prefix = &self.prefix;
            keys.push(format!(
                "{prefix}:task_template:{namespace}:{name}:{VERSION}"
            ));
        }
        let registry = TaskHandlerRegistry::new(self.pool.clone());
        registry.register_task_templates(&documents).await?;
        Ok(Arc::new(Templates {
            namespace: namespace.to_owned(),
            names,
            keys,
        }))
    }

    /// Fills Redis with these templates.
    pub(crate) async fn fill(&self, templates: &Arc<Templates>) -> Result {
        let process = self.process().await?;
        let all = 0..templates.names.len();
        resolve(&process.registry, templates, 1, all, Tier::Database).await?;
        process.stop().await;
        Ok(())
    }
}

impl Process {
    pub(crate) async fn load_index(&self) {
        // An unknown name is not found only once the index is loaded.
        let _not_found = self.registry.resolve("none", "none", VERSION).await;
    }

    pub(crate) async fn stop(&self) {
        self.registry.shutdown().await;
        self.provider.shutdown().await;
    }
}

/// Resolves templates by number, again from the first after the last, and returns the resolves per
/// second. Fails if another tier than `tier` answers.
pub(crate) async fn resolve(
    registry: &Arc<TaskHandlerRegistry>,
    templates: &Arc<Templates>,
    concurrency: usize,
    numbers: Range<usize>,
    tier: Tier,
) -> Result<f64> {
    let shared = Arc::new((Arc::clone(registry), Arc::clone(templates)));
    rate(
        concurrency,
        numbers,
        &shared,
        |shared, numbers| async move {
            let (
                registry,
                Templates {
                    namespace, names, ..
                },
            ) = (&shared.0, &*shared.1);
            for number in numbers {
                let name = &names[number % names.len()];
                let resolved = registry.resolve(namespace, name, VERSION).await?;
                expect("tier", &tier, &resolved.tier)?;
            }
            Ok(())
        },
    )
    .await
}

/// Returns a pool as the services have it, on a database with the current schema, and with the view of
/// statements.
pub(crate) async fn migrated_pool(database: &TestDatabase) -> Result<PgPool> {
    let pool = new_pool(database.url())?;
    migrator::migrate(&pool).await?;
    sqlx::query("CREATE EXTENSION pg_stat_statements")
        .execute(&pool)
        .await?;
    Ok(pool)
}

/// Returns the pool of a new process, without connections.
pub(crate) fn new_pool(url: &str) -> Result<PgPool> {
    let config = DatabaseConfig {
        url: url.to_owned(),
        ..DatabaseConfig::default()
    };
    Ok(pool::create(&config)?)
}
