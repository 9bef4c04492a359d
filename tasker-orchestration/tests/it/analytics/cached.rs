//! The cache in front of the figures.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::json;
use tasker_shared::config::tasker::{CacheConfig, RedisConfig, TaskerConfig};
use tasker_test_support::RedisServer;
use uuid::Uuid;

use crate::app::TestApp;

fn config(redis: &str, ttl: u32) -> TaskerConfig {
    let mut config = TaskerConfig::default();
    config.common.cache = Some(CacheConfig {
        enabled: true,
        key_prefix: format!("it_tasker_test_{}", Uuid::now_v7().simple()),
        analytics_ttl_seconds: ttl,
        // A busy machine must not turn a hit into a miss.
        operation_timeout_ms: 2_000,
        redis: Some(RedisConfig {
            url: redis.to_owned(),
            ..RedisConfig::default()
        }),
        ..CacheConfig::default()
    });
    config
}

const FILLED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_answer_is_kept_under_its_parameters_until_it_expires() {
    let redis = tasker_test_support::redis().await.unwrap();
    let config = config(redis.url(), 2);
    let prefix = config.common.cache.as_ref().unwrap().key_prefix.clone();
    let app = TestApp::start_with(config).await;
    let cache = app.context.cache_provider().clone();

    let path = "/v1/analytics/performance?hours=6";
    let miss = app.get(path).await;
    assert_eq!(miss.headers["age"], "0");
    assert_eq!(miss.headers["cache-control"], "private, max-age=2");
    let key = format!("{prefix}:analytics:performance:6");
    assert_eq!(cache.get(&key).await.unwrap().unwrap(), miss.text);
    let hit = app.get(path).await;
    assert_eq!(hit.text, miss.text);
    let other = app.get("/v1/analytics/performance?hours=7").await;
    assert_ne!(other.json()["calculated_at"], miss.json()["calculated_at"]);

    app.get("/v1/analytics/bottlenecks?limit=3&min_executions=4")
        .await;
    let key = format!("{prefix}:analytics:bottlenecks:3:4");
    assert!(cache.get(&key).await.unwrap().is_some());

    let mut latest = hit;
    let expired = tokio::time::timeout(FILLED, async {
        while latest.text == miss.text {
            tokio::time::sleep(Duration::from_millis(50)).await;
            latest = app.get(path).await;
        }
    });
    expired.await.unwrap();
    assert_eq!(latest.headers["age"], "0");
}

#[tokio::test]
async fn the_age_of_a_hit_is_that_of_its_figures_and_bounded() {
    let redis = tasker_test_support::redis().await.unwrap();
    let config = config(redis.url(), 60);
    let prefix = config.common.cache.as_ref().unwrap().key_prefix.clone();
    let app = TestApp::start_with(config).await;
    let answered = app.get("/v1/analytics/performance?hours=6").await.json();
    let of_age = |seconds: i64| {
        let mut answer = answered.clone();
        answer["calculated_at"] = json!(Utc::now() - TimeDelta::seconds(seconds));
        answer["total_tasks"] = json!(7);
        answer
    };
    let with = async |value: String| {
        let key = format!("{prefix}:analytics:performance:24");
        let cache = app.context.cache_provider();
        let kept = cache.set(&key, &value, Duration::from_mins(1));
        kept.await.unwrap();
        app.get("/v1/analytics/performance").await
    };
    let hit = with(of_age(42).to_string()).await;
    assert_eq!(hit.json()["total_tasks"], 7);
    let age: u64 = hit.headers["age"].to_str().unwrap().parse().unwrap();
    assert!((42..60).contains(&age), "{age}");

    // Other software could keep values in Redis for longer, or in another form.
    let mut partial = of_age(1);
    partial.as_object_mut().unwrap().remove("missing_hours");
    for unusable in [
        of_age(90).to_string(),
        of_age(-90).to_string(),
        partial.to_string(),
        String::from("{\"half"),
    ] {
        let computed = with(unusable.clone()).await;
        assert_eq!(computed.json()["total_tasks"], 0, "{unusable}");
        assert_eq!(computed.headers["age"], "0");
    }
}

#[tokio::test]
async fn answers_come_from_postgresql_while_redis_is_killed() {
    let redis = RedisServer::start().await.unwrap();
    let app = TestApp::start_with(config(&redis.url(), 60)).await;
    let path = "/v1/analytics/performance";
    let first = app.get(path).await;
    assert_eq!(app.get(path).await.text, first.text);
    redis.kill().await.unwrap();
    for _ in 0..20 {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_ne!(answer.text, first.text);
    }
}
