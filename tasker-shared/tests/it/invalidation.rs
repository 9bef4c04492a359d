//! Deletion of values from Redis.

use std::time::{Duration, Instant};

use redis::AsyncCommands;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::registry::{TaskHandlerRegistry, Tier};
use tasker_test_support::TcpProxy;

use crate::app::{TestApp, current, eventually, folder, put, template};
use crate::redis_view::{filled, keys, own_redis, redis_connection};

#[tokio::test]
async fn registering_deletes_the_cached_entry() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let registry = app.with_redis(&redis.url()).await;
    put(&registry, 1).await;
    current(&registry).await;
    filled(&redis.url(), &app.key("payments", "refund", "1.0.0")).await;
    put(&registry, 2).await;
    assert!(keys(&redis.url(), &app.prefix).await.is_empty());
    current(&registry).await;
    filled(&redis.url(), &app.key("payments", "refund", "1.0.0")).await;
    // Unchanged.
    put(&registry, 2).await;
    assert!(keys(&redis.url(), &app.prefix).await.is_empty());
}

#[tokio::test]
async fn a_discovery_deletes_what_is_cached_under_the_names_that_it_creates() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let folder = folder();
    let registry = app.with_redis(&redis.url()).await;
    let mut connection = redis_connection(&redis.url()).await;
    let key = app.key("payments", "refund", "1.0.0");
    let () = connection.set(&key, "stale").await.unwrap();
    let () = redis::cmd("EVAL")
        .arg(FOREIGN)
        .arg(0)
        .query_async(&mut connection)
        .await
        .unwrap();
    let result = registry
        .discover_and_register_templates(folder.path())
        .await
        .unwrap();
    assert!(registry.swept().is_none(), "the sweep has not ended yet");
    assert_eq!(result.invalidation.deleted, 1);
    let exists: bool = connection.exists(&key).await.unwrap();
    assert!(!exists);
}

#[tokio::test]
async fn a_discovery_deletes_all_cached_templates_unless_told_not_to() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let folder = folder();

    for invalidate_on_boot in [true, false] {
        let config = CacheConfig {
            invalidate_on_boot,
            ..app.cache_config()
        };
        let registry = app.with_redis_config(&redis.url(), config).await;
        registry
            .register_task_template(&template("other", "removed_from_disk", 1))
            .await
            .unwrap();
        registry
            .get_template("other", "removed_from_disk", "1.0.0")
            .await
            .unwrap();
        filled(
            &redis.url(),
            &app.key("other", "removed_from_disk", "1.0.0"),
        )
        .await;
        let result = registry
            .discover_and_register_templates(folder.path())
            .await
            .unwrap();
        assert_eq!(result.total_files, 2);
        assert_eq!(
            result.registered.len(),
            1,
            "a bad file does not stop the others"
        );
        assert_eq!(result.errors.len(), 1);
        assert!(result.errors[0].file.ends_with("wrong.yaml"));
        assert_eq!(result.invalidation.attempted, invalidate_on_boot);
        assert_eq!(
            keys(&redis.url(), &app.prefix).await.is_empty(),
            invalidate_on_boot
        );
    }
}

#[tokio::test]
async fn invalidating_deletes_from_both_tiers_and_nothing_else() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let registry = app.with_redis(&redis.url()).await;
    for (namespace, name) in [("a", "one"), ("a", "two"), ("b", "one")] {
        registry
            .register_task_template(&template(namespace, name, 1))
            .await
            .unwrap();
        registry
            .get_template(namespace, name, "1.0.0")
            .await
            .unwrap();
        filled(&redis.url(), &app.key(namespace, name, "1.0.0")).await;
    }
    let mut connection = redis_connection(&redis.url()).await;
    let bystander = format!("{}:analytics:a", app.prefix);
    let orphan = app.key("a", "never_registered", "9");
    let () = connection.set(&bystander, 1).await.unwrap();
    let () = connection.set(&orphan, 1).await.unwrap();

    let one = registry.invalidate_cache("a", "one", "1.0.0").await;
    assert_eq!((one.attempted, one.deleted, one.error), (true, 1, None));
    let namespace = registry.invalidate_namespace_templates("a").await;
    assert_eq!(
        (namespace.deleted, namespace.error),
        (2, None),
        "`two` and the orphan"
    );
    assert_eq!(
        keys(&redis.url(), &app.prefix).await,
        [bystander.clone(), app.key("b", "one", "1.0.0")]
    );
    let all = registry.invalidate_all_templates().await;
    assert_eq!((all.deleted, all.error), (1, None));
    assert_eq!(keys(&redis.url(), &app.prefix).await, [bystander]);
    let again = registry.resolve("b", "one", "1.0.0").await.unwrap();
    assert_eq!(again.tier, Tier::Database);
}

