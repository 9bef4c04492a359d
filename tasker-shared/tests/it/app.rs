//! The start of the registry's tests: a migrated database of their own, and registries
//! on it as different processes would have them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::{CacheConfig, DatabaseConfig, PoolConfig, RedisConfig};
use tasker_shared::database::{self, migrator};
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::{Access, TestDatabase};
use tempfile::TempDir;

/// An address without a Redis.
const NOBODY: &str = "redis://127.0.0.1:1";
/// The size of a process's pool.
const CONNECTIONS: u32 = 6;

/// The cache of a process, as its configuration, its features and its network leave it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// `enabled = false`.
    Disabled,
    /// Enabled, with a Redis that is not there or, without the feature, that nobody can talk to.
    Absent,
    /// Enabled, with a Redis that is there.
    #[cfg(feature = "cache-redis")]
    Redis,
}

/// A database, and a key prefix that no other test uses.
pub(crate) struct TestApp {
    cache: Cache,
    pub(crate) database: TestDatabase,
    pub(crate) pool: PgPool,
    pub(crate) prefix: String,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create().await.expect("PostgreSQL is needed");
        Self::on(database).await
    }

    /// The same, whose registries have this cache.
    pub(crate) async fn with(cache: Cache) -> Self {
        Self {
            cache,
            ..Self::start().await
        }
    }

    pub(crate) async fn on(database: TestDatabase) -> Self {
        let pool = direct_pool(CONNECTIONS, database.url());
        migrator::migrate(&pool).await.expect("the schema migrates");
        let prefix = format!("it_{}", database.name());
        Self {
            cache: Cache::Disabled,
            database,
            pool,
            prefix,
        }
    }

    /// Caching as tests want it: every entry would live for an hour, so that nothing is right
    /// only because it expired.
    pub(crate) fn cache_config(&self) -> CacheConfig {
        CacheConfig {
            enabled: true,
            key_prefix: self.prefix.clone(),
            operation_timeout_ms: 500,
            ..CacheConfig::default()
        }
    }

    /// A registry without a cache.
    pub(crate) fn uncached(&self) -> TaskHandlerRegistry {
        TaskHandlerRegistry::new(self.registry_pool())
    }

    /// The app's pool, or one through the pooler.
    pub(crate) fn registry_pool(&self) -> PgPool {
        if Access::to(self.database.url()).is_pooled() {
            pool(self.database.url())
        } else {
            self.pool.clone()
        }
    }

    /// A registry as another process has it: a pool and caches of its own, no Redis.
    pub(crate) fn local_only(&self, config: CacheConfig) -> TaskHandlerRegistry {
        TaskHandlerRegistry::with_cache(
            pool(self.database.url()),
            Arc::new(CacheProvider::noop()),
            config,
        )
    }

    /// A registry as another process has it, with this app's cache.
    pub(crate) async fn registry(&self) -> TaskHandlerRegistry {
        self.registry_with(self.cache_config()).await
    }

    /// The same with other settings.
    pub(crate) async fn registry_with(&self, config: CacheConfig) -> TaskHandlerRegistry {
        match self.cache {
            Cache::Disabled => {
                let config = CacheConfig {
                    enabled: false,
                    ..config
                };
                self.registry_on(NOBODY, config, false).await
            }
            Cache::Absent => self.registry_on(NOBODY, config, false).await,
            #[cfg(feature = "cache-redis")]
            Cache::Redis => {
                let redis = tasker_test_support::redis().await.expect("Redis is needed");
                self.registry_on(redis.url(), config, true).await
            }
        }
    }

    /// A registry with `config`, whose Redis is at this URL and there, or not.
    pub(crate) async fn registry_on(
        &self,
        redis_url: &str,
        config: CacheConfig,
        is_there: bool,
    ) -> TaskHandlerRegistry {
        let config = CacheConfig {
            redis: Some(RedisConfig {
                url: redis_url.to_owned(),
                max_connections: 2,
                ..RedisConfig::default()
            }),
            ..config
        };
        let provider = CacheProvider::from_config_graceful(&config).await;
        assert_eq!(provider.is_enabled(), is_there, "Redis at {redis_url}");
        TaskHandlerRegistry::with_cache(pool(self.database.url()), Arc::new(provider), config)
    }

    /// Runs these statements in one transaction.
    pub(crate) async fn commit(&self, statements: &[&'static str]) {
        let mut transaction = self.pool.begin().await.expect("a transaction begins");
        for sql in statements {
            sqlx::query(*sql)
                .execute(&mut *transaction)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        transaction.commit().await.expect("it commits");
    }

    /// Returns the clock's position, which counts the commits that changed the templates' tables.
    pub(crate) async fn sequence(&self) -> i64 {
        sqlx::query_scalar::<_, i64>("SELECT sequence FROM tasker.template_clock")
            .fetch_one(&self.pool)
            .await
            .expect("the clock has a row")
    }
}

pub(crate) fn pool(url: &str) -> PgPool {
    pool_of(CONNECTIONS, url)
}

pub(crate) fn pool_of(connections: u32, url: &str) -> PgPool {
    let access = Access::to(url);
    if !access.is_pooled() {
        return direct_pool(connections, url);
    }
    let config = DatabaseConfig {
        pool: PoolConfig {
            max_connections: connections,
            ..PoolConfig::default()
        },
        ..database_config(&access)
    };
    database::pool::create(&config).expect("the pooler's URL is one")
}

/// The settings of a service that takes this way to its database.
pub(crate) fn database_config(access: &Access) -> DatabaseConfig {
    DatabaseConfig {
        url: access.url.clone(),
        pool_mode: access.pool_mode.to_owned(),
        direct_url: access.direct_url.clone(),
        ..DatabaseConfig::default()
    }
}

/// A pool for the test's own statements.
pub(crate) fn direct_pool(connections: u32, url: &str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .test_before_acquire(false)
        .connect_lazy(url)
        .expect("the test database's URL is one")
}

/// A template whose `marker` tells its contents apart.
pub(crate) fn template(namespace: &str, name: &str, marker: impl Into<Value>) -> TemplateDocument {
    TemplateDocument::from_json(document(namespace, name, marker)).expect("it is a template")
}

pub(crate) fn document(namespace: &str, name: &str, marker: impl Into<Value>) -> Value {
    json!({
        "name": name,
        "namespace_name": namespace,
        "version": "1.0.0",
        "task_handler": {"callable": "Tests::Handler", "initialization": {"marker": marker.into()}},
        "steps": [{"name": "only", "handler": {"callable": "Tests::Step"}, "dependencies": []}],
    })
}

/// A folder with a file that is a template, and one that is not.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = [
        ("refund.yaml", document("payments", "refund", 1).to_string()),
        ("wrong.yaml", String::from("name: [unclosed\n")),
    ];
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("the folder can be written to");
    }
    folder
}

