//! Requests that wait for the ends of their tasks.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tasker_test_support::until;
use tasker_worker::{Handlers, StepContext, StepError};

use super::api::{Api, request, step_path};
use super::engine::{Engine, step};

/// A worker whose handler fails at first, and takes `time` when it is tried again or does not fail.
fn slow(time: Duration) -> Handlers {
    Handlers::new()
        .function("slow", move |_: StepContext| async move {
            tokio::time::sleep(time).await;
            Ok(())
        })
        .function("fails_first", move |step: StepContext| async move {
            if !step.is_retry() {
                return Err(StepError::permanent("no"));
            }
            tokio::time::sleep(time).await;
            Ok(())
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_longer_than_requests_may_take() {
    let engine =
        Engine::start_with(|config| config.orchestration.web.request_timeout_ms = 1000).await;
    engine
        .register("slow", json!([step("a", "slow", &[])]))
        .await;
    let api = Api::of(&engine);
    let _worker = engine.work(slow(Duration::from_secs(2)));
    let (status, task) = api
        .send(Method::POST, "/v1/tasks?wait=30s", &request("slow"))
        .await;
    assert_eq!(
        (status, &task["status"]),
        (201, &json!("complete")),
        "{task}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_over_answers_with_the_state_at_its_end() {
    let engine = Engine::start().await;
    engine
        .register("slow", json!([step("a", "slow", &[])]))
        .await;
    engine
        .register("first", json!([step("a", "fails_first", &[])]))
        .await;
    let api = Api::of(&engine);
    let _worker = engine.work(slow(Duration::from_mins(1)));
    // The worker is registered, and its connections are open.
    assert_eq!(engine.run("first", json!({})).await.1, "error");
    let (status, task) = api
        .send(Method::POST, "/v1/tasks?wait=2s", &request("slow"))
        .await;
    assert_eq!(
        (status, &task["status"]),
        (201, &json!("steps_in_process")),
        "{task}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_after_an_operators_reset_is_for_the_next_end() {
    let engine = Engine::start().await;
    engine
        .register("reset", json!([step("a", "fails_first", &[])]))
        .await;
    let api = Api::of(&engine);
    let _worker = engine.work(slow(Duration::from_secs(1)));
    let mut body = request("reset");
    body["idempotency_key"] = json!("key");
    let (_, task) = api.send(Method::POST, "/v1/tasks?wait=30s", &body).await;
    assert_eq!(task["status"], "error", "{task}");
    let step = json!({"workflow_step_uuid": task["step_mapping"]["a"]});
    let path = step_path(task["task_uuid"].as_str().unwrap().parse().unwrap(), &step);
    let reset = json!({"action_type": "reset_for_retry", "reset_by": "ann", "reason": "again"});
    assert_eq!(api.send(Method::PATCH, &path, &reset).await.0, 200);
    let (status, task) = api.send(Method::POST, "/v1/tasks?wait=30s", &body).await;
    assert_eq!(
        (status, &task["status"]),
        (200, &json!("complete")),
        "{task}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_answers_those_who_wait() {
    let engine = Engine::start().await;
    engine
        .register("never", json!([step("a", "unknown", &[])]))
        .await;
    let api = Api::of(&engine);
    let started = Instant::now();
    let body = request("never");
    let wait = api.send(Method::POST, "/v1/tasks?wait=60s", &body);
    let drain = async {
        until("the task is there", async || {
            (api.get("/v1/tasks").await["tasks"] != json!([])).then_some(())
        })
        .await;
        api.lifecycle.begin_drain();
    };
    let ((status, task), ()) = tokio::join!(wait, drain);
    assert_eq!(
        (status, &task["status"]),
        (201, &json!("pending")),
        "{task}"
    );
    assert!(started.elapsed() < Duration::from_secs(30));
}
