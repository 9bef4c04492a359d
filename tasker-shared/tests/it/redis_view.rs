//! Registries that use Redis, and the keys and values in it.

use redis::AsyncCommands;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::RedisServer;

use crate::app::TestApp;

impl TestApp {
    /// A registry as another process has it: a pool and caches of its own, and this Redis.
    pub(crate) async fn with_redis(&self, redis_url: &str) -> TaskHandlerRegistry {
        self.with_redis_config(redis_url, self.cache_config()).await
    }

    pub(crate) async fn with_redis_config(
        &self,
        redis_url: &str,
        config: CacheConfig,
    ) -> TaskHandlerRegistry {
        self.registry_on(redis_url, config, true).await
    }

    pub(crate) fn key(&self, namespace: &str, name: &str, version: &str) -> String {
        format!("{}:task_template:{namespace}:{name}:{version}", self.prefix)
    }
}

/// A connection to look at Redis with.
pub(crate) async fn redis_connection(url: &str) -> redis::aio::MultiplexedConnection {
    tasker_test_support::redis_connection(url)
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

/// The value under a key. It is there as soon as a resolve that loaded its document has returned.
pub(crate) async fn filled(url: &str, key: &str) -> String {
    let value: Option<String> = redis_connection(url)
        .await
        .get(key)
        .await
        .expect("Redis answers");
    value.expect("the resolve has written the document")
}

/// A Redis that the test may kill.
pub(crate) async fn own_redis() -> RedisServer {
    RedisServer::start().await.expect("redis-server is needed")
}
