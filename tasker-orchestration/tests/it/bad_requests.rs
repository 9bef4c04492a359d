//! Wrong requests get a clear problem and change nothing.

use axum::body::Body;
use http::Request;
use serde_json::json;

use crate::app::{TestApp, request_of};

#[tokio::test]
async fn a_context_that_does_not_fit_the_schema_is_refused_with_every_violation() {
    let app = TestApp::start().await;
    let schema = json!({
        "type": "object",
        "required": ["order_id"],
        "properties": {
            "order_id": {"type": "integer"},
            "lines": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
        },
    });
    app.register("order", json!({"input_schema": schema})).await;
    let answer = app
        .task_of(
            "order",
            json!({"order_id": "secret", "lines": [{"sku": 1}, {}]}),
        )
        .await;
    assert_eq!(answer.status, 422);
    insta::assert_json_snapshot!(answer.problem());
    assert_eq!(app.count("tasks").await, 0);
    assert_eq!(
        app.task_of("order", json!({"order_id": 7})).await.status,
        201
    );
}

#[tokio::test]
async fn an_input_schema_that_cannot_be_used_is_the_templates_fault() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    // Registering checks the schema; other software that writes to the database may not.
    sqlx::query(
        r#"UPDATE tasker.named_tasks SET configuration = configuration
           || '{"input_schema": {"$ref": "http://127.0.0.1:1/schema.json"}}'"#,
    )
    .execute(app.pool())
    .await
    .unwrap();
    let answer = app.task_of("order", json!({})).await;
    assert_eq!(answer.problem()["code"], "template_schema_invalid");
    assert_eq!(app.count("tasks").await, 0);
}

#[tokio::test]
async fn text_and_numbers_that_postgresql_cannot_store_are_refused_in_an_action_on_a_step() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    let task = app.task_of("order", json!({})).await.json();
    let step = format!(
        "/v1/tasks/{}/workflow_steps/{}",
        task["task_uuid"].as_str().unwrap(),
        task["step_mapping"]["only"].as_str().unwrap(),
    );
    let action = |by: &str, reason: &str, result: &str| {
        format!(
            r#"{{"action_type": "complete_manually", "completed_by": "{by}", "reason": "{reason}",
                "completion_data": {result}}}"#
        )
    };
    for body in [
        action(r"\u0000", "why", "{}"),
        action("me", r"w\u0000", "{}"),
        action("me", "why", r#"{"a": [{"\u0000": 1}]}"#),
        action("me", "why", r#"{"a": "\u0000"}"#),
        action("me", "why", r#"{"a": 18446744073709551616}"#),
    ] {
        let request = Request::patch(&step)
            .header("content-type", "application/json")
            .body(Body::from(body.clone()))
            .unwrap();
        let answer = app.send(request).await;
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert_eq!(answer.problem()["code"], "validation_failed", "{body}");
    }
    let steps = "SELECT count(*) FROM tasker.workflow_steps WHERE processed";
    let done: i64 = sqlx::query_scalar(steps)
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(done, 0);
}

#[tokio::test]
async fn integers_of_operators_that_would_lose_digits_are_named() {
    let app = TestApp::start().await;
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (path, body, pointer) in [
        (
            format!("/v1/tasks/{id}/workflow_steps/{id}"),
            r#"{"action_type": "complete_manually", "completed_by": "me", "reason": "why",
                "completion_data": {"amounts": [1, 18446744073709551617]}}"#,
            "/completion_data/amounts/1",
        ),
        (
            format!("/v1/dlq/{id}"),
            r#"{"resolution_status": "cancelled", "resolved_by": "me",
                "metadata": {"ticket": -9223372036854775809}}"#,
            "/metadata/ticket",
        ),
    ] {
        let request = Request::patch(path)
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let answer = app.send(request).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(answer.problem()["errors"][0]["pointer"], pointer);
    }
}

#[tokio::test]
async fn a_number_that_a_jsonb_cannot_hold_is_blamed_on_what_has_it() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    for (options, pointer) in [("null", "/context"), (r#"{"n": 1}"#, "")] {
        let body = format!(
            r#"{{"name": "order", "namespace": "shop", "version": "1.0.0",
                "context": {{"n": 1e-99999}}, "options": {options}}}"#
        );
        let answer = app.post_body(body).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        let error = answer.problem()["errors"][0].clone();
        assert_eq!(error["pointer"], pointer, "{error}");
        let detail = error["detail"].as_str().unwrap();
        assert_eq!(detail.contains("`options`"), pointer.is_empty(), "{detail}");
    }
}

#[tokio::test]
async fn an_unknown_template_is_named() {
    let app = TestApp::start().await;
    let answer = app.task_of("nothing", json!({})).await;
    assert_eq!(answer.status, 404);
    insta::assert_json_snapshot!(answer.problem());
}

