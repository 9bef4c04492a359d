//! Both caches over HTTP: what they say, and what is done to them.

use serde_json::{Value, json};
use tasker_test_support::RedisServer;

use crate::support::{TestWorker, keys, template, wait_for_keys};

const ORDER: &str = "/templates/shop/order/1.0.0";
const COUNT: &str = "/templates/stock/count/1.0.0";
const ORDER_KEY: &str = "tasker:task_template:shop:order:1.0.0";
const COUNT_KEY: &str = "tasker:task_template:stock:count:1.0.0";

fn files() -> [(&'static str, Value); 2] {
    [
        ("order.yaml", template("shop", "order")),
        ("count.yaml", template("stock", "count")),
    ]
}

#[tokio::test]
async fn statistics_are_true_after_a_known_sequence() {
    let worker = TestWorker::without_cache(&files()).await;
    let empty = worker.get("/templates/cache/stats").await.body;
    assert_eq!(
        empty,
        json!({
            "total_cached": 0,
            "cache_hits": 0,
            "cache_misses": 0,
            "cache_evictions": 0,
            "oldest_entry_age_seconds": 0,
            "average_access_count": 0.0,
            "supported_namespaces": ["shop", "stock"],
        })
    );

    // One miss and two hits; one miss; a look-up of a name that nobody has is neither.
    for path in [ORDER, ORDER, ORDER, COUNT, "/templates/no/such/1.0.0"] {
        worker.get(path).await;
    }
    let stats = worker.get("/templates/cache/stats").await.body;
    assert_eq!(stats["total_cached"], 2);
    assert_eq!(stats["cache_hits"], 2);
    assert_eq!(stats["cache_misses"], 2);
    assert_eq!(stats["cache_evictions"], 0);
    assert_eq!(stats["average_access_count"], 2.0);
    assert!(stats["oldest_entry_age_seconds"].as_u64().unwrap() < 60);

    // A change is a miss, replaces its entry, and is no eviction.
    let mut changed = template("shop", "order");
    changed["description"] = json!("changed");
    worker.register(changed).await;
    worker.get(ORDER).await;
    let stats = worker.get("/templates/cache/stats").await.body;
    assert_eq!(stats["total_cached"], 2);
    assert_eq!(stats["cache_misses"], 3);
    assert_eq!(stats["cache_evictions"], 0);
    assert_eq!(stats["average_access_count"], 1.0);
    worker.stop().await;
}

#[tokio::test]
async fn the_configured_number_of_entries_is_held_and_evictions_are_counted() {
    let worker = TestWorker::holding(1, &files()).await;
    for path in [ORDER, COUNT] {
        worker.get(path).await;
        let stats = worker.get("/templates/cache/stats").await.body;
        assert_eq!(stats["total_cached"], 1);
    }
    let stats = worker.get("/templates/cache/stats").await.body;
    assert_eq!(stats["cache_evictions"], 1);
    assert_eq!(worker.get(COUNT).await.body["cached"], true);
    assert_eq!(worker.get(ORDER).await.body["cached"], false);
    worker.stop().await;
}

#[tokio::test]
async fn clearing_empties_both_caches() {
    let redis = RedisServer::start().await.unwrap();
    let worker = TestWorker::with_redis(&files(), &redis).await;
    worker.get(ORDER).await;
    worker.get(COUNT).await;
    wait_for_keys(&redis, &[ORDER_KEY, COUNT_KEY]).await;

    let answer = worker.delete("/templates/cache").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["operation"], "clear_cache");
    assert_eq!(answer.body["success"], true);
    assert_eq!(answer.body["removed"], 2);
    assert_eq!(answer.body["cache_stats"]["total_cached"], 0);
    assert_eq!(
        answer.body["distributed"],
        json!({"attempted": true, "deleted": 2})
    );
    assert_eq!(keys(&redis).await, [""; 0]);

    assert_eq!(worker.get(ORDER).await.body["cached"], false);
    worker.stop().await;
}

