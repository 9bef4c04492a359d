//! Resolves with Redis: the tier that answers, and the value in Redis.

use std::sync::Arc;

use redis::AsyncCommands;
use serde_json::json;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::metrics::{CACHE_BAD_ANSWERS, CACHE_OPERATIONS, TEMPLATE_FILLS};
use tasker_shared::registry::Tier;
use tasker_shared::types::{ContentHash, HandlerMetadata};
use uuid::Uuid;

use crate::app::{TestApp, current, eventually, marker, put, template};
use crate::metrics_view::Metrics;
use crate::redis_kinds::logs::Logs;
use crate::redis_view::{filled, keys, own_redis, redis_connection};

#[tokio::test]
async fn each_tier_is_used_in_its_turn() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let first = app.with_redis(&redis.url()).await;
    let second = app.with_redis(&redis.url()).await;
    put(&first, 1).await;

    let cold = first.resolve("payments", "refund", "1.0.0").await.unwrap();
    assert_eq!(cold.tier, Tier::Database);
    assert_eq!(
        first
            .resolve("payments", "refund", "1.0.0")
            .await
            .unwrap()
            .tier,
        Tier::Local
    );

    filled(&redis.url(), &app.key("payments", "refund", "1.0.0")).await;
    let shared = second.resolve("payments", "refund", "1.0.0").await.unwrap();
    assert_eq!(shared.tier, Tier::Redis);
    assert_eq!(
        *shared.metadata, *cold.metadata,
        "a cached answer equals a fresh one"
    );
    assert_eq!(
        second
            .resolve("payments", "refund", "1.0.0")
            .await
            .unwrap()
            .tier,
        Tier::Local
    );
}

#[tokio::test]
async fn an_entry_has_the_specified_key_and_the_configured_time_to_live() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let config = CacheConfig {
        template_ttl_seconds: 300,
        ..app.cache_config()
    };
    let registry = app.with_redis_config(&redis.url(), config).await;
    put(&registry, 1).await;
    current(&registry).await;

    let key = app.key("payments", "refund", "1.0.0");
    filled(&redis.url(), &key).await;
    assert_eq!(
        keys(&redis.url(), &app.prefix).await,
        std::slice::from_ref(&key)
    );
    let ttl: i64 = redis_connection(&redis.url())
        .await
        .ttl(&key)
        .await
        .unwrap();
    assert!((299..=300).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn an_unusable_entry_is_a_miss_and_is_replaced() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let writer = app.uncached();
    put(&writer, 1).await;
    let key = app.key("payments", "refund", "1.0.0");
    let mut connection = redis_connection(&redis.url()).await;

    let good = {
        let registry = app.with_redis(&redis.url()).await;
        current(&registry).await;
        filled(&redis.url(), &key).await
    };
    let spoiled = [
        String::from("not json"),
        String::from("{}"),
        String::new(),
        good[..good.len() / 2].to_owned(),
        with_document(&good, r#"{"name": "another"}"#),
        // The same JSON with other bytes.
        with_document(&good, &document_of(&good).replace(": ", ":")),
    ];
    for value in spoiled {
        let () = connection.set(&key, &value).await.unwrap();
        let registry = app.with_redis(&redis.url()).await;
        let resolved = registry
            .resolve("payments", "refund", "1.0.0")
            .await
            .unwrap();
        assert_eq!(resolved.tier, Tier::Database, "{value}");
        eventually("the replacement", || {
            let mut connection = connection.clone();
            let (key, good) = (key.clone(), good.clone());
            async move {
                let now: Option<String> = connection.get(&key).await.unwrap();
                (now == Some(good)).then_some(())
            }
        })
        .await;
    }

    // A key of another type cannot be read either.
    let () = connection.del(&key).await.unwrap();
    let () = connection.lpush(&key, "element").await.unwrap();
    let registry = app.with_redis(&redis.url()).await;
    let resolved = registry
        .resolve("payments", "refund", "1.0.0")
        .await
        .unwrap();
    assert_eq!(resolved.tier, Tier::Database);
}

#[tokio::test]
async fn an_old_document_in_redis_is_not_used() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let registry = app.with_redis(&redis.url()).await;
    put(&registry, "old").await;
    current(&registry).await;
    let key = app.key("payments", "refund", "1.0.0");
    let old = filled(&redis.url(), &key).await;

    // The writer does not reach Redis, and an old fill arrives after the invalidation.
    app.uncached()
        .register_task_template(&template("payments", "refund", "new"))
        .await
        .unwrap();
    let () = redis_connection(&redis.url())
        .await
        .set(&key, &old)
        .await
        .unwrap();

    let reader = app.with_redis(&redis.url()).await;
    let resolved = reader.resolve("payments", "refund", "1.0.0").await.unwrap();
    assert_eq!(marker(&resolved.metadata), json!("new"));
    assert_eq!(resolved.tier, Tier::Database);
}

