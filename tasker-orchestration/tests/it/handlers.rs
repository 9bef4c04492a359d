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
    assert_eq!(app.get("/v1/handlers/%00").await.status, 400);
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

#[tokio::test]
async fn lists_come_in_pages_that_link_to_the_next() {
    let app = TestApp::start().await;
    for name in ["a", "b", "c"] {
        app.register(name, json!({})).await;
        app.register("order", json!({"namespace_name": name})).await;
    }
    for (path, count) in [("/v1/handlers", 4), ("/v1/handlers/shop", 3)] {
        let mut next = Some(format!("{path}?limit=1"));
        let mut found = Vec::new();
        while let Some(page) = next {
            let answer = app.get(&page).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let items = answer.json();
            assert_eq!(items.as_array().unwrap().len(), 1);
            found.push(items[0]["name"].as_str().unwrap().to_owned());
            next = answer.headers.get("link").map(|link| {
                let link = link.to_str().unwrap().strip_prefix('<').unwrap();
                link.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
            });
        }
        assert_eq!(found.len(), count, "{path}: {found:?}");
        assert!(found.is_sorted());
        assert_eq!(app.get(path).await.json().as_array().unwrap().len(), count);
        for wrong in ["limit=0", "limit=1001", "cursor=7", "cursor=00", "page=2"] {
            let answer = app.get(&format!("{path}?{wrong}")).await;
            assert_eq!(answer.problem()["code"], "invalid_query_parameter");
        }
    }
}

#[tokio::test]
async fn a_template_that_is_not_there_names_the_nearest_and_its_versions() {
    let app = TestApp::start().await;
    app.register("order_fulfillment", json!({})).await;
    app.register("order_fulfillment", json!({"version": "2.0.0"}))
        .await;
    let of_tasks = app.task_of("order_fulfilment", json!({})).await;
    let of_handlers = app.get("/v1/handlers/shop/order_fulfilment").await;
    for answer in [of_tasks, of_handlers] {
        assert_eq!(answer.status, 404);
        let problem = answer.problem();
        assert_eq!(problem["code"], "template_not_found");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("Did you mean shop/order_fulfillment?"),
            "{detail}"
        );
        assert!(
            detail.contains("Registered versions: 2.0.0, 1.0.0."),
            "{detail}"
        );
    }
    let version = app
        .get("/v1/handlers/shop/order_fulfillment?version=3")
        .await;
    let problem = version.problem();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("Registered versions: 2.0.0, 1.0.0."),
        "{detail}"
    );
}