#[tokio::test]
async fn a_request_that_the_database_cannot_hold_is_refused_whole() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    let mut request = request_of("order", &json!({"a": ["\0"]}));
    request["reason"] = json!("x".repeat(129));
    request["tags"] = json!(["fine", "not\0fine"]);
    let answer = app.post_task(&request).await;
    assert_eq!(answer.status, 422);
    insta::assert_json_snapshot!(answer.problem());
    assert_eq!(app.count("tasks").await, 0);
}

#[tokio::test]
async fn bodies_that_are_no_task_requests_are_refused() {
    let app = TestApp::start().await;
    for (body, status, code) in [
        (String::from("{"), 400, "invalid_json"),
        (String::new(), 400, "invalid_json"),
        (String::from("\u{0}"), 400, "invalid_json"),
        (String::from("{}"), 422, "invalid_body"),
        (String::from(r#"{"name": 7}"#), 422, "invalid_body"),
        (
            String::from(r#"{"name": "a", "correlation_id": "7"}"#),
            422,
            "invalid_body",
        ),
        (
            String::from(r#"{"name": "a", "context": [1]}"#),
            422,
            "validation_failed",
        ),
        (
            format!(r#"{{"name": "a", "context": {}"#, "[".repeat(10_000)),
            400,
            "invalid_json",
        ),
        (" ".repeat(1024 * 1024 + 1), 413, "body_too_large"),
    ] {
        let start: String = body.chars().take(40).collect();
        let answer = app.post_body(body).await;
        assert_eq!(answer.status, status, "{start}");
        assert_eq!(answer.problem()["code"], code, "{start}");
    }
    let form = Request::post("/v1/tasks")
        .body(Body::from("name=a"))
        .unwrap();
    assert_eq!(
        app.send(form).await.problem()["code"],
        "unsupported_media_type"
    );
}

#[tokio::test]
async fn unknown_and_malformed_ids_are_told_apart() {
    let app = TestApp::start().await;
    let unknown = "/v1/tasks/01890a5d-ac96-774b-bcce-b302099a8057";
    insta::assert_json_snapshot!(app.get(unknown).await.problem());
    let steps = app.get(&format!("{unknown}/workflow_steps")).await;
    assert_eq!(steps.problem()["code"], "task_not_found");
    let malformed = app.get("/v1/tasks/7").await;
    assert_eq!(malformed.status, 400);
    assert_eq!(malformed.problem()["code"], "invalid_path_parameter");
}

#[tokio::test]
async fn wrong_queries_are_refused() {
    let app = TestApp::start().await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "cursor=7",
        "nmae=x",
        "name=%00",
    ] {
        let answer = app.get(&format!("/v1/tasks?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(
            answer.problem()["code"],
            "invalid_query_parameter",
            "{query}"
        );
    }
}

#[tokio::test]
async fn an_unknown_field_is_refused_because_the_task_would_miss_it() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    for (unknown, nearest) in [
        ("contxt", "context"),
        ("idempotency_kay", "idempotency_key"),
        ("namespace_name", "namespace"),
        ("Priority", "priority"),
    ] {
        let mut request = request_of("order", &json!({}));
        request[unknown] = json!({"order_id": 7});
        let answer = app.post_task(&request).await;
        assert_eq!(answer.status, 400, "{unknown}");
        let problem = answer.problem();
        assert_eq!(problem["code"], "unknown_field");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{unknown}"));
        let detail = problem["errors"][0]["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.ends_with(&format!("did you mean `{nearest}`?")),
            "{detail}"
        );
    }
    assert_eq!(app.count("tasks").await, 0);
}

#[tokio::test]
async fn characters_that_postgresql_cannot_hold_are_refused_in_every_field() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    for field in [
        "name",
        "namespace",
        "version",
        "initiator",
        "source_system",
        "reason",
        "idempotency_key",
    ] {
        let mut request = request_of("order", &json!({}));
        request[field] = json!("a\0b");
        let answer = app.post_task(&request).await;
        assert_eq!(answer.status, 422, "{field}");
        assert_eq!(
            answer.problem()["errors"][0]["pointer"],
            format!("/{field}")
        );
    }
    for body in [
        r#"{"name":"order","namespace":"shop","version":"1.0.0","context":{"a":"\ud800"}}"#,
        r#"{"name":"order","namespace":"shop","version":"1.0.0","context":{"\udc00":1}}"#,
        r#"{"name":"order","namespace":"shop","version":"1.0.0","context":{"a":{"b":"\u0000"}}}"#,
    ] {
        let answer = app.post_body(body).await;
        assert!(
            [400, 422].contains(&answer.status),
            "{body}: {}",
            answer.text
        );
    }
    for path in [
        "/v1/tasks?status=%00",
        "/v1/tasks/%00",
        "/v1/handlers/a/%00",
        "/v1/handlers/a/b?version=%00",
        "/v1/templates/cache/entries?namespace=%00",
    ] {
        assert_eq!(app.get(path).await.status, 400, "{path}");
    }
    assert_eq!(app.count("tasks").await, 0);
}
