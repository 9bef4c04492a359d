//! The local tier while templates are replaced.

use serde_json::json;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::metrics::{TEMPLATE_LOCAL_BYTES, TEMPLATE_LOCAL_ENTRIES};

use crate::app::{TestApp, current, put, template};
use crate::metrics_view::Metrics;

#[tokio::test]
async fn a_template_that_is_replaced_again_and_again_is_held_once() {
    let metrics = Metrics::of_this_thread();
    let app = TestApp::start().await;
    let registry = app.local_only(app.cache_config());
    let mut bytes = Vec::new();
    for marker in 1..=9 {
        let template = template("payments", "refund", marker);
        registry.register_task_template(&template).await.unwrap();
        assert_eq!(current(&registry).await, json!(marker));
        assert_eq!(metrics.sum(&TEMPLATE_LOCAL_ENTRIES).to_string(), "1");
        bytes.push(metrics.sum(&TEMPLATE_LOCAL_BYTES).to_string());
    }
    assert_ne!(bytes[0], "0");
    bytes.dedup();
    assert_eq!(bytes.len(), 1, "{bytes:?}");
}

#[cfg(feature = "cache-redis")]
#[tokio::test]
async fn a_document_that_arrives_after_its_template_was_replaced_is_not_kept() {
    use futures::FutureExt;

    use crate::redis_view::{filled, own_redis};

    let app = TestApp::start().await;
    let redis = own_redis().await;
    let first = app.with_redis(&redis.url()).await;
    put(&first, "old").await;
    assert_eq!(current(&first).await, json!("old"));
    filled(&redis.url(), &app.key("payments", "refund", "1.0.0")).await;
    first.shutdown().await;

    // Counts the registry below alone.
    let metrics = Metrics::of_this_thread();
    let config = CacheConfig {
        // The index is polled on request only, and Redis has the time that the test needs.
        max_staleness_ms: 3_600_000,
        operation_timeout_ms: 10_000,
        ..app.cache_config()
    };
    let registry = app.with_redis_config(&redis.url(), config).await;
    let poll_the_index = async || {
        let unknown = registry.get_template("payments", "unknown", "1.0.0").await;
        assert!(unknown.is_err());
    };
    poll_the_index().await;
    let mut resolving = Box::pin(current(&registry));
    assert!(
        resolving.as_mut().now_or_never().is_none(),
        "Redis is asked"
    );
    app.uncached()
        .register_task_template(&template("payments", "refund", "new"))
        .await
        .unwrap();
    poll_the_index().await;
    // It gets the old document now, and continues with the current one.
    assert_eq!(resolving.await, json!("new"));
    assert_eq!(metrics.sum(&TEMPLATE_LOCAL_ENTRIES).to_string(), "1");
}
