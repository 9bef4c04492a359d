//! Which requests are the same.

use serde_json::{Value, json};

use crate::app::{TestApp, request_of};

async fn set_strategy(app: &TestApp, strategy: &str) {
    sqlx::query("UPDATE tasker.named_tasks SET identity_strategy = $1::tasker.identity_strategy")
        .bind(strategy)
        .execute(app.pool())
        .await
        .unwrap();
    app.context
        .task_handler_registry
        .invalidate_all_templates()
        .await;
}

fn with_key(context: &Value, key: &str) -> Value {
    let mut request = request_of("order", context);
    request["idempotency_key"] = json!(key);
    request
}

#[tokio::test]
async fn the_same_context_is_the_same_task_whatever_the_order_of_its_keys() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    let first = app
        .post_body(
            r#"{"name":"order","namespace":"shop","version":"1.0.0","context":{"a":1,"b":2}}"#,
        )
        .await;
    let second = app
        .post_body(
            r#"{"name":"order","namespace":"shop","version":"1.0.0","context":{"b":2,"a":1}}"#,
        )
        .await;
    assert_eq!((first.status, second.status), (201, 200));
    let (first, second) = (first.json(), second.json());
    assert_eq!(second["created"], false);
    assert_eq!(second["deduplicated_from"], first["task_uuid"]);
    for key in [
        "task_uuid",
        "status",
        "created_at",
        "step_count",
        "step_mapping",
        "template_hash",
    ] {
        assert_eq!(second[key], first[key], "{key}");
    }
    let other = app.task_of("order", json!({"a": 1, "b": 3})).await;
    assert_eq!(other.status, 201);
    assert_eq!(app.count("tasks").await, 2);
}

#[tokio::test]
async fn contexts_with_other_digits_are_other_tasks_and_shown_as_they_were_sent() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    for (amount, status) in [
        ("12345678901234567.89", 201),
        ("12345678901234567.91", 201),
        ("1234567890123456789e-2", 200),
    ] {
        let names = r#""name":"order","namespace":"shop","version":"1.0.0""#;
        let body = format!(r#"{{{names},"context":{{"amount":{amount}}}}}"#);
        let answer = app.post_body(body).await;
        assert_eq!(answer.status, status, "{amount}");
        if status == 201 {
            let task = answer.json();
            let path = format!("/v1/tasks/{}", task["task_uuid"].as_str().unwrap());
            let shown = app.get(&path).await.text;
            assert!(shown.contains(amount), "{shown}");
        }
    }
}

#[tokio::test]
async fn of_many_same_requests_at_once_exactly_one_makes_the_task() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    let request = request_of("order", &json!({"n": 1}));
    let mut answers = Vec::new();
    let together = (0..16).map(|_| app.post_task(&request));
    for answer in futures::future::join_all(together).await {
        answers.push((answer.status, answer.json()["task_uuid"].clone()));
    }
    let made = answers.iter().filter(|(status, _)| *status == 201).count();
    let found = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!((made, found), (1, 15), "{answers:?}");
    assert!(answers.iter().all(|(_, uuid)| *uuid == answers[0].1));
    assert_eq!(app.count("tasks").await, 1);
    assert_eq!(app.count("workflow_steps").await, 1);
}

#[tokio::test]
async fn caller_provided_asks_for_a_key() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    set_strategy(&app, "caller_provided").await;
    let answer = app.task_of("order", json!({})).await;
    assert_eq!(answer.status, 422);
    insta::assert_json_snapshot!(answer.problem());
    assert_eq!(app.count("tasks").await, 0);
    assert_eq!(app.post_task(&with_key(&json!({}), "k")).await.status, 201);
}
