//! Answers about tasks that run.

use http::Method;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::api::Api;
use super::engine::{Engine, step};
use super::hand::Hand;

/// Read by two statements, the task and its steps would be from different moments.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_and_its_steps_are_of_one_moment() {
    let engine = Engine::start().await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    let task = engine.create("one", json!({})).await;
    let mut hand = Hand::register(&engine).await;
    let claimed = hand.claim(1).await.remove(0);
    hand.order("BEGIN").await;
    hand.complete(claimed, 0).await;
    // An answer has to wait here: after it has read the task, before it has read the steps.
    hand.order("LOCK TABLE tasker.workflow_step_edges").await;
    let api = Api::of(&engine);
    let reading = tokio::spawn(async move { api.get(&format!("/v1/tasks/{task}")).await });
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while engine.count(waits).await == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    hand.order("COMMIT").await;
    let read = reading.await.unwrap();
    assert_eq!(
        read["status"] == "complete",
        read["completed_steps"] == read["total_steps"],
        "{read:#}"
    );
    assert_eq!(read["step_count"], read["total_steps"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_listed_by_the_state_that_they_are_in() {
    let engine = Engine::start().await;
    engine
        .register(
            "two",
            json!([step("a", "ok", &[]), step("b", "ok", &["a"])]),
        )
        .await;
    let api = Api::of(&engine);
    let mut hand = Hand::register(&engine).await;
    let complete = engine.create("two", json!({})).await;
    for _ in 0..2 {
        let claimed = hand.claim(1).await.remove(0);
        hand.complete(claimed, 0).await;
    }
    let begun = engine.create("two", json!({})).await;
    let claimed = hand.claim(1).await.remove(0);
    hand.complete(claimed, 0).await;
    let cancelled = engine.create("two", json!({})).await;
    api.send(
        Method::DELETE,
        &format!("/v1/tasks/{cancelled}"),
        &Value::Null,
    )
    .await;
    let pending = engine.create("two", json!({})).await;
    for (status, task) in [
        ("complete", Some(complete)),
        ("steps_in_process", Some(begun)),
        ("cancelled", Some(cancelled)),
        ("pending", Some(pending)),
        ("error", None),
        ("waiting_for_retry", None),
        ("blocked_by_failures", None),
    ] {
        for filter in ["", "&namespace=test", "&namespace=test&name=two"] {
            let list = api.get(&format!("/v1/tasks?status={status}{filter}")).await;
            let tasks = list["tasks"].as_array().unwrap();
            let found: Vec<&Value> = tasks.iter().map(|task| &task["task_uuid"]).collect();
            let wanted: Vec<Value> = task.iter().map(|task| json!(task)).collect();
            assert_eq!(found, wanted.iter().collect::<Vec<_>>(), "{status}{filter}");
            assert!(tasks.iter().all(|task| task["status"] == status));
        }
        let other = api
            .get(&format!("/v1/tasks?status={status}&name=other"))
            .await;
        assert_eq!(other["tasks"], json!([]));
    }
}
