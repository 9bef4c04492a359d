//! Answers about tasks that run.

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::{Api, request, step_path};
use super::engine::{Engine, step};
use super::hand::{Hand, returned};

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
    engine.until(waits, |waiting| waiting > 0).await;
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
async fn a_lost_attempt_counts_and_its_task_has_begun() {
    let engine = Engine::start().await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    let task = engine.create("one", json!({})).await;
    let mut hand = Hand::register(&engine).await;
    assert_eq!(hand.claim(1).await.len(), 1);
    assert_eq!(hand.lose(&engine).await, returned(1));
    let api = Api::of(&engine);
    let read = api.get(&format!("/v1/tasks/{task}")).await;
    assert_eq!(read["status"], "steps_in_process", "{read:#}");
    let step = &read["steps"][0];
    assert_eq!(
        (&step["current_state"], &step["status"], &step["attempts"]),
        (&json!("enqueued"), &json!("enqueued"), &json!(1))
    );
    let (status, cancelled) = api
        .send(Method::DELETE, &format!("/v1/tasks/{task}"), &Value::Null)
        .await;
    assert_eq!(status, 200, "{cancelled}");
    let read = api.get(&format!("/v1/tasks/{task}")).await;
    assert_eq!(read["steps"][0]["attempts"], 1, "{read:#}");
    assert_eq!(read["execution_status"], "cancelled");
    assert_eq!(
        engine.states(task).await,
        ["pending", "steps_in_process", "cancelled"]
    );
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

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_of_an_unknown_step_is_not_found() {
    let engine = Engine::start().await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    let api = Api::of(&engine);
    let (_, made) = api.send(Method::POST, "/v1/tasks", &request("one")).await;
    let task: Uuid = made["task_uuid"].as_str().unwrap().parse().unwrap();
    let known = json!({"workflow_step_uuid": made["step_mapping"]["a"]});
    let unknown = json!({"workflow_step_uuid": Uuid::now_v7()});
    for (task, step, status) in [
        (task, &known, 200),
        (task, &unknown, 404),
        (Uuid::now_v7(), &known, 404),
    ] {
        let path = format!("{}/audit", step_path(task, step));
        let (answered, body) = api.send(Method::GET, &path, &Value::Null).await;
        assert_eq!(answered, status, "{body}");
    }
}
