//! Tasks that failed, for people to look into.

use http::Method;
use serde_json::{Value, json};
use tasker_worker::{Handlers, StepContext, StepError};
use uuid::Uuid;

use super::api::{Api, step_path};
use super::engine::{Engine, step};

fn fails() -> Handlers {
    Handlers::new().function("fails", async |_: StepContext| -> Result<(), _> {
        Err(StepError::permanent("no"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_ends_however_many_and_large_the_errors_of_its_steps_are() {
    let engine = Engine::start().await;
    let steps: Vec<_> = (0..103)
        .map(|n| step(&format!("s{n:03}"), "fails", &[]))
        .collect();
    engine.register("wide", json!(steps)).await;
    let _worker = engine.work(Handlers::new().function(
        "fails",
        async |_: StepContext| -> Result<(), _> {
            let error = StepError::permanent("é".repeat(3000));
            Err(error.with_context(json!("x".repeat(100_000))))
        },
    ));
    let (task, state) = engine.run("wide", json!({})).await;
    assert_eq!(state, "error");
    let snapshot: Value = sqlx::query_scalar("SELECT task_snapshot FROM tasker.tasks_dlq")
        .fetch_one(engine.pool())
        .await
        .unwrap();
    assert_eq!(snapshot["failed_steps"].as_array().unwrap().len(), 100);
    assert_eq!(snapshot["failed_steps_in_all"], 103);
    assert_eq!(
        snapshot["failed_steps"][99]["error"],
        json!({"type": "PermanentError", "message": "é".repeat(2000), "retryable": false})
    );
    assert_eq!(
        engine.result(task, "s000").await["error"]["context"],
        json!("x".repeat(100_000))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_tasks_are_listed_and_resolved_once() {
    let engine = Engine::start().await;
    engine
        .register("bad", json!([step("a", "fails", &[])]))
        .await;
    let api = Api::of(&engine);
    let _worker = engine.work(fails());
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (task, state) = engine.run("bad", json!({"n": 7})).await;
        assert_eq!(state, "error");
        tasks.insert(0, json!(task));
    }
    let mut listed = Vec::new();
    let mut path = String::from("/v1/dlq?resolution_status=pending&limit=2");
    loop {
        let page = api.get(&path).await;
        listed.extend(page["entries"].as_array().unwrap().clone());
        let Some(cursor) = page.get("next_cursor") else {
            break;
        };
        path = format!("/v1/dlq?limit=2&cursor={}", cursor.as_str().unwrap());
    }
    let of_tasks: Vec<&Value> = listed.iter().map(|entry| &entry["task_uuid"]).collect();
    assert_eq!(of_tasks, tasks.iter().collect::<Vec<_>>());
    let entry = &listed[0];
    // The step ran, although nothing of the task was recorded before its end.
    assert_eq!(entry["original_state"], "steps_in_process", "{entry}");
    assert_eq!(entry["dlq_reason"], "max_retries_exceeded");

    let path = format!("/v1/dlq/{}", entry["dlq_entry_uuid"].as_str().unwrap());
    let whole = api.get(&path).await;
    assert_eq!(whole["task_snapshot"]["context"], json!({"n": 7}));
    assert_eq!(whole["task_snapshot"]["failed_steps"][0]["name"], "a");

    let resolve = async |body: Value| api.send(Method::PATCH, &path, &body).await;
    for body in [
        json!({"resolution_status": "pending", "resolved_by": "ann"}),
        json!({"resolution_status": "cancelled"}),
        json!({"resolution_status": "cancelled", "resolved_by": " "}),
        json!({"resolution_status": "cancelled", "resolved_by": "ann", "metadata": 7}),
        json!({"resolution_status": "cancelled", "resolved_by": "a\u{0}"}),
    ] {
        assert_eq!(resolve(body.clone()).await.0, 422, "{body}");
    }
    let body = json!({"resolution_status": "permanently_failed", "resolved_by": "ann",
        "resolution_notes": "the bank is gone", "metadata": {"ticket": {"id": 7, "of": "bank"}}});
    let (status, resolved) = resolve(body.clone()).await;
    assert_eq!(status, 200, "{resolved}");
    assert_eq!(resolved["resolution_status"], "permanently_failed");
    assert_eq!(
        resolved["metadata"],
        json!({"detection_method": "step_failure", "ticket": {"id": 7, "of": "bank"}})
    );
    let mut other = body.clone();
    other["metadata"]["ticket"] = json!({"id": 7});
    assert_eq!(resolve(body).await.0, 200, "the answer may have been lost");
    for late in [
        other,
        json!({"resolution_status": "cancelled", "resolved_by": "bob"}),
    ] {
        let (status, refused) = resolve(late).await;
        assert_eq!(status, 409);
        assert_eq!(refused["code"], "dlq_entry_resolved");
    }

    for (query, count) in [
        ("?resolution_status=pending", 2),
        ("?resolution_status=permanently_failed", 1),
        ("?resolution_status=cancelled", 0),
        ("", 3),
    ] {
        let page = api.get(&format!("/v1/dlq{query}")).await;
        assert_eq!(page["entries"].as_array().unwrap().len(), count, "{query}");
        let of_task = format!(
            "/v1/dlq{query}{}task_uuid={}",
            if query.is_empty() { '?' } else { '&' },
            tasks[0].as_str().unwrap()
        );
        let page = api.get(&of_task).await;
        let found = usize::from(query.is_empty() || query.ends_with("permanently_failed"));
        assert_eq!(
            page["entries"].as_array().unwrap().len(),
            found,
            "{of_task}"
        );
    }
    let unknown = format!("/v1/dlq/{}", Uuid::now_v7());
    let (status, problem) = api.send(Method::GET, &unknown, &Value::Null).await;
    assert_eq!(
        (status, &problem["code"]),
        (404, &json!("dlq_entry_not_found"))
    );
    let (status, problem) = api
        .send(
            Method::GET,
            "/v1/dlq?resolution_status=nonsense",
            &Value::Null,
        )
        .await;
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("validation_failed"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_on_a_step_resolves_the_pending_entry_of_its_task() {
    let engine = Engine::start().await;
    engine
        .register("bad", json!([step("a", "fails", &[])]))
        .await;
    let api = Api::of(&engine);
    let _worker = engine.work(fails());
    let (task, _) = engine.run("bad", json!({})).await;
    let read = api.get(&format!("/v1/tasks/{task}")).await;
    let reset = json!({"action_type": "reset_for_retry", "reset_by": "ann", "reason": "again"});
    let path = step_path(task, &read["steps"][0]);
    assert_eq!(api.send(Method::PATCH, &path, &reset).await.0, 200);
    assert_eq!(engine.end(task).await, "error");
    let list = api.get(&format!("/v1/dlq?task_uuid={task}")).await;
    let entries = list["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{list}");
    assert_eq!(entries[0]["resolution_status"], "pending");
    assert_eq!(entries[1]["resolution_status"], "manually_resolved");
    assert_eq!(entries[1]["resolved_by"], "ann");
    assert_eq!(entries[1]["resolution_notes"], "reset_for_retry: again");
}
