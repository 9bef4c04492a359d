//! The parts of a new task.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::Row;
use tasker_shared::config::tasker::{CacheConfig, TaskerConfig};

use crate::app::TestApp;

/// Every table that a task is made of, with the number of its rows.
async fn rows(app: &TestApp) -> Vec<(&'static str, i64)> {
    let mut rows = Vec::new();
    for table in [
        "tasks",
        "task_transitions",
        "workflow_steps",
        "step_queue",
        "workflow_step_edges",
    ] {
        rows.push((table, app.count(table).await));
    }
    rows
}

fn step(name: &str, kind: &str, dependencies: &[&str]) -> Value {
    json!({
        "name": name, "type": kind, "dependencies": dependencies,
        "handler": {"callable": "Shop::Step"},
    })
}

fn diamond() -> Value {
    json!([
        step("start", "standard", &[]),
        step("left", "standard", &["start"]),
        step("right", "standard", &["start"]),
        step("end", "standard", &["left", "right"]),
    ])
}

#[tokio::test]
async fn a_task_is_made_with_its_steps_and_edges_and_its_first_step_is_queued() {
    let app = TestApp::start().await;
    app.register("diamond", json!({"steps": diamond()})).await;

    let answer = app.task_of("diamond", json!({"order": 7})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let body = answer.json();
    let uuid = body["task_uuid"].as_str().unwrap().to_owned();
    assert_eq!(answer.headers["location"], format!("/v1/tasks/{uuid}"));
    assert_eq!(body["created"], true);
    assert_eq!(body["status"], "pending");
    assert_eq!(body["step_count"], 4);
    assert_eq!(body.get("deduplicated_from"), None);
    let mut names: Vec<_> = body["step_mapping"].as_object().unwrap().keys().collect();
    names.sort_unstable();
    assert_eq!(names, ["end", "left", "right", "start"]);
    assert_eq!(
        rows(&app).await,
        [
            ("tasks", 1),
            ("task_transitions", 1),
            ("workflow_steps", 4),
            ("step_queue", 1),
            ("workflow_step_edges", 4),
        ]
    );

    let task = app.get(&format!("/v1/tasks/{uuid}")).await.json();
    let hash: String = sqlx::query_scalar("SELECT content_hash FROM tasker.template_versions")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(body["template_hash"], hash);
    assert_eq!(task["template_hash"], hash);
    assert_eq!(task["context"], json!({"order": 7}));
    assert_eq!(task["initiator"], "system");
    assert_eq!(task["source_system"], "tasker-core");
    assert_eq!(task["reason"], "Task requested");

    let steps = app
        .get(&format!("/v1/tasks/{uuid}/workflow_steps"))
        .await
        .json();
    let end = steps
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["name"] == "end")
        .unwrap();
    assert_eq!(end["dependencies"], json!(["left", "right"]));
    assert_eq!(end["status"], "pending");
    assert_eq!(end["workflow_step_uuid"], body["step_mapping"]["end"]);
}

#[tokio::test]
async fn retry_settings_reach_the_steps_and_zero_stays_zero() {
    let app = TestApp::start().await;
    let mut never = step("never", "standard", &[]);
    never["retry"] = json!({"retryable": false, "max_attempts": 0});
    let mut often = step("often", "standard", &[]);
    often["retry"] = json!({"retryable": true, "max_attempts": 9});
    app.register("retries", json!({"steps": [never, often]}))
        .await;
    assert_eq!(app.task_of("retries", json!({})).await.status, 201);
    let rows = sqlx::query(
        "SELECT n.name, s.retryable, s.max_attempts FROM tasker.workflow_steps s
         JOIN tasker.named_steps n USING (named_step_uuid) ORDER BY n.name",
    )
    .fetch_all(app.pool())
    .await
    .unwrap();
    let found: Vec<(String, bool, i32)> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert_eq!(
        found,
        [("never".into(), false, 0), ("often".into(), true, 9)]
    );
}

