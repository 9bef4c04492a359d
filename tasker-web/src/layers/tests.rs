//! Answers to requests that are wrong or slow, or that hit a bug of ours.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use futures::{FutureExt, stream};
use http::{Request, Response};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt;
use uuid::Uuid;

use super::{Waiting, serve_layers};
use crate::{ApiJson, ApiPath, ApiQuery};
use tasker_shared::config::tasker::WebConfig;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    lines: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    amount: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u32>,
}

async fn order(ApiJson(order): ApiJson<Order>) -> String {
    order
        .lines
        .iter()
        .map(|line| line.amount)
        .sum::<u32>()
        .to_string()
}

async fn by_uuid(ApiPath(uuid): ApiPath<Uuid>) -> String {
    uuid.to_string()
}

async fn page(ApiQuery(page): ApiQuery<Page>) -> String {
    format!("{:?}", page.limit)
}

async fn panics() -> String {
    panic!("the handler made a mistake");
}

async fn waits(waiting: Waiting) -> &'static str {
    waiting.begin(Duration::from_secs(10));
    tokio::time::sleep(Duration::from_millis(300)).await;
    "waited"
}

async fn never() -> String {
    std::future::pending().await
}

async fn send(request: Request<Body>) -> Response<Body> {
    let config = WebConfig {
        request_timeout_ms: 100,
        max_body_bytes: 4096,
        ..WebConfig::default()
    };
    let router = Router::new()
        .route("/orders", post(order))
        .route("/tasks/{uuid}", get(by_uuid))
        .route("/page", get(page))
        .route("/panics", get(panics))
        .route("/waits", get(waits))
        .route("/never", get(never));
    serve_layers(router, &config)
        .oneshot(request)
        .await
        .expect("a router always answers")
}

async fn problem(request: Request<Body>) -> Value {
    let response = send(request).await;
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let status = response.status().as_u16();
    let id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let bytes = response
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes();
    let mut body: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], id);
    body["request_id"] = "[id]".into();
    body
}

fn get_(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a request")
}

