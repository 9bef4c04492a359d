//! The distributed cache, as two orchestration services share it.

use serde_json::json;
use tasker_shared::config::tasker::{CacheConfig, RedisConfig, TaskerConfig};
use tasker_test_support::{RedisServer, TestDatabase, redis_connection, until};

use crate::app::TestApp;

async fn statistic(redis: &RedisServer, name: &str) -> u64 {
    let mut connection = redis_connection(&redis.url()).await.unwrap();
    let info: String = redis::cmd("INFO")
        .query_async(&mut connection)
        .await
        .unwrap();
    let value = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_task_populates_redis_and_the_next_service_hits_it() {
    let redis = RedisServer::start().await.unwrap();
    let database = TestDatabase::create().await.unwrap();
    let url = database.url().to_owned();
    let mut config = TaskerConfig::default();
    config.common.cache = Some(CacheConfig {
        enabled: true,
        operation_timeout_ms: 2_000,
        redis: Some(RedisConfig {
            url: redis.url(),
            ..RedisConfig::default()
        }),
        ..CacheConfig::default()
    });
    let first = TestApp::start_on(database, &url, config.clone()).await;
    first.register("order", json!({})).await;

    let hits = statistic(&redis, "keyspace_hits").await;
    let misses = statistic(&redis, "keyspace_misses").await;
    assert_eq!(first.task_of("order", json!({"n": 1})).await.status, 201);
    assert!(
        statistic(&redis, "keyspace_misses").await > misses,
        "it looked in Redis"
    );
    assert_eq!(statistic(&redis, "keyspace_hits").await, hits);
    let key = "tasker:task_template:shop:order:1.0.0";
    let mut connection = redis_connection(&redis.url()).await.unwrap();
    until("the first call populates Redis", async || {
        let exists: bool = redis::cmd("EXISTS")
            .arg(key)
            .query_async(&mut connection)
            .await
            .unwrap();
        exists.then_some(())
    })
    .await;

    let second = TestApp::another(&url, config).await;
    // The start of a service reads a key of its own.
    let hits = statistic(&redis, "keyspace_hits").await;
    assert_eq!(second.task_of("order", json!({"n": 2})).await.status, 201);
    assert_eq!(statistic(&redis, "keyspace_hits").await, hits + 1);
}
