//! Health, metrics, configuration and API documents.

use std::time::{Duration, Instant};

use futures::FutureExt;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn health_tells_of_every_part() {
    let app = TestApp::start().await;
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.json()["status"], "healthy", "{path}");
        assert_eq!(answer.json()["service"], "tasker-orchestration", "{path}");
    }
    let detailed = app.get("/health/detailed").await.json();
    assert_eq!(detailed["status"], "healthy");
    assert_eq!(detailed["checks"]["database"]["status"], "healthy");
    assert_eq!(detailed["checks"]["cache"]["provider"], "noop");
    assert_eq!(detailed["checks"].get("directory"), None);
}

#[tokio::test]
async fn health_tells_how_current_the_directory_of_templates_is() {
    let app = TestApp::start_cached().await;
    app.register("order", json!({})).await;
    let health = app.get("/health/detailed").await.json();
    let directory = &health["checks"]["directory"];
    assert_eq!(directory["templates"], 1, "{directory}");
    assert_eq!(directory["within_bound"], true, "{directory}");
    assert_eq!(directory["max_age_ms"], 1000, "{directory}");
    assert!(directory["age_ms"].as_u64().unwrap() < 1000, "{directory}");

    // Nobody polls any more.
    app.context.task_handler_registry.shutdown().await;
    let started = Instant::now();
    loop {
        let health = app.get("/health/detailed").await.json();
        let directory = &health["checks"]["directory"];
        if directory["within_bound"] == false {
            assert_eq!(directory["status"], "degraded");
            assert_eq!(health["status"], "degraded");
            assert_eq!(app.get("/health/ready").await.status, 200);
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{directory}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_draining_service_is_not_ready_and_still_answers() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    app.lifecycle.begin_drain();
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    insta::assert_json_snapshot!(ready.problem());
    assert_eq!(app.get("/health/live").await.status, 200);
    assert_eq!(app.task_of("order", json!({})).await.status, 201);
}

#[tokio::test]
async fn a_lost_database_is_not_ready_but_alive() {
    let app = TestApp::start().await;
    app.service_pool().close().await;
    app.context.probe_pool().close().await;
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.problem()["code"], "database_unavailable");
    assert_eq!(app.get("/health/live").await.status, 200);
    let list = app.get("/v1/tasks").await;
    assert_eq!(list.status, 503);
    insta::assert_json_snapshot!(list.problem());
}

#[tokio::test]
async fn the_configuration_is_shown_without_secrets() {
    let app = TestApp::start().await;
    let shown = app.get("/config").await;
    assert_eq!(shown.status, 200);
    let url = shown.json()["common"]["database"]["url"].clone();
    assert!(url.as_str().unwrap().starts_with("postgres://"), "{url}");
    assert_eq!(
        tasker_shared::config::redact::url(url.as_str().unwrap()),
        url.as_str().unwrap()
    );
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_tasks_by_result() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    app.task_of("order", json!({})).await;
    let cancelled = async || {
        let metrics = app.get("/metrics").await.text;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(r#"tasker_tasks_total{result="cancelled"} "#));
        value.unwrap().parse::<u64>().unwrap()
    };
    let before = cancelled().await;
    let mut given_up = Box::pin(app.task_of("order", json!({"n": 1})));
    assert!(given_up.as_mut().now_or_never().is_none());
    drop(given_up);
    assert!(cancelled().await > before);
    app.get("/v1/tasks/01890a5d-ac96-774b-bcce-b302099a8057")
        .await;
    let metrics = app.get("/metrics").await.text;
    assert!(
        metrics.contains("tasker_tasks_total{result=\"created\"}"),
        "{metrics}"
    );
    assert!(
        metrics.contains("route=\"/v1/tasks/{task_uuid}\""),
        "{metrics}"
    );
    assert!(!metrics.contains("01890a5d"), "{metrics}");
    assert!(
        metrics.contains("# HELP tasker_http_request_duration_seconds"),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_api_is_documented_and_every_documented_route_exists() {
    let app = TestApp::start().await;
    let document = app.get("/api-docs/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 12, "{:?}", paths.keys());
    for path in paths.keys() {
        let answer = app.get(&path.replace(['{', '}'], "")).await;
        assert!(!answer.text.contains("route_not_found"), "{path}");
    }
    let page = app.get("/api-docs/ui/").await;
    assert_eq!(page.status, 200);
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
}

#[tokio::test]
async fn the_api_is_documented_with_the_bounds_that_it_keeps() {
    let document = TestApp::start()
        .await
        .get("/api-docs/openapi.json")
        .await
        .json();
    let schemas = &document["components"]["schemas"];
    let actions = schemas["StepAction"]["oneOf"].as_array().unwrap();
    for (action, by) in actions
        .iter()
        .zip(["reset_by", "resolved_by", "completed_by"])
    {
        assert_eq!(action["additionalProperties"], false, "{by}");
        let bounds = |field: &str| {
            let field = &action["properties"][field];
            (field["minLength"].clone(), field["maxLength"].clone())
        };
        assert_eq!(bounds(by), (json!(1), json!(255)));
        assert_eq!(bounds("reason"), (json!(1), json!(10_000)), "{by}");
    }
    let notes = &schemas["DlqUpdate"]["properties"]["resolution_notes"];
    assert_eq!(notes["minLength"], 1);
    let results = &schemas["WorkflowStep"]["properties"]["results"];
    assert_eq!(results.get("type"), None, "any JSON");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let unavailable = &operation["responses"]["503"];
            let is_incomplete = unavailable["description"] == "`database_unavailable`";
            assert!(!is_incomplete, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn counters_of_failures_exist_at_zero_before_the_first_failure() {
    let metrics = TestApp::start().await.get("/metrics").await.text;
    for series in [
        "tasker_tasks_total{result=\"failed\"}",
        "tasker_http_server_errors_total{status=\"500\"}",
        "tasker_http_accept_errors_total",
        "tasker_template_registrations_total{status=\"failed\"}",
        "tasker_template_cache_mismatch_total",
    ] {
        let line = metrics.lines().find(|line| line.starts_with(series));
        assert!(line.is_some(), "{series} is not in {metrics}");
    }
}
