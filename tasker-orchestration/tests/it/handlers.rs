//! The templates that tasks can be made from.

use axum::body::Body;
use http::Request;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn templates_are_listed_by_namespace_and_version() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/v1/handlers").await.json(), json!([]));
    app.register("order", json!({})).await;
    app.register("order", json!({"version": "2.0.0"})).await;
    app.register("refund", json!({"description": "Money back"}))
        .await;

    let namespaces = app.get("/v1/handlers").await.json();
    assert_eq!(
        namespaces,
        json!([{"name": "shop", "handler_count": 2, "version_count": 3}])
    );
    let listed = app.get("/v1/handlers/shop").await.json();
    let found: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["name"].as_str().unwrap(), t["version"].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [("order", "1.0.0"), ("order", "2.0.0"), ("refund", "1.0.0")]
    );
    assert_eq!(listed[2]["description"], "Money back");
    assert_eq!(
        app.get("/v1/handlers/none").await.problem()["code"],
        "namespace_not_found"
    );
    assert_eq!(app.get("/v1/handlers/%00").await.status, 404);
}

#[tokio::test]
async fn one_template_is_shown_whole_and_its_etag_is_its_hash() {
    let app = TestApp::start().await;
    app.register("order", json!({"metadata": {"notes": ["kept", null]}}))
        .await;
    app.register("order", json!({"version": "2.0.0"})).await;

    let latest = app.get("/v1/handlers/shop/order").await.json();
    assert_eq!(latest["version"], "2.0.0");
    assert_eq!(latest["versions"], json!(["2.0.0", "1.0.0"]));

    let path = "/v1/handlers/shop/order?version=1.0.0";
    let answer = app.get(path).await;
    let body = answer.json();
    assert_eq!(body["template"]["metadata"]["notes"], json!(["kept", null]));
    assert_eq!(body["identity_strategy"], "strict");
    let tag = answer.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", body["hash"].as_str().unwrap()));

    let again = Request::get(path)
        .header("if-none-match", &tag)
        .body(Body::empty())
        .unwrap();
    let again = app.send(again).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));

    let unknown = app.get("/v1/handlers/shop/order?version=9").await;
    assert_eq!(unknown.problem()["code"], "template_not_found");
}