#[tokio::test]
async fn without_a_distributed_cache_nothing_is_attempted_there() {
    let worker = TestWorker::without_cache(&files()).await;
    worker.get(ORDER).await;
    let nothing = json!({"attempted": false, "deleted": 0});

    let cleared = worker.delete("/templates/cache").await.body;
    assert_eq!(cleared["success"], true);
    assert_eq!(cleared["distributed"], nothing);
    let refreshed = worker.post(&format!("{ORDER}/refresh")).await.body;
    assert_eq!(refreshed["distributed"], nothing);
    let maintained = worker.post("/templates/cache/maintain").await.body;
    assert_eq!(maintained["distributed"], nothing);

    let status = worker.get("/templates/cache/distributed").await.body;
    assert_eq!(status["enabled"], false);
    assert_eq!(status["provider"], "noop");
    assert_eq!(status["healthy"], true);
    worker.stop().await;
}

#[tokio::test]
async fn refreshing_brings_the_current_content_and_deletes_the_distributed_entry() {
    let redis = RedisServer::start().await.unwrap();
    let worker = TestWorker::with_redis(&files(), &redis).await;
    worker.get(ORDER).await;
    worker.get(COUNT).await;
    wait_for_keys(&redis, &[ORDER_KEY, COUNT_KEY]).await;

    let answer = worker.post(&format!("{ORDER}/refresh")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["operation"], "refresh_template");
    assert_eq!(answer.body["success"], true);
    assert_eq!(answer.body["cache_stats"]["total_cached"], 2);
    assert_eq!(
        answer.body["distributed"],
        json!({"attempted": true, "deleted": 1})
    );
    assert_eq!(keys(&redis).await, [COUNT_KEY]);

    let mut changed = template("shop", "order");
    changed["description"] = json!("changed");
    worker.register(changed).await;
    worker.post(&format!("{ORDER}/refresh")).await;
    let order = worker.get(ORDER).await.body;
    assert_eq!(order["template"]["description"], "changed");
    assert_eq!(order["cached"], true, "the refresh resolved it");
    worker.stop().await;
}

#[tokio::test]
async fn maintaining_drops_what_is_not_current_from_both_caches() {
    let redis = RedisServer::start().await.unwrap();
    let worker = TestWorker::with_redis(&files(), &redis).await;
    worker.get(ORDER).await;
    worker.get(COUNT).await;
    wait_for_keys(&redis, &[ORDER_KEY, COUNT_KEY]).await;

    let current = worker.post("/templates/cache/maintain").await.body;
    assert_eq!(current["operation"], "maintain_cache");
    assert_eq!(current["removed"], 0);
    assert_eq!(
        current["distributed"],
        json!({"attempted": true, "deleted": 0})
    );

    let before = hash_of_order(&worker.get("/templates").await.body);
    sqlx::query(
        "UPDATE tasker.named_tasks
         SET configuration = configuration || '{\"description\": \"by hand\"}'
         WHERE name = 'order'",
    )
    .execute(&worker.admin())
    .await
    .unwrap();
    let after = hash_of_order(&worker.get("/templates").await.body);
    assert_ne!(before, after, "the list is what the database has");

    let stale = worker.post("/templates/cache/maintain").await.body;
    assert_eq!(stale["success"], true);
    assert_eq!(stale["removed"], 1);
    assert_eq!(stale["cache_stats"]["total_cached"], 1);
    assert_eq!(stale["cache_stats"]["cache_evictions"], 0);
    // The registry may have taken its entry back by itself, when it heard the news.
    assert_eq!(stale["distributed"]["attempted"], true);
    assert!(stale["distributed"].get("error").is_none());
    assert_eq!(keys(&redis).await, [COUNT_KEY]);
    worker.stop().await;
}

fn hash_of_order(list: &Value) -> Value {
    list["templates"][0]["hash"].clone()
}

