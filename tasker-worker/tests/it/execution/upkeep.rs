//! The recurring work of a service.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tasker_orchestration::upkeep;
use tasker_test_support::until;

use super::api::Api;
use super::engine::{CLAIMED, Engine, step};
use super::hand::Hand;

/// On one thread, whose metrics are those of this test.
#[tokio::test]
async fn a_service_returns_claims_of_unknown_workers_deletes_old_tasks_and_measures_the_queue() {
    let recorder: &'static _ = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let _metrics = metrics::set_default_local_recorder(recorder);
    let engine = Engine::start_with(|config| {
        config.orchestration.upkeep.interval_ms = 100;
        config.orchestration.upkeep.retention_days = 1;
    })
    .await;
    for (name, callable) in [("one", "ok"), ("foreign", "nobody.Has")] {
        engine
            .register(name, json!([step("a", callable, &[])]))
            .await;
    }
    let mut hand = Hand::register(&engine).await;
    engine.create("one", json!({})).await;
    let claim = hand.claim(1).await.remove(0);
    hand.complete(claim, 0).await;
    hand.order("UPDATE tasker.tasks SET ended_at = ended_at - interval '2 days'")
        .await;
    engine.create("one", json!({})).await;
    assert_eq!(hand.claim(1).await.len(), 1);
    hand.order("UPDATE tasker.step_queue SET claimed_by = gen_random_uuid()")
        .await;
    engine.create("foreign", json!({})).await;
    hand.order(
        "UPDATE tasker.step_queue SET due_at = now() - interval '90 seconds'
         WHERE callable = 'nobody.Has'",
    )
    .await;

    let upkeep = tokio::spawn(upkeep::run(Arc::clone(&engine.context)));
    engine.until(CLAIMED, |claimed| claimed == 0).await;
    let tasks = "SELECT count(*) FROM tasker.tasks";
    engine.until(tasks, |left| left == 2).await;
    let value = |name: &str| {
        let rendered = recorder.handle().render();
        let mut lines = rendered.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse::<f64>().unwrap())
    };
    until("the queue is measured", async || {
        value("tasker_queue_unhandled_oldest_seconds")
    })
    .await;
    for (name, expected) in [
        ("tasker_steps_requeued_total", 1.0),
        ("tasker_retention_tasks_deleted_total", 1.0),
        ("tasker_queue_steps{state=\"due\"}", 2.0),
        ("tasker_queue_steps{state=\"later\"}", 0.0),
        ("tasker_queue_steps{state=\"claimed\"}", 0.0),
        ("tasker_queue_unhandled_steps", 1.0),
    ] {
        assert_eq!(value(name), Some(expected), "{name}");
    }
    for name in [
        "tasker_queue_oldest_seconds",
        "tasker_queue_unhandled_oldest_seconds",
    ] {
        let age = value(name).unwrap();
        assert!((90.0..150.0).contains(&age), "{name} {age}");
    }
    let queue = Api::of(&engine).get("/v1/queue").await;
    for (callable, has_worker) in [(&queue[0], false), (&queue[1], true)] {
        assert_eq!(callable["has_worker"], has_worker, "{queue}");
    }
    let age = queue[0]["oldest_age_seconds"].as_f64().unwrap();
    assert!((90.0..150.0).contains(&age), "{queue}");
    upkeep.abort();
}
