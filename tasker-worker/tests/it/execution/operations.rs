//! The traces of operators' actions.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tasker_test_support::until;
use tasker_worker::{Handlers, StepContext, StepError};
use uuid::Uuid;

use super::api::{Api, step_path};
use super::engine::{Engine, step};

fn handlers() -> Handlers {
    Handlers::new()
        .function("fails", async |_: StepContext| -> Result<(), _> {
            Err(StepError::permanent("no"))
        })
        .function("busy", async |step: StepContext| -> Result<(), _> {
            if step.is_retry() {
                return Ok(());
            }
            Err(StepError::retryable("busy").retry_after(Duration::from_mins(10)))
        })
        .function("wait", async |step: StepContext| {
            step.cancelled().await;
            Ok(())
        })
        .function("after", async |step: StepContext| {
            Ok(json!({"seen": step.dependency::<Value>("a")?}))
        })
}

/// Waits until a step is in a state, and returns its task.
async fn until_in_state(api: &Api, task: Uuid, name: &str, state: &str) -> Value {
    until(&format!("{name} is {state}"), async || {
        let read = api.get(&format!("/v1/tasks/{task}")).await;
        (named(&read, name)["current_state"] == state).then_some(read)
    })
    .await
}

fn named<'a>(task: &'a Value, name: &str) -> &'a Value {
    let steps = task["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap()
}

fn reset() -> Value {
    json!({"action_type": "reset_for_retry", "reset_by": "ann", "reason": "again"})
}

fn resolve() -> Value {
    json!({"action_type": "resolve_manually", "resolved_by": "ann", "reason": "paid"})
}

fn complete(result: &Value) -> Value {
    json!({"action_type": "complete_manually", "completed_by": "ann", "reason": "paid",
        "completion_data": result})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_stays_blocked_while_another_of_its_steps_has_failed() {
    let engine = Engine::start().await;
    let steps = json!([
        step("x", "fails", &[]),
        step("y", "fails", &[]),
        step("long", "wait", &[]),
    ]);
    engine.register("two", steps).await;
    let api = Api::of(&engine);
    let _worker = engine.work(handlers());
    let task = engine.create("two", json!({})).await;
    for name in ["x", "y"] {
        until_in_state(&api, task, name, "error").await;
    }
    let read = until_in_state(&api, task, "long", "in_progress").await;
    assert_eq!(read["status"], "blocked_by_failures");
    for (name, status) in [("x", "blocked_by_failures"), ("y", "steps_in_process")] {
        let path = step_path(task, named(&read, name));
        assert_eq!(api.send(Method::PATCH, &path, &resolve()).await.0, 200);
        let read = api.get(&format!("/v1/tasks/{task}")).await;
        assert_eq!(read["status"], status, "after {name}");
    }
    assert_eq!(
        engine.states(task).await,
        [
            "pending",
            "steps_in_process",
            "blocked_by_failures",
            "steps_in_process"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_an_operator_or_a_cancellation_ends_is_recorded() {
    let engine = Engine::start().await;
    engine
        .register("long", json!([step("a", "wait", &[])]))
        .await;
    let api = Api::of(&engine);
    let _worker = engine.work(handlers());
    for (action, state, reason) in [
        (
            Some(complete(&json!({"x": 1}))),
            "complete",
            "complete_manually",
        ),
        (Some(resolve()), "resolved_manually", "resolve_manually"),
        (None, "cancelled", "cancelled"),
    ] {
        let task = engine.create("long", json!({})).await;
        let running = until_in_state(&api, task, "a", "in_progress").await;
        let (worker, path) = (
            &running["steps"][0]["claimed_by"],
            step_path(task, &running["steps"][0]),
        );
        let (status, answer) = if let Some(action) = action {
            api.send(Method::PATCH, &path, &action).await
        } else {
            let path = format!("/v1/tasks/{task}");
            api.send(Method::DELETE, &path, &Value::Null).await
        };
        assert_eq!(status, 200, "{answer}");
        let step = api.get(&path).await;
        assert_eq!(
            (&step["current_state"], &step["attempts"]),
            (&json!(state), &json!(1)),
            "{step:#}"
        );
        assert_eq!(
            engine.journal(task).await,
            [format!(
                "a: enqueued(dependencies_complete) in_progress(claimed) {state}({reason})"
            )]
        );
        let audit = api.get(&format!("{path}/audit")).await;
        assert_eq!(audit.as_array().unwrap().len(), 1, "{audit}");
        assert_eq!(audit[0]["success"], false);
        assert_eq!(&audit[0]["worker_uuid"], worker);
        assert_eq!(audit[0]["to_state"], state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_resolved_has_no_result() {
    let engine = Engine::start().await;
    let steps = json!([step("a", "fails", &[]), step("b", "after", &["a"])]);
    engine.register("pair", steps).await;
    let api = Api::of(&engine);
    let _worker = engine.work(handlers());
    let (task, _) = engine.run("pair", json!({})).await;
    let read = api.get(&format!("/v1/tasks/{task}")).await;
    let path = step_path(task, named(&read, "a"));
    let (status, step) = api.send(Method::PATCH, &path, &resolve()).await;
    assert_eq!((status, &step["results"]), (200, &Value::Null), "{step:#}");
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(engine.result(task, "b").await, json!({"seen": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_a_step_that_waits_is_recorded() {
    let engine = Engine::start().await;
    let retry = json!({"max_attempts": 3, "backoff": "none"});
    let steps = json!([{"name": "a", "handler": {"callable": "busy"}, "retry": retry}]);
    engine.register("busy", steps).await;
    let api = Api::of(&engine);
    let _worker = engine.work(handlers());
    let task = engine.create("busy", json!({})).await;
    let read = until_in_state(&api, task, "a", "waiting_for_retry").await;
    let path = step_path(task, &read["steps"][0]);
    assert_eq!(api.send(Method::PATCH, &path, &reset()).await.0, 200);
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(
        engine.journal(task).await,
        [
            "a: enqueued(dependencies_complete) in_progress(claimed) waiting_for_retry(retryable_error) \
          enqueued(reset_for_retry) in_progress(claimed) complete(handler_completed)"
        ]
    );
    let by =
        "SELECT count(*) FROM tasker.workflow_step_transitions WHERE metadata ->> 'by' = 'ann'";
    assert_eq!(engine.count(by).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_needs_an_operator_a_reason_and_an_object_as_result() {
    let engine = Engine::start().await;
    engine
        .register("bad", json!([step("a", "fails", &[])]))
        .await;
    let api = Api::of(&engine);
    let _worker = engine.work(handlers());
    let (task, _) = engine.run("bad", json!({})).await;
    let read = api.get(&format!("/v1/tasks/{task}")).await;
    let path = step_path(task, &read["steps"][0]);
    let mut wrong: Vec<Value> = [
        json!(null),
        json!("text"),
        json!([1]),
        json!(5),
        json!({"a": "\u{0}"}),
    ]
    .iter()
    .map(complete)
    .collect();
    for (field, text) in [
        ("reset_by", String::new()),
        ("reset_by", String::from("  ")),
        ("reset_by", "x".repeat(256)),
        ("reason", String::from(" ")),
        ("reason", String::from("a\u{0}b")),
    ] {
        let mut action = reset();
        action[field] = json!(text);
        wrong.push(action);
    }
    for action in wrong {
        let (status, problem) = api.send(Method::PATCH, &path, &action).await;
        assert_eq!(status, 422, "{action}: {problem}");
    }
    assert_eq!(engine.states(task).await.len(), 3, "nothing was done");
}
