//! The cache provider on every kind of server.

mod acl;
mod cluster;
mod cluster_changes;
mod load;
pub(crate) mod logs;
mod sentinel;
mod tls;
mod tls_files;
mod unix_socket;

use std::path::Path;

use tasker_shared::cache::{CacheProvider, keys};
use tasker_shared::config::tasker::{CacheConfig, RedisConfig};

use crate::cache::{SOON, TTL, config, eventually};

/// Returns the configuration of the tests on one server, with other settings for Redis.
pub(crate) fn with(redis: RedisConfig) -> CacheConfig {
    assert_eq!(redis.problem(), None);
    CacheConfig {
        redis: Some(RedisConfig {
            max_connections: 3,
            ..redis
        }),
        ..config("redis://unused")
    }
}

pub(crate) fn path(file: impl AsRef<Path>) -> String {
    file.as_ref().display().to_string()
}

/// Checks everything that a provider does.
pub(crate) async fn works(cache: &CacheProvider) {
    eventually("all connections are up", SOON, async || {
        let status = cache.status().await;
        status.connections_up == status.connections_max
    })
    .await;
    let key = |number: usize| keys::key("tasker", "task_template", &["ns", &number.to_string()]);
    let all: Vec<String> = (0..100).map(key).collect();
    for key in &all {
        assert_eq!(cache.get(key).await.expect("a get"), None);
        let value = format!("value of {key}");
        cache.set(key, &value, TTL).await.expect("a set");
    }
    for key in &all {
        let value = cache.get(key).await.expect("a get");
        assert_eq!(value, Some(format!("value of {key}")));
    }
    cache.set("other", "value", TTL).await.expect("a set");
    assert!(cache.delete(&all[0]).await.expect("a delete"));
    assert!(!cache.delete(&all[0]).await.expect("a delete"));
    let named = cache.delete_many(&all[..50]).await.expect("a delete");
    assert_eq!(named, 49);
    let pattern = keys::pattern("tasker", "task_template", &["ns"]);
    let swept = cache.delete_pattern(&pattern).await.expect("a sweep");
    assert_eq!(swept, 50);
    assert!(cache.delete("other").await.expect("a delete"));
    assert!(cache.health_check().await.expect("a ping"));
}

/// Returns the reason why the provider is not used.
pub(crate) async fn refusal(config: &CacheConfig) -> String {
    let cache = CacheProvider::from_config_graceful(config).await;
    assert_eq!(cache.provider_name(), "noop");
    let error = cache.status().await.last_error.expect("a reason");
    cache.shutdown().await;
    error
}
