//! A template can be withdrawn: new tasks do not find it, and tasks that exist keep it.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use tasker_shared::models::core::task_template::TemplateDocument;

use crate::app::{Answer, TestApp};

const RETIREMENT: &str = "/v1/handlers/shop/order/1.0.0/retirement";

async fn send(app: &TestApp, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = match body {
        Some(body) => request
            .header("content-type", "application/json")
            .body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    };
    app.send(request.unwrap()).await
}

async fn check(app: TestApp) {
    app.register("order", json!({})).await;
    let task = app.task_of("order", json!({"n": 1})).await;
    assert_eq!(task.status, 201);
    let task = task.json()["task_uuid"].as_str().unwrap().to_owned();
    let none = app.get(RETIREMENT).await;
    assert_eq!(none.problem()["code"], "template_not_retired");

    let by_ann = json!({"retired_by": "ann"});
    let retired = send(&app, Method::PUT, RETIREMENT, Some(&by_ann)).await;
    assert_eq!(retired.status, 200, "{}", retired.text);
    let retired = retired.json();
    assert_eq!(retired["retired_by"], "ann");
    // The first retirement counts.
    let by_bob = json!({"retired_by": "bob"});
    let again = send(&app, Method::PUT, RETIREMENT, Some(&by_bob)).await;
    assert_eq!(again.json(), retired);
    assert_eq!(app.get(RETIREMENT).await.json(), retired);

    app.become_current().await;
    let refused = app.task_of("order", json!({"n": 2})).await;
    assert_eq!(refused.problem()["code"], "template_not_found");
    let listed = app.get("/v1/handlers/shop").await;
    assert_eq!(listed.problem()["code"], "namespace_not_found");
    assert_eq!(app.get(&format!("/v1/tasks/{task}")).await.status, 200);

    // A boot that still finds the file does not bring the template back.
    let document = json!({
        "name": "order",
        "namespace_name": "shop",
        "version": "1.0.0",
        "description": "changed",
        "steps": [{"name": "only", "handler": {"callable": "Shop::Only"}}],
    });
    let document = TemplateDocument::from_json(document).unwrap();
    let registry = &app.context.task_handler_registry;
    registry.register_task_template(&document).await.unwrap();
    app.become_current().await;
    assert_eq!(app.task_of("order", json!({"n": 3})).await.status, 404);

    let restored = send(&app, Method::DELETE, RETIREMENT, None).await;
    assert_eq!((restored.status, restored.text.as_str()), (204, ""));
    app.become_current().await;
    assert_eq!(app.task_of("order", json!({"n": 4})).await.status, 201);
}

#[tokio::test]
async fn a_retired_template_is_not_found_for_new_tasks() {
    check(TestApp::start().await).await;
}

#[tokio::test]
async fn a_retired_template_leaves_the_caches() {
    check(TestApp::start_cached().await).await;
}

#[tokio::test]
async fn unknown_templates_and_wrong_requests_are_refused() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    let body = json!({"retired_by": "ann"});
    let unknown = "/v1/handlers/shop/order/9/retirement";
    for (method, body) in [
        (Method::PUT, Some(&body)),
        (Method::GET, None),
        (Method::DELETE, None),
    ] {
        let answer = send(&app, method, unknown, body).await;
        let detail = answer.problem()["detail"].clone();
        assert!(
            detail.as_str().unwrap().contains("versions: 1.0.0"),
            "{detail}"
        );
    }
    for (body, status) in [
        (json!({}), 422),
        (json!({"retired_by": ""}), 422),
        (json!({"retired_by": "x".repeat(129)}), 422),
        (json!({"retired_by": "a\0b"}), 422),
        (json!({"retired_by": "ann", "reson": "x"}), 400),
    ] {
        let answer = send(&app, Method::PUT, RETIREMENT, Some(&body)).await;
        assert_eq!(answer.status, status, "{body}");
    }
    assert_eq!(app.get("/v1/handlers/shop").await.status, 200);
}