#[tokio::test]
async fn the_value_is_the_json_of_the_metadata() {
    let metrics = Metrics::of_this_thread();
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let registry = app.with_redis(&redis.url()).await;
    put(&registry, 1).await;
    let resolved = registry
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap();
    let value = filled(&redis.url(), &app.key("payments", "refund", "1.0.0")).await;
    let read: HandlerMetadata = serde_json::from_str(&value).unwrap();
    assert_eq!(read, *resolved);
    assert_eq!(ContentHash::of(document_of(&value)), resolved.hash);
    let written = metrics.sum_of(&TEMPLATE_FILLS, r#"result="written""#);
    assert_eq!(written.to_string(), "1");
    let sets = metrics.sum_of(&CACHE_OPERATIONS, r#"operation="set""#);
    assert_eq!(sets.to_string(), "1");
}

#[tokio::test]
async fn a_forged_value_with_the_genuine_hash_is_not_used_and_is_reported_once() {
    let logs = Logs::capture();
    let metrics = Metrics::of_this_thread();
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let registry = app.with_redis(&redis.url()).await;
    put(&registry, "genuine").await;
    let genuine = registry
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap();
    let key = app.key("payments", "refund", "1.0.0");
    let good = filled(&redis.url(), &key).await;
    let forged = good.replace("\"genuine\"", "\"forged\"");
    assert!(forged.contains(&genuine.hash.to_string()));
    // Only the document is taken from the value: a forged row has no effect either.
    let other_row = good.replace(
        &genuine.named_task_uuid.to_string(),
        &Uuid::nil().to_string(),
    );
    let mut connection = redis_connection(&redis.url()).await;
    let reader = app.with_redis(&redis.url()).await;
    for (value, tier) in [
        (&forged, Tier::Database),
        (&forged, Tier::Database),
        (&other_row, Tier::Redis),
    ] {
        reader.invalidate_cache("payments", "refund", "1.0.0").await;
        let () = connection.set(&key, value).await.unwrap();
        let resolved = reader.resolve("payments", "refund", "1.0.0").await.unwrap();
        assert_eq!(resolved.tier, tier);
        assert_eq!(*resolved.metadata, *genuine);
        let is_replaced = async || filled(&redis.url(), &key).await != forged;
        eventually("the forged value is replaced", || async {
            is_replaced().await.then_some(())
        })
        .await;
    }
    let counted = metrics.sum_of(&CACHE_BAD_ANSWERS, r#"kind="wrong_hash""#);
    assert_eq!(counted.to_string(), "2");
    assert_eq!(logs.with("wrong_hash").len(), 1);
}

/// The text of the document in a value, which is its last field.
fn document_of(value: &str) -> &str {
    let (_, document) = value.split_once(r#","document":"#).unwrap();
    document.strip_suffix('}').unwrap()
}

fn with_document(value: &str, document: &str) -> String {
    value.replace(document_of(value), document)
}

#[tokio::test]
async fn concurrent_cold_resolves_share_one_load() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    app.uncached()
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();
    let registry = Arc::new(app.with_redis(&redis.url()).await);
    let mut connection = redis_connection(&redis.url()).await;
    // Connecting tries the server out with commands of its own.
    let () = redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .query_async(&mut connection)
        .await
        .unwrap();
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let registry = Arc::clone(&registry);
            tokio::spawn(async move { registry.get_template("payments", "refund", "1.0.0").await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let asked = command_calls(&mut connection, "get").await;
    assert_eq!(asked, 1);
    filled(&redis.url(), &app.key("payments", "refund", "1.0.0")).await;
    let written =
        command_calls(&mut connection, "set").await + command_calls(&mut connection, "setex").await;
    assert_eq!(written, 1);
}

async fn command_calls(connection: &mut redis::aio::MultiplexedConnection, command: &str) -> u64 {
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(connection)
        .await
        .expect("Redis counts commands");
    let prefix = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
    line.map_or(0, |line| {
        line.split(',')
            .next()
            .and_then(|calls| calls.parse().ok())
            .expect("a count")
    })
}