/// Returns the argument of [`template`], from a resolved document.
pub(crate) fn marker(metadata: &tasker_shared::types::HandlerMetadata) -> Value {
    let document: Value = serde_json::from_str(metadata.document.get()).expect("it is JSON");
    document["task_handler"]["initialization"]["marker"].clone()
}

/// Registers the template that most tests are about, with this marker.
pub(crate) async fn put(registry: &TaskHandlerRegistry, marker: impl Into<Value>) {
    let document = template("payments", "refund", marker);
    let registered = registry.register_task_template(&document).await;
    registered.expect("it is registered");
}

/// The marker of the template that most tests are about, as this registry resolves it.
pub(crate) async fn current(registry: &TaskHandlerRegistry) -> Value {
    let resolved = registry.get_template("payments", "refund", "1.0.0").await;
    marker(&resolved.expect("it resolves"))
}

/// Waits until `condition` answers something; fails after ten seconds.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Some(answer) = condition().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_elapsed| panic!("{what} did not happen within ten seconds"))
}

/// Waits until somebody waits for a lock in this app's database.
pub(crate) async fn waits_for_a_lock(app: &TestApp) {
    eventually("somebody waits for a lock", || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&app.pool)
        .await
        .expect("the activity can be read");
        (waiting > 0).then_some(())
    })
    .await;
}
