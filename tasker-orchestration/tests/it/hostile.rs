//! Hostile requests: they are refused within their budget, and others do not notice.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tasker_shared::config::tasker::{CacheConfig, TaskerConfig};
use tasker_test_support::TestDatabase;
use tokio::task::JoinSet;

use crate::app::TestApp;
use crate::process::{Service, program};

/// The duration of the flood in seconds, if `FLOOD_SECONDS` does not say otherwise.
const FLOOD: u64 = 5;
const CLIENTS: usize = 8;

/// An ordinary rule language: the three alternatives look at the same `not` again and again.
fn rule_language() -> Value {
    json!({
        "$defs": {"rule": {"oneOf": [
            {"properties": {"not": {"$ref": "#/$defs/rule"}}},
            {"properties": {"not": {"$ref": "#/$defs/rule"},
                "and": {"type": "array", "items": {"$ref": "#/$defs/rule"}}}},
            {"properties": {"not": {"$ref": "#/$defs/rule"}, "field": {"type": "string"}}},
        ]}},
        "properties": {"rule": {"$ref": "#/$defs/rule"}},
    })
}

fn nested_rule() -> Value {
    let rule = (0..50).fold(json!({"field": "a"}), |rule, _| json!({"not": rule}));
    json!({"rule": rule})
}

#[tokio::test]
async fn a_context_that_takes_too_long_to_check_is_refused() {
    let app = TestApp::start().await;
    app.register("rules", json!({"input_schema": rule_language()}))
        .await;
    let started = Instant::now();
    let answer = app.task_of("rules", nested_rule()).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(answer.status, 422);
    let problem = answer.problem();
    assert_eq!(problem["code"], "context_too_complex");
    assert!(problem["detail"].as_str().unwrap().contains("oneOf"));
    assert_eq!(app.count("tasks").await, 0);
    let rule = json!({"rule": {"field": "a"}});
    assert_ne!(app.task_of("rules", rule).await.status, 503);
}

