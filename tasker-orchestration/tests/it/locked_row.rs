//! A template whose row is locked, and everything else.

use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tasker_test_support::TestDatabase;

use crate::process::{PATIENCE, Service, program};

/// Clients that want tasks of the locked template.
const CLIENTS: usize = 30;
/// The time for which the row is locked: longer than any limit of a query.
const HELD: Duration = Duration::from_secs(7);
/// The connections of a service: its pool, and those of polls, probes and notifications.
const CONNECTIONS: i64 = 20 + 6;
/// The most by which the lock may delay others, on a busy machine.
const DELAY: Duration = Duration::from_millis(100);

/// The templates `locked` and `free`.
pub(crate) const TEMPLATES: &str = r#"
INSERT INTO tasker.task_namespaces (name) VALUES ('shop');
INSERT INTO tasker.named_tasks (task_namespace_uuid, name, version, configuration)
SELECT task_namespace_uuid, t.name, '1.0.0', jsonb_build_object(
    'name', t.name, 'namespace_name', 'shop', 'version', '1.0.0',
    'task_handler', '{"callable": "Shop::Handler"}'::jsonb,
    'steps', '[{"name": "only", "handler": {"callable": "Shop::Only"}}]'::jsonb)
FROM tasker.task_namespaces, unnest(ARRAY['locked', 'free']) AS t (name)
"#;

async fn start(database: &TestDatabase) -> Service {
    let mut program = program();
    program.env("TASKER__COMMON__CACHE__ENABLED", "true");
    Service::start_program(program, database).await
}

/// Asks for a task, and returns the answer's status.
pub(crate) async fn post(client: &Client, service: &str, name: &str) -> u16 {
    let request = json!({
        "name": name, "namespace": "shop", "version": "1.0.0",
        "context": {"id": uuid::Uuid::now_v7()},
    });
    let request = client.post(format!("{service}/v1/tasks")).json(&request);
    request.send().await.unwrap().status().as_u16()
}

/// Makes tasks of the free template and asks for readiness for so long. Returns the median and the
/// longest time that one took.
async fn use_for(time: Duration, client: &Client, services: &[String]) -> (Duration, Duration) {
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < time {
        for service in services {
            let sent = Instant::now();
            assert_eq!(post(client, service, "free").await, 201);
            times.push(sent.elapsed());
            let sent = Instant::now();
            let ready = client.get(format!("{service}/health/ready"));
            assert_eq!(ready.send().await.unwrap().status(), 200);
            times.push(sent.elapsed());
        }
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

#[tokio::test]
async fn a_locked_template_delays_its_own_tasks_only() {
    let database = TestDatabase::create().await.unwrap();
    let services = [start(&database).await, start(&database).await];
    let urls = services.each_ref().map(|service| service.url.clone());
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    admin.execute(TEMPLATES).await.unwrap();
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    for url in &urls {
        assert_eq!(post(&client, url, "locked").await, 201);
    }
    let (before, _) = use_for(Duration::from_secs(1), &client, &urls).await;

    let mut holder = PgConnection::connect(database.url()).await.unwrap();
    let lock = "BEGIN; SELECT FROM tasker.named_tasks WHERE name = 'locked' FOR UPDATE";
    holder.execute(lock).await.unwrap();
    let posting: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (client, url) = (client.clone(), urls[number % urls.len()].clone());
            tokio::spawn(async move {
                loop {
                    let status = post(&client, &url, "locked").await;
                    assert!(matches!(status, 201 | 503), "{status}");
                }
            })
        })
        .collect();
    let (during, longest) = use_for(HELD, &client, &urls).await;
    eprintln!("median {before:?} before, {during:?} during, longest {longest:?}");
    assert!(
        during < before + DELAY,
        "{before:?} before, {during:?} during"
    );
    assert!(longest < before + 5 * DELAY, "the longest took {longest:?}");

    let backends = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                    AND application_name = 'tasker'";
    let backends: i64 = sqlx::query_scalar(backends)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert!(backends <= 2 * CONNECTIONS, "{backends} backends");

    for client in &posting {
        client.abort();
    }
    for client in posting {
        assert!(client.await.unwrap_err().is_cancelled());
    }
    holder.execute("ROLLBACK").await.unwrap();
    for url in &urls {
        assert_eq!(post(&client, url, "locked").await, 201);
    }
}
