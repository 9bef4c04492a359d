//! Resolving with Redis: which tier answers, and what it holds.

use std::sync::Arc;

use redis::AsyncCommands;
use serde_json::json;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::registry::Tier;

use crate::app::{TestApp, eventually, marker, template};
use crate::redis_view::{filled, keys, own_redis, redis_connection};

#[tokio::test]
async fn each_tier_is_used_in_its_turn() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let first = app.with_redis(&redis.url()).await;
    let second = app.with_redis(&redis.url()).await;
    first
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();

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
    registry
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();
    registry
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap();

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
    writer
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();
    let key = app.key("payments", "refund", "1.0.0");
    let mut connection = redis_connection(&redis.url()).await;

    let good = {
        let registry = app.with_redis(&redis.url()).await;
        registry
            .get_template("payments", "refund", "1.0.0")
            .await
            .unwrap();
        filled(&redis.url(), &key).await
    };
    let (header, body) = good.split_once('\n').unwrap();
    let spoiled = [
        String::from("not json"),
        String::from("{}"),
        String::new(),
        format!("{header}\n{{\"name\":"),
        format!(
            "{}\n{body}",
            header.replace("\"format\":1", "\"format\":99")
        ),
        format!("{}\n{body}", header.replace("refund", "another")),
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
async fn an_old_body_in_redis_is_not_used() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let registry = app.with_redis(&redis.url()).await;
    registry
        .register_task_template(&template("payments", "refund", "old"))
        .await
        .unwrap();
    registry
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap();
    let key = app.key("payments", "refund", "1.0.0");
    let old = filled(&redis.url(), &key).await;

    // A writer that cannot reach Redis, and a fill that comes after the invalidation.
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
async fn a_process_takes_back_what_it_put_into_redis_when_the_name_points_elsewhere() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let reader = app.with_redis(&redis.url()).await;
    app.uncached()
        .register_task_template(&template("payments", "refund", "old"))
        .await
        .unwrap();
    reader
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap();
    filled(&redis.url(), &app.key("payments", "refund", "1.0.0")).await;
    // The writer has no Redis to delete from.
    app.uncached()
        .register_task_template(&template("payments", "refund", "new"))
        .await
        .unwrap();
    eventually("the deletion", || async {
        keys(&redis.url(), &app.prefix)
            .await
            .is_empty()
            .then_some(())
    })
    .await;
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