#[tokio::test]
async fn thousands_of_requests_at_once_are_served_by_a_healthy_database() {
    let mut config = TaskerConfig::default();
    // Long, because tests share their cores.
    config.orchestration.web.request_timeout_ms = 60_000;
    config.common.cache = Some(CacheConfig {
        enabled: true,
        max_staleness_ms: 500,
        redis: None,
        ..CacheConfig::default()
    });
    let app = TestApp::start_with(config).await;
    app.register("order", json!({})).await;
    let requests = (0..3_000).map(|number| app.task_of("order", json!({"number": number})));
    let answers = futures::future::join_all(requests).await;
    for answer in &answers {
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    assert_eq!(app.count("tasks").await, 3_000);
}

/// Registers `default/rules/0.1.0` and `default/order/0.1.0`.
async fn register_templates(database: &TestDatabase) {
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    sqlx::query("INSERT INTO tasker.task_namespaces (name) VALUES ('default')")
        .execute(&mut connection)
        .await
        .unwrap();
    for (name, schema) in [("rules", rule_language()), ("order", json!({}))] {
        let template = json!({
            "name": name, "namespace_name": "default", "version": "0.1.0",
            "task_handler": {"callable": "Any"}, "steps": [], "input_schema": schema,
        });
        sqlx::query(
            "INSERT INTO tasker.named_tasks (task_namespace_uuid, name, configuration)
             SELECT task_namespace_uuid, $1, $2 FROM tasker.task_namespaces",
        )
        .bind(name)
        .bind(template)
        .execute(&mut connection)
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_large_bodies_at_once_fit_into_memory() {
    let database = TestDatabase::create().await.unwrap();
    let mut program = program();
    // Long, because tests share their cores.
    program.env("TASKER__ORCHESTRATION__WEB__REQUEST_TIMEOUT_MS", "60000");
    let service = Service::start_program(program, &database).await;
    register_templates(&database).await;
    let zeros = vec!["0"; 500_000].join(",");
    let mut requests = JoinSet::new();
    for number in 0..200 {
        // Some 16 MB each, if it were parsed.
        let body = format!(r#"{{"name":"order","context":{{"number":{number},"a":[{zeros}]}}}}"#);
        let tasks = format!("{}/v1/tasks", service.url);
        requests.spawn(async move {
            // By default a client gives up on a service that read nothing for 30 s.
            let client = reqwest::Client::builder().tcp_user_timeout(None).build();
            let request = client.unwrap().post(tasks);
            let request = request
                .header("content-type", "application/json")
                .body(body);
            request.send().await.unwrap().status().as_u16()
        });
    }
    let statuses = requests.join_all().await;
    assert!(statuses.contains(&201), "{statuses:?}");
    for status in statuses {
        assert!([201, 503].contains(&status), "{status}");
    }
    let peak = service.peak_memory();
    println!("200 bodies of 1 MB: at most {peak} MiB");
    assert!(peak < 1_024, "{peak} MiB");
}

/// Returns the 99th percentile.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Posts bodies from several clients for so long. Returns the 99th percentile of liveness meanwhile, and
/// how many requests were served and refused.
async fn flood(
    service: &Service,
    time: Duration,
    body: impl Fn(usize, usize) -> Value + Copy + Send + 'static,
) -> (Duration, usize, usize) {
    let end = Instant::now() + time;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let tasks = format!("{}/v1/tasks", service.url);
        clients.spawn(async move {
            let client = reqwest::Client::new();
            let (mut served, mut refused) = (0, 0);
            while Instant::now() < end {
                let body = body(number, served + refused);
                let response = client.post(&tasks).json(&body).send().await.unwrap();
                match response.status().as_u16() {
                    201 => served += 1,
                    422 | 503 => refused += 1,
                    status => panic!("{status}"),
                }
            }
            (served, refused)
        });
    }
    let live = format!("{}/health/live", service.url);
    let client = reqwest::Client::new();
    let mut liveness = Vec::new();
    while Instant::now() < end {
        let started = Instant::now();
        let response = client.get(&live).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        liveness.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (served, refused): (Vec<_>, Vec<_>) = clients.join_all().await.into_iter().unzip();
    (
        p99(liveness),
        served.into_iter().sum(),
        refused.into_iter().sum(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_hostile_bodies_delays_neither_liveness_nor_other_tasks_nor_the_end() {
    let database = TestDatabase::create().await.unwrap();
    let mut service = Service::start(&database).await;
    register_templates(&database).await;
    let tasks = format!("{}/v1/tasks", service.url);
    // The same load without hostility shows how busy the machine is.
    let (usual, served, _) = flood(
        &service,
        Duration::from_secs(2),
        |client, number| json!({"name": "order", "context": {"client": client, "number": number}}),
    )
    .await;
    let seconds = std::env::var("FLOOD_SECONDS").ok();
    let seconds = seconds.map_or(FLOOD, |seconds| seconds.parse().unwrap());
    let others = tokio::spawn({
        let tasks = tasks.clone();
        let end = Instant::now() + Duration::from_secs(seconds);
        async move {
            let client = reqwest::Client::new();
            let mut times = Vec::new();
            while Instant::now() < end {
                let started = Instant::now();
                let order = json!({"name": "order", "context": {"number": times.len()}});
                let response = client.post(&tasks).json(&order).send().await.unwrap();
                assert_eq!(response.status().as_u16(), 201);
                times.push(started.elapsed());
            }
            times
        }
    });
    let hostile = |_, _| json!({"name": "rules", "context": nested_rule()});
    let (liveness, accepted, refused) =
        flood(&service, Duration::from_secs(seconds), hostile).await;
    let others = others.await.unwrap();
    println!(
        "{refused} hostile bodies refused; liveness p99 {liveness:?}, before {usual:?}; \
         {} other tasks, p99 {:?}; at most {} MiB",
        others.len(),
        p99(others.clone()),
        service.peak_memory(),
    );
    assert!(served > 0 && refused > 0 && !others.is_empty());
    assert_eq!(accepted, 0);
    // An idle machine needs a few milliseconds.
    assert!(
        liveness < Duration::from_millis(250) + 2 * usual,
        "{liveness:?}, before {usual:?}"
    );

    service.signal(Signal::TERM);
    service.logged("stopped").await;
    assert_eq!(service.exit_code().await, Some(0));
}
