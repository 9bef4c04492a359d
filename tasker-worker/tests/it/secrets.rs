//! A worker prints and answers no password, whatever fails.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tasker_test_support::{PostgresServer, RedisServer, ServiceProcess, free_port};

use crate::support::{folder, template};

const PATIENCE: Duration = Duration::from_secs(30);
/// Random letters, which are the same in a URL and in JSON.
const SECRETS: [&str; 2] = ["qZpWvNtRkLmXhGbY", "tYdKsJcMwPzQxVnB"];

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_printed_or_answered_through_all_failures() {
    let files = folder(&[
        ("order.yaml", template("shop", "order")),
        ("wrong.yaml", Value::Null),
    ]);
    // This PostgreSQL accepts any password.
    let [postgres_secret, redis_secret] = SECRETS;
    let postgres = PostgresServer::start().await.unwrap();
    let redis = RedisServer::start_with(&["--requirepass", redis_secret])
        .await
        .unwrap();
    let password = format!("postgres:{postgres_secret}@");
    let database_url = postgres.url("postgres").replacen("postgres@", &password, 1);
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let worker = ServiceProcess::start(
        "tasker-worker",
        Path::new(env!("CARGO_BIN_EXE_tasker-worker")),
        &[
            ("DATABASE_URL", &*database_url),
            (
                "REDIS_URL",
                &*redis
                    .url()
                    .replacen("//", &format!("//:{redis_secret}@"), 1),
            ),
            ("TASKER__COMMON__CACHE__ENABLED", "true"),
            ("TASKER__WORKER__WEB__BIND_ADDRESS", &*address),
            ("TASKER_TEMPLATE_PATH", &*files.path().to_string_lossy()),
            ("TASKER_LOG_FORMAT", "human"),
            ("RUST_LOG", "trace"),
        ],
    )
    .await
    .unwrap();
    wait_until(&worker, &address, "healthy").await;
    let mut answers = get_all(&address).await;
    for health in ["degraded", "healthy", "unhealthy", "healthy"] {
        match health {
            "degraded" => redis.kill().await.unwrap(),
            "unhealthy" => postgres.kill().await.unwrap(),
            _ => {
                redis.restart().await.unwrap();
                postgres.restart().await.unwrap();
            }
        }
        wait_until(&worker, &address, health).await;
        answers += &get_all(&address).await;
    }
    worker.stop().await.unwrap();
    let log = worker.log();
    for expected in ["TRACE", "sqlx::query", "stopped"] {
        assert!(log.contains(expected), "the log has no {expected}");
    }
    for line in log.lines().chain(answers.lines()) {
        assert!(
            !SECRETS.iter().any(|secret| line.contains(secret)),
            "{line}"
        );
    }
}

async fn wait_until(worker: &ServiceProcess, address: &str, health: &str) {
    let started = Instant::now();
    let expected = format!("\"status\":\"{health}\"");
    while !get(address, "/health/detailed").await.1.contains(&expected) {
        worker.check_alive().unwrap();
        assert!(
            started.elapsed() < PATIENCE,
            "not {health}:\n{}",
            worker.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Requests all routes, with parameters that identify nothing.
async fn get_all(address: &str) -> String {
    let (_, document) = get(address, "/api-docs/openapi.json").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut answers = String::new();
    for path in document["paths"].as_object().unwrap().keys() {
        let (headers, body) = get(address, &path.replace(['{', '}'], "")).await;
        answers.extend([headers, String::from("\n"), body, String::from("\n")]);
    }
    answers
}

/// Returns headers and body, or the error.
async fn get(address: &str, path: &str) -> (String, String) {
    match reqwest::get(format!("http://{address}{path}")).await {
        Ok(answer) => {
            let headers = format!("{:?}", answer.headers());
            (headers, answer.text().await.unwrap_or_default())
        }
        Err(error) => (format!("{error:?}"), String::new()),
    }
}