#[tokio::test]
async fn a_lost_redis_is_told_and_fails_nothing() {
    let redis = RedisServer::start().await.unwrap();
    let worker = TestWorker::with_redis(&files(), &redis).await;
    let healthy = worker.get("/templates/cache/distributed").await.body;
    assert_eq!(healthy["enabled"], true);
    assert_eq!(healthy["provider"], "redis");
    assert_eq!(healthy["healthy"], true);
    worker.get(ORDER).await;

    redis.kill().await.unwrap();
    let lost = worker
        .get_until("/templates/cache/distributed", |status| {
            status.body["healthy"] == false
        })
        .await;
    assert_eq!(lost.status, 200);

    for answer in [
        worker.delete("/templates/cache").await,
        worker.post(&format!("{ORDER}/refresh")).await,
        worker.post("/templates/cache/maintain").await,
    ] {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body["success"], false, "{}", answer.body);
        assert_eq!(answer.body["distributed"]["deleted"], 0);
        assert!(
            answer.body["distributed"]["error"].is_string(),
            "{}",
            answer.body
        );
    }
    assert_eq!(worker.get(ORDER).await.status, 200);
    assert_eq!(worker.get(COUNT).await.status, 200);
    worker.stop().await;
}

#[tokio::test]
async fn a_boot_whose_invalidation_was_refused_says_so() {
    let redis = RedisServer::start().await.unwrap();
    let mut worker = TestWorker::with_redis(&files(), &redis).await;
    worker.get(ORDER).await;
    let mut connection = tasker_test_support::redis_connection(&redis.url())
        .await
        .unwrap();
    let () = redis::cmd("ACL")
        .arg(&["SETUSER", "default", "-del"])
        .query_async(&mut connection)
        .await
        .unwrap();
    worker.boot_again().await;
    let health = worker.get("/health/detailed").await.body;
    let (templates, cache) = (&health["checks"]["templates"], &health["checks"]["cache"]);
    let reason = templates["invalidation_error"].as_str().unwrap();
    assert!(reason.contains("NOPERM"), "{reason}");
    assert_eq!(templates["status"], "degraded");
    assert_eq!(cache["refused_commands"], json!(["DEL: NOPERM"]));
    assert_eq!(cache["status"], "degraded");
    assert_eq!(worker.get("/health/ready").await.body["status"], "degraded");

    let () = redis::cmd("ACL")
        .arg(&["SETUSER", "default", "+del"])
        .query_async(&mut connection)
        .await
        .unwrap();
    // A registration deletes, which succeeds now.
    worker.post("/templates/cache/maintain").await;
    worker.delete("/templates/cache").await;
    let is_well =
        |health: &crate::support::Answer| health.body["checks"]["cache"]["status"] == "healthy";
    let health = worker.get_until("/health/detailed", is_well).await.body;
    let templates = &health["checks"]["templates"];
    assert_eq!(templates["status"], "healthy", "{templates}");
    assert!(templates["invalidation_error"].is_string(), "{templates}");
    worker.stop().await;
}

/// The rest is swept after the boot, when its summary has been written.
#[tokio::test]
async fn a_boot_whose_sweep_was_refused_says_so() {
    let redis = RedisServer::start().await.unwrap();
    let mut connection = tasker_test_support::redis_connection(&redis.url())
        .await
        .unwrap();
    let () = redis::cmd("ACL")
        .arg(&["SETUSER", "default", "-scan"])
        .query_async(&mut connection)
        .await
        .unwrap();
    let worker = TestWorker::with_redis(&files(), &redis).await;
    let is_reported = |health: &crate::support::Answer| {
        health.body["checks"]["templates"]["invalidation_error"].is_string()
    };
    let health = worker.get_until("/health/detailed", is_reported).await.body;
    let templates = &health["checks"]["templates"];
    let reason = templates["invalidation_error"].as_str().unwrap();
    assert!(
        reason.contains("SCAN") || reason.contains("NOPERM"),
        "{reason}"
    );
    assert_eq!(templates["status"], "degraded");
    worker.stop().await;
}
