//! Tasks over HTTP: waiting for their ends, and what operators see and do.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_worker::{Handlers, StepContext, StepError, StepOutcome};

use super::api::{Api, request, step_path};
use super::dynamic::edges;
use super::engine::{Engine, step};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_can_wait_for_the_end_of_its_task() {
    let engine = Engine::start().await;
    engine
        .register(
            "quick",
            json!([step("a", "ok", &[]), step("b", "ok", &["a"])]),
        )
        .await;
    engine
        .register("never", json!([step("a", "unknown", &[])]))
        .await;
    let api = Api::of(&engine);
    let _worker = engine.work(Handlers::new().function("ok", async |_: StepContext| Ok(())));
    for _ in 0..5 {
        let (status, task) = api
            .send(Method::POST, "/v1/tasks?wait=30s", &request("quick"))
            .await;
        assert_eq!(
            (status, &task["status"]),
            (201, &json!("complete")),
            "{task}"
        );
    }
    let started = Instant::now();
    let (status, task) = api
        .send(Method::POST, "/v1/tasks?wait=300ms", &request("never"))
        .await;
    assert_eq!(
        (status, &task["status"]),
        (201, &json!("pending")),
        "{task}"
    );
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        api.send(Method::POST, "/v1/tasks?wait=soon", &request("quick"))
            .await
            .0,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_and_repair_a_failed_task() {
    let engine = Engine::start().await;
    engine
        .register(
            "stuck",
            json!([step("a", "fails", &[]), step("b", "ok", &["a"])]),
        )
        .await;
    engine
        .register("foreign", json!([step("a", "nobody.Has", &[])]))
        .await;
    let api = Api::of(&engine);
    let _worker = engine.work(
        Handlers::new()
            .function("ok", async |step: StepContext| {
                step.dependency::<Value>("a")
            })
            .function("fails", async |step: StepContext| -> Result<(), _> {
                Err(StepError::permanent(format!("attempt {}", step.attempt())))
            }),
    );
    let (_, task) = api
        .send(Method::POST, "/v1/tasks?wait=30s", &request("stuck"))
        .await;
    assert_eq!(task["status"], "error", "{task}");
    let path = format!("/v1/tasks/{}", task["task_uuid"].as_str().unwrap());
    let details = api.get(&path).await;
    assert_eq!(details["failed_steps"], 1, "{details}");
    assert_eq!(details["execution_status"], "blocked_by_failures");
    let step = format!(
        "{path}/workflow_steps/{}",
        task["step_mapping"]["a"].as_str().unwrap()
    );
    let audit = api.get(&format!("{step}/audit")).await;
    assert_eq!(audit[0]["success"], false, "{audit}");
    let task_uuid = task["task_uuid"].as_str().unwrap().parse().unwrap();
    let reset = json!({"action_type": "reset_for_retry", "reset_by": "ops", "reason": "again"});
    assert_eq!(api.send(Method::PATCH, &step, &reset).await.0, 200);
    assert_eq!(engine.end(task_uuid).await, "error");
    let failed = engine.result(task_uuid, "a").await;
    assert_eq!(failed["error"]["message"], "attempt 2", "{failed}");
    let action = json!({
        "action_type": "complete_manually", "completion_data": {"x": 1}, "reason": "known good",
        "completed_by": "ops",
    });
    let (status, repaired) = api.send(Method::PATCH, &step, &action).await;
    assert_eq!(
        (status, &repaired["status"]),
        (200, &json!("complete")),
        "{repaired}"
    );
    assert_eq!(engine.end(task_uuid).await, "complete");
    assert_eq!(engine.result(task_uuid, "b").await, json!({"x": 1}));
    let open = "SELECT count(*) FROM tasker.tasks_dlq WHERE resolution_status = 'pending'";
    assert_eq!(engine.count(open).await, 0);
    assert_eq!(api.get(&path).await["completion_percentage"], 100.0);
    assert_eq!(api.send(Method::PATCH, &step, &action).await.0, 409);
    assert_eq!(api.send(Method::DELETE, &path, &Value::Null).await.0, 409);

    let (_, foreign) = api
        .send(Method::POST, "/v1/tasks", &request("foreign"))
        .await;
    let queue = api.get("/v1/queue").await;
    assert_eq!(queue[0]["callable"], "nobody.Has", "{queue}");
    assert_eq!(queue[0]["has_worker"], false);
    assert_eq!(api.get("/v1/workers").await[0]["alive"], true);
    let path = format!("/v1/tasks/{}", foreign["task_uuid"].as_str().unwrap());
    let (status, cancelled) = api.send(Method::DELETE, &path, &Value::Null).await;
    assert_eq!(
        (status, &cancelled["status"]),
        (200, &json!("cancelled")),
        "{cancelled}"
    );
    assert_eq!(api.get(&path).await["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_completed_by_hand_makes_its_branches() {
    let engine = Engine::start().await;
    let mut decision = step("route", "fails", &[]);
    decision["type"] = json!("decision");
    let steps = json!([
        decision,
        step("left", "ok", &["route"]),
        step("right", "ok", &["route"])
    ]);
    engine.register("route", steps).await;
    let api = Api::of(&engine);
    let _worker = engine.work(
        Handlers::new()
            .function("ok", async |_: StepContext| Ok(()))
            .function("fails", async |_: StepContext| -> Result<(), _> {
                Err(StepError::permanent("no"))
            }),
    );
    let (_, task) = api
        .send(Method::POST, "/v1/tasks?wait=30s", &request("route"))
        .await;
    assert_eq!(task["status"], "error", "{task}");
    let path = format!("/v1/tasks/{}", task["task_uuid"].as_str().unwrap());
    let step = format!(
        "{path}/workflow_steps/{}",
        task["step_mapping"]["route"].as_str().unwrap()
    );
    let action = |name: &str| {
        json!({
            "action_type": "complete_manually", "reason": "known", "completed_by": "ops",
            "completion_data": {
                "decision_point_outcome": {"type": "create_steps", "step_names": [name]},
            },
        })
    };
    assert_eq!(
        api.send(Method::PATCH, &step, &action("nowhere")).await.0,
        422
    );
    assert_eq!(api.send(Method::PATCH, &step, &action("left")).await.0, 200);
    assert_eq!(
        engine
            .end(task["task_uuid"].as_str().unwrap().parse().unwrap())
            .await,
        "complete"
    );
    assert_eq!(api.get(&path).await["total_steps"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_resolved_by_hand_holds_no_convergence_up() {
    let engine = Engine::start().await;
    let typed = |kind: &str, mut step: Value| {
        step["type"] = json!(kind);
        step
    };
    let steps = json!([
        typed("decision", step("route", "route", &[])),
        step("left", "ok", &["route"]),
        typed("decision", step("deep", "fails", &["route"])),
        step("deeper", "ok", &["deep"]),
        typed(
            "deferred_convergence",
            step("end", "ok", &["left", "deeper"])
        ),
    ]);
    engine.register("nested", steps).await;
    let api = Api::of(&engine);
    let _worker = engine.work(
        Handlers::new()
            .function("ok", async |_: StepContext| Ok(()))
            .function("route", async |_: StepContext| {
                Ok(StepOutcome::create_steps(["left", "deep"]))
            })
            .function("fails", async |_: StepContext| -> Result<(), _> {
                Err(StepError::permanent("no"))
            }),
    );
    let (task, state) = engine.run("nested", json!({})).await;
    assert_eq!(state, "error");
    let steps = api.get(&format!("/v1/tasks/{task}/workflow_steps")).await;
    let deep = steps
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["name"] == "deep");
    let deep = deep.unwrap()["workflow_step_uuid"].as_str().unwrap();
    let action = json!({"action_type": "resolve_manually", "reason": "done", "resolved_by": "ops"});
    let path = format!("/v1/tasks/{task}/workflow_steps/{deep}");
    let (status, resolved) = api.send(Method::PATCH, &path, &action).await;
    assert_eq!(
        (status, &resolved["status"]),
        (200, &json!("resolved_manually")),
        "{resolved}"
    );
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(
        edges(&engine, task).await,
        ["left>end", "route>deep", "route>left"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_an_operator_creates_have_the_retries_of_the_environment_if_it_can_be_read() {
    let engine = Engine::start_with(|config| config.common.environment = "test".into()).await;
    let mut decision = step("route", "nobody", &[]);
    decision["type"] = json!("decision");
    let mut left = step("left", "nobody", &["route"]);
    left["retry"] = json!({"max_attempts": 7});
    let document = TemplateDocument::from_json(json!({
        "name": "route", "namespace_name": "test", "version": "1.0.0", "steps": [decision, left],
        "environments": {"test": {"steps": [{"name": "left", "retry": {"max_attempts": 8}}]}},
    }));
    let registry = &engine.context.task_handler_registry;
    let registered = registry.register_task_template(&document.unwrap()).await;
    registered.unwrap();
    let api = Api::of(&engine);
    let action = json!({
        "action_type": "complete_manually", "reason": "known", "completed_by": "ops",
        "completion_data": {
            "decision_point_outcome": {"type": "create_steps", "step_names": ["left"]},
        },
    });
    for (overridden, attempts) in [(json!(9), 9), (json!("nine"), 7)] {
        // By hand, because a registration refuses overrides that cannot be read.
        sqlx::query(
            "UPDATE tasker.named_tasks SET configuration = jsonb_set(
                 configuration, '{environments,test,steps,0,retry,max_attempts}', $1)",
        )
        .bind(overridden)
        .execute(engine.pool())
        .await
        .unwrap();
        let task = engine.create("route", json!({"n": attempts})).await;
        let path = format!("/v1/tasks/{task}");
        let read = api.get(&path).await;
        let route = step_path(task, &read["steps"][0]);
        let (status, done) = api.send(Method::PATCH, &route, &action).await;
        assert_eq!(status, 200, "{done}");
        let read = api.get(&path).await;
        assert_eq!(read["steps"][1]["name"], "left", "{read}");
        assert_eq!(read["steps"][1]["max_attempts"], attempts);
    }
}