#[tokio::test]
async fn every_field_of_the_request_is_kept() {
    let app = TestApp::start().await;
    app.register("full", json!({})).await;
    let correlation = "01890a5d-ac96-774b-bcce-b302099a8057";
    let parent = "01890a5d-ac96-774b-bcce-b302099a8058";
    let asked = json!({
        "name": "full", "namespace": "shop", "version": "1.0.0",
        "context": {"ü": [1, 2.5, null, {"deep": true}]},
        "initiator": "me", "source_system": "shop", "reason": "because",
        "tags": ["one", "two"], "priority": -3, "options": {"fast": true},
        "requested_at": "2024-02-29T12:00:00Z",
        "correlation_id": correlation, "parent_correlation_id": parent,
    });
    let uuid = app.post_task(&asked).await.json()["task_uuid"].clone();
    let task = app
        .get(&format!("/v1/tasks/{}", uuid.as_str().unwrap()))
        .await
        .json();
    for (key, value) in asked.as_object().unwrap() {
        assert_eq!(&task[key], value, "{key}");
    }
}

#[tokio::test]
async fn a_template_that_is_deleted_while_it_is_known_makes_no_task() {
    for app in [TestApp::start().await, TestApp::start_cached().await] {
        app.register("gone", json!({})).await;
        assert_eq!(app.task_of("gone", json!({"n": 1})).await.status, 201);
        sqlx::raw_sql("DELETE FROM tasker.tasks; DELETE FROM tasker.named_tasks")
            .execute(app.pool())
            .await
            .unwrap();
        let answer = app.task_of("gone", json!({"n": 2})).await;
        let code = answer.problem()["code"].clone();
        assert!(
            code == "template_not_found" || code == "template_changed",
            "{answer:?}"
        );
        assert_eq!(app.count("tasks").await, 0);
    }
}

#[tokio::test]
async fn a_cached_template_that_is_replaced_makes_the_next_task_within_the_bound() {
    let app = TestApp::start_cached().await;
    app.register("order", json!({})).await;
    let old = app.task_of("order", json!({"n": 0})).await.json();
    // By hand, so that nobody tells this process.
    sqlx::query(
        "UPDATE tasker.named_tasks SET configuration = jsonb_set(configuration, '{steps}', '[]')",
    )
    .execute(app.pool())
    .await
    .unwrap();
    // Every answer is whole, of the old template or of the new one, and the new one comes.
    let bound = CacheConfig::default().max_staleness_ms;
    let limit = Duration::from_millis(bound) + Duration::from_secs(10);
    let started = Instant::now();
    for n in 1.. {
        assert!(started.elapsed() < limit, "the new one does not come");
        let body = app.task_of("order", json!({"n": n})).await.json();
        let same = body["template_hash"] == old["template_hash"];
        assert_eq!(body["step_count"], i32::from(same), "{body}");
        if !same {
            break;
        }
    }
}

#[tokio::test]
async fn step_names_that_were_deleted_are_made_again() {
    let app = TestApp::start().await;
    app.register("again", json!({})).await;
    assert_eq!(app.task_of("again", json!({"n": 1})).await.status, 201);
    sqlx::raw_sql("DELETE FROM tasker.tasks; DELETE FROM tasker.named_steps")
        .execute(app.pool())
        .await
        .unwrap();
    assert_eq!(app.task_of("again", json!({"n": 2})).await.status, 201);
}

#[tokio::test]
async fn a_step_is_created_with_the_attempts_of_its_environment() {
    let mut config = TaskerConfig::default();
    config.common.environment = String::from("staging");
    let app = TestApp::start_with(config).await;
    let step = |name: &str| json!({"name": name, "handler": {"callable": "Shop::Step"}, "retry": {"max_attempts": 3}});
    let overrides = json!([{"name": "less", "retry": {"max_attempts": 2}}]);
    let more = json!({
        "steps": [step("less"), step("same")], "environments": {"staging": {"steps": overrides}},
    });
    app.register("overridden", more).await;
    let answer = app.task_of("overridden", json!({})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let attempts: Vec<(String, i32)> = sqlx::query_as(
        "SELECT n.name::text, s.max_attempts FROM tasker.workflow_steps s
         JOIN tasker.named_steps n USING (named_step_uuid) ORDER BY n.name",
    )
    .fetch_all(app.pool())
    .await
    .unwrap();
    assert_eq!(attempts, [("less".to_owned(), 2), ("same".to_owned(), 3)]);
}

fn identities(answers: &[(u16, Value)]) -> BTreeSet<&str> {
    let bodies = answers.iter().map(|(_, body)| body);
    bodies
        .filter_map(|body| body["task_uuid"].as_str())
        .collect()
}

/// Asks for a task of each context, all at once.
async fn at_once(app: &TestApp, contexts: impl Iterator<Item = String>) -> Vec<(u16, Value)> {
    let requests = contexts.map(|context| async move {
        let body = format!(
            r#"{{"name": "order", "namespace": "shop", "version": "1.0.0", "priority": 3,
                 "context": {context}}}"#
        );
        let answer = app.post_body(body).await;
        (answer.status, answer.json())
    });
    join_all(requests).await
}