fn post_json(body: impl Into<Body>) -> Request<Body> {
    Request::post("/orders")
        .header("content-type", "application/json; charset=utf-8")
        .body(body.into())
        .expect("a request")
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    for (name, request) in [
        (
            "malformed_json_is_located",
            post_json("{\"lines\": [\n  {\"amount\": }]}"),
        ),
        (
            "a_wrong_shape_is_located",
            post_json(r#"{"lines": [{"amount": "two"}]}"#),
        ),
        ("a_large_body_is_refused", post_json(" ".repeat(4097))),
        (
            "a_body_of_another_type_is_refused",
            Request::post("/orders")
                .body(Body::from("{}"))
                .expect("a request"),
        ),
        ("a_bad_uuid_is_named", get_("/tasks/42")),
        ("an_unknown_query_parameter_is_named", get_("/page?limt=3")),
        (
            "an_unknown_route_is_a_problem",
            get_("/nowhere?token=secret"),
        ),
        ("a_panic_is_an_internal_error", get_("/panics")),
        ("a_request_that_takes_too_long_is_cancelled", get_("/never")),
    ] {
        insta::assert_json_snapshot!(name, problem(request).await);
    }
}

#[tokio::test]
async fn what_follows_the_json_is_an_error() {
    let body = problem(post_json(r#"{"lines": []} {}"#)).await;
    assert_eq!(body["code"], "invalid_json");
}

#[tokio::test]
async fn deep_nesting_is_refused_before_the_stack_ends() {
    let deep = format!("{{\"lines\":{}", "[".repeat(4000));
    let body = problem(post_json(deep.clone())).await;
    assert_eq!(body["status"].as_u64().map(|status| status / 100), Some(4));

    let as_value: Result<Value, _> =
        crate::extract::parse_json::<Value>(deep.as_bytes()).map_err(|problem| problem.kind().code);
    assert_eq!(as_value, Err("invalid_json"));
}

#[tokio::test]
async fn a_wrong_method_keeps_the_allow_header() {
    let response = send(get_("/orders")).await;
    assert_eq!(response.headers()["allow"], "POST");
    insta::assert_json_snapshot!(problem(get_("/orders")).await);
}

#[tokio::test]
async fn a_request_whose_body_is_late_is_answered_at_once() {
    let started = Instant::now();
    let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    assert_eq!(send(post_json(body)).await.status(), 504);
    assert!(started.elapsed() < super::unread::LIMIT);
}

#[tokio::test]
async fn a_request_that_waits_has_more_time() {
    assert_eq!(send(get_("/waits")).await.status(), 200);
}

#[tokio::test]
async fn every_answer_has_the_callers_request_id_and_the_security_headers() {
    let mut request = get_("/page?limit=3");
    request
        .headers_mut()
        .insert("x-request-id", "caller-7".parse().expect("a header"));
    let response = send(request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-request-id"], "caller-7");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn an_unknown_field_is_named_with_its_pointer_and_the_nearest_field() {
    let body = problem(post_json(r#"{"lines": [{"amount": 1, "amuont": 2}]}"#)).await;
    assert_eq!(
        (&body["status"], &body["code"]),
        (&400.into(), &"unknown_field".into())
    );
    assert_eq!(body["errors"][0]["pointer"], "/lines/0/amuont");
    assert_eq!(
        body["errors"][0]["detail"],
        "unknown field `amuont`; did you mean `amount`?"
    );
    let body = problem(post_json(r#"{"lines": [], "a/b": 2}"#)).await;
    assert_eq!(body["errors"][0]["pointer"], "/a~1b");
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let mut request = post_json(vec![0x1f, 0x8b, 8, 0]);
    let headers = request.headers_mut();
    headers.insert("content-encoding", "gzip".parse().expect("a header"));
    let body = problem(request).await;
    assert_eq!(body["status"], 415);
    assert_eq!(body["code"], "unsupported_media_type");
    let mut request = post_json(r#"{"lines": []}"#);
    let headers = request.headers_mut();
    headers.insert("content-encoding", "identity".parse().expect("a header"));
    assert_eq!(send(request).await.status(), 200);
}

#[tokio::test]
async fn a_nul_character_in_the_path_or_the_query_is_refused() {
    for (path, code) in [
        ("/tasks/%00", "invalid_path_parameter"),
        ("/page?limit=3&name=%00", "invalid_query_parameter"),
        ("/nowhere/%00", "invalid_path_parameter"),
    ] {
        let body = problem(get_(path)).await;
        assert_eq!(
            (&body["status"], &body["code"]),
            (&400.into(), &code.into())
        );
    }
}

#[tokio::test]
async fn requests_under_a_foreign_name_or_from_a_foreign_page_are_refused() {
    let mut rebound = get_("/page?limit=3");
    let headers = rebound.headers_mut();
    headers.insert("host", "evil.example".parse().expect("a header"));
    assert_eq!(problem(rebound).await["code"], "host_not_allowed");
    let mut posted = post_json(r#"{"lines": []}"#);
    let headers = posted.headers_mut();
    headers.insert("origin", "https://evil.example".parse().expect("a header"));
    assert_eq!(problem(posted).await["code"], "cross_site_request");
}

#[tokio::test]
async fn a_request_whose_client_goes_away_and_one_that_fails_are_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _local = metrics::set_default_local_recorder(&recorder);
    let mut given_up = Box::pin(send(get_("/never")));
    assert!(given_up.as_mut().now_or_never().is_none());
    drop(given_up);
    let counted = r#"tasker_http_requests_total{method="GET",route="/never",status="cancelled"} 1"#;
    assert!(handle.render().contains(counted), "{}", handle.render());
    problem(get_("/panics")).await;
    let counted = r#"tasker_http_server_errors_total{status="500"} 1"#;
    assert!(handle.render().contains(counted), "{}", handle.render());
}