/// Keys of other software, which a sweep has to pass.
const FOREIGN: &str = "for i = 1, 300000 do redis.call('SET', 'foreign:' .. i, 1) end";

#[tokio::test]
async fn a_discovery_does_not_wait_for_the_sweep_of_foreign_keys() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let folder = folder();
    let registry = app.with_redis(&redis.url()).await;
    for name in ["registered", "refund"] {
        registry
            .register_task_template(&template("payments", name, 1))
            .await
            .unwrap();
        registry
            .get_template("payments", name, "1.0.0")
            .await
            .unwrap();
        filled(&redis.url(), &app.key("payments", name, "1.0.0")).await;
    }
    let mut connection = redis_connection(&redis.url()).await;
    let orphan = app.key("payments", "never_registered", "9");
    let () = connection.set(&orphan, 1).await.unwrap();
    let () = redis::cmd("EVAL")
        .arg(FOREIGN)
        .arg(0)
        .query_async(&mut connection)
        .await
        .unwrap();
    let result = registry
        .discover_and_register_templates(folder.path())
        .await
        .unwrap();
    assert!(registry.swept().is_none(), "the sweep has not ended yet");
    assert_eq!(
        (result.invalidation.deleted, result.invalidation.error),
        (2, None)
    );
    let exists: bool = connection.exists(&orphan).await.unwrap();
    assert!(exists, "only the sweep finds it");
    let swept = eventually("the sweep ends", || async { registry.swept() }).await;
    assert_eq!((swept.deleted, swept.error), (1, None));
    let exists: bool = connection.exists(&orphan).await.unwrap();
    assert!(!exists);
}

/// Registers a template, and returns its key once its document is in the Redis of this URL.
async fn cached(app: &TestApp, registry: &TaskHandlerRegistry, redis_url: &str) -> String {
    put(registry, 1).await;
    current(registry).await;
    let key = app.key("payments", "refund", "1.0.0");
    filled(redis_url, &key).await;
    key
}

#[tokio::test]
async fn an_invalidation_does_not_wait_for_a_sweep_that_takes_long() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let proxy = TcpProxy::before(&redis.url()).await.unwrap();
    let registry = app.with_redis(proxy.url()).await;
    let key = cached(&app, &registry, &redis.url()).await;
    let mut connection = redis_connection(&redis.url()).await;
    let () = redis::cmd("EVAL")
        .arg(FOREIGN)
        .arg(0)
        .query_async(&mut connection)
        .await
        .unwrap();
    proxy.delay(Duration::from_millis(20)).await;
    let started = Instant::now();
    let all = registry.invalidate_all_templates().await;
    assert!(started.elapsed() < Duration::from_secs(8));
    assert!(all.error.is_some() && all.deleted == 1, "{all:?}");
    let exists: bool = connection.exists(&key).await.unwrap();
    assert!(!exists, "registered names are deleted first");
}

#[tokio::test]
async fn what_is_not_deleted_by_name_in_time_is_swept() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let proxy = TcpProxy::before(&redis.url()).await.unwrap();
    let config = CacheConfig {
        operation_timeout_ms: 200,
        ..app.cache_config()
    };
    let registry = app.with_redis_config(proxy.url(), config).await;
    cached(&app, &registry, &redis.url()).await;
    proxy.delay(Duration::from_millis(250)).await;
    let all = registry.invalidate_all_templates().await;
    assert_eq!(all.error, None);
    assert!(keys(&redis.url(), &app.prefix).await.is_empty());
}
