//! What the tests of the registry start from: a migrated database of their own, and registries
//! on it as different processes would have them.

use std::sync::Arc;
use std::time::Duration;

use redis::AsyncCommands;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::{CacheConfig, RedisConfig};
use tasker_shared::database::migrator;
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_testkit::{RedisServer, TestDatabase};

/// A database, and a key prefix that no other test uses.
pub(crate) struct TestApp {
    pub(crate) database: TestDatabase,
    pub(crate) pool: PgPool,
    pub(crate) prefix: String,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create().await.expect("PostgreSQL is needed");
        Self::on(database).await
    }

    pub(crate) async fn on(database: TestDatabase) -> Self {
        let pool = pool(database.url());
        migrator::migrate(&pool).await.expect("the schema migrates");
        let prefix = format!("it_{}", database.name());
        Self {
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
        TaskHandlerRegistry::new(self.pool.clone())
    }

    /// A registry as another process has it: a pool and caches of its own, no Redis.
    pub(crate) fn local_only(&self, config: CacheConfig) -> TaskHandlerRegistry {
        TaskHandlerRegistry::with_cache(
            pool(self.database.url()),
            Arc::new(CacheProvider::noop()),
            config,
        )
    }

    /// The same with Redis.
    pub(crate) async fn with_redis(&self, redis_url: &str) -> TaskHandlerRegistry {
        self.with_redis_config(redis_url, self.cache_config()).await
    }

    pub(crate) async fn with_redis_config(
        &self,
        redis_url: &str,
        config: CacheConfig,
    ) -> TaskHandlerRegistry {
        let config = CacheConfig {
            redis: Some(RedisConfig {
                url: redis_url.to_owned(),
                max_connections: 2,
                ..RedisConfig::default()
            }),
            ..config
        };
        self.with_provider(config).await
    }

    /// A registry whose Redis is the one that `config` names.
    pub(crate) async fn with_provider(&self, config: CacheConfig) -> TaskHandlerRegistry {
        let provider = CacheProvider::from_config_graceful(&config).await;
        assert!(provider.is_enabled(), "Redis is needed");
        TaskHandlerRegistry::with_cache(pool(self.database.url()), Arc::new(provider), config)
    }

    pub(crate) fn key(&self, namespace: &str, name: &str, version: &str) -> String {
        format!("{}:task_template:{namespace}:{name}:{version}", self.prefix)
    }

    /// How many statements the templates' tables were changed by: the clock's place.
    pub(crate) async fn sequence(&self) -> i64 {
        sqlx::query_scalar::<_, i64>("SELECT sequence FROM tasker.template_clock")
            .fetch_one(&self.pool)
            .await
            .expect("the clock has a row")
    }
}

pub(crate) fn pool(url: &str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(4)
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

/// What [`template`] was given, from a resolved document.
pub(crate) fn marker(metadata: &tasker_shared::types::HandlerMetadata) -> Value {
    let document: Value = serde_json::from_str(metadata.document.get()).expect("it is JSON");
    document["task_handler"]["initialization"]["marker"].clone()
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

/// A connection to look at Redis with.
pub(crate) async fn redis_connection(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("it is a Redis URL");
    client
        .get_multiplexed_async_connection()
        .await
        .expect("Redis is needed")
}

/// All keys that begin with `prefix`.
pub(crate) async fn keys(url: &str, prefix: &str) -> Vec<String> {
    let mut keys: Vec<String> = redis_connection(url)
        .await
        .keys(format!("{prefix}:*"))
        .await
        .expect("Redis lists keys");
    keys.sort();
    keys
}

/// The value under a key, once it is there.
pub(crate) async fn filled(url: &str, key: &str) -> String {
    let connection = redis_connection(url).await;
    eventually("the fill", || {
        let mut connection = connection.clone();
        async move {
            connection
                .get::<_, Option<String>>(key)
                .await
                .expect("Redis answers")
        }
    })
    .await
}

/// A Redis that the test may kill.
pub(crate) async fn own_redis() -> RedisServer {
    RedisServer::start().await.expect("redis-server is needed")
}