#[tokio::test]
async fn requests_that_come_at_once_get_a_task_each_and_equal_ones_the_same() {
    let app = TestApp::start().await;
    app.register("order", json!({"steps": diamond()})).await;
    let answers = at_once(&app, (0..60).map(|n| format!(r#"{{"order": {}}}"#, n % 40))).await;
    let created = answers.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(created, 40);
    assert_eq!(identities(&answers).len(), 40);
    for (n, (status, body)) in answers.iter().enumerate() {
        assert_eq!(body["created"], json!(*status == 201));
        let uuid = body["task_uuid"].as_str().unwrap();
        let task = app.get(&format!("/v1/tasks/{uuid}")).await.json();
        assert_eq!(task["context"], json!({"order": n % 40}));
        let mapping = body["step_mapping"].as_object().unwrap();
        assert_eq!(mapping.len(), 4);
        for step in task["steps"].as_array().unwrap() {
            assert_eq!(
                mapping[step["name"].as_str().unwrap()],
                step["workflow_step_uuid"]
            );
        }
    }
    assert_eq!(
        rows(&app).await,
        [
            ("tasks", 40),
            ("task_transitions", 40),
            ("workflow_steps", 160),
            ("step_queue", 40),
            ("workflow_step_edges", 160),
        ]
    );
    let edges_within_tasks: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM tasker.workflow_step_edges e
         JOIN tasker.workflow_steps f ON f.workflow_step_uuid = e.from_step_uuid
         JOIN tasker.workflow_steps t ON t.workflow_step_uuid = e.to_step_uuid
             AND t.task_uuid = f.task_uuid AND t.priority = 3",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    assert_eq!(edges_within_tasks, 160);
}

#[tokio::test]
async fn a_request_that_postgresql_refuses_spoils_no_other_of_the_same_moment() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    assert_eq!(app.task_of("order", json!({})).await.status, 201);
    let contexts = (0..30).map(|n| match n {
        // A jsonb cannot store it.
        7 => String::from(r#"{"n": 1e-99999}"#),
        _ => format!(r#"{{"n": {n}}}"#),
    });
    let answers = at_once(&app, contexts).await;
    for (n, (status, body)) in answers.iter().enumerate() {
        assert_eq!(*status, if n == 7 { 422 } else { 201 }, "{body}");
    }
    assert_eq!(answers[7].1["code"], "validation_failed");
    assert_eq!(app.count("tasks").await, 30);
}

#[tokio::test]
async fn a_request_that_waits_for_a_lock_holds_up_no_other_of_the_same_moment() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    assert_eq!(app.task_of("order", json!({"n": 7})).await.status, 201);
    // Another session is about to create a task with this identity.
    let mut other = app.pool().begin().await.unwrap();
    sqlx::query("UPDATE tasker.tasks SET identity_hash = 'other'")
        .execute(&mut *other)
        .await
        .unwrap();
    let contexts = (0..20).map(|n| format!(r#"{{"n": {n}}}"#));
    let answers = async {
        let before = Instant::now();
        let waits = at_once(&app, std::iter::once(String::from(r#"{"n": 7}"#)));
        let others = async {
            let answers = at_once(&app, contexts.filter(|context| !context.contains('7'))).await;
            assert!(before.elapsed() < Duration::from_secs(3));
            other.commit().await.unwrap();
            answers
        };
        tokio::join!(waits, others)
    };
    let (waited, others) = answers.await;
    assert!(others.iter().all(|(status, _)| *status == 201));
    assert_eq!(waited[0].0, 201);
    assert_eq!(app.count("tasks").await, 20);
}
