//! No password is in anything that the program says, whatever happens to it.

use std::path::Path;

use serde_json::Value;
use tasker_testkit::{GuardedServers, Secret, ServiceProcess, free_port, ordeal};

use crate::support::{folder, template};

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_printed_or_answered_through_all_failures() {
    let servers = GuardedServers::start().await.unwrap();
    let client = Secret::new();
    let files = folder(&[
        ("order.yaml", template("shop", "order")),
        ("wrong.yaml", Value::Null),
    ]);
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    servers.redis.kill().await.unwrap();
    let service = ServiceProcess::start(
        "tasker-worker",
        Path::new(env!("CARGO_BIN_EXE_tasker-worker")),
        &[
            ("DATABASE_URL", &servers.database_url()),
            ("REDIS_URL", &servers.redis_url()),
            ("TASKER__COMMON__CACHE__ENABLED", "true"),
            // A debug build that writes everything down is slow.
            ("TASKER__COMMON__CACHE__OPERATION_TIMEOUT_MS", "500"),
            ("TASKER__WORKER__WEB__BIND_ADDRESS", &address),
            ("TASKER_TEMPLATE_PATH", &files.path().to_string_lossy()),
            ("TASKER_LOG", ""),
            ("TASKER_LOG_FORMAT", "human"),
            ("RUST_LOG", "trace"),
        ],
    )
    .await
    .unwrap();

    let base_url = format!("http://{address}");
    let answered = ordeal(&servers, &base_url, &format!("Bearer {}", client.core()))
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", service.log()));
    service.stop().await.unwrap();

    let log = service.log();
    for expected in [
        "TRACE",
        "sqlx::query",
        "the cache cannot be used yet",
        "the cache is not used until it is well again",
        "the template directory cannot be polled",
        "stopped",
    ] {
        assert!(log.contains(expected), "the log has no {expected}");
    }
    for expected in [
        "tasker_cache_in_use 0",
        "tasker_cache_in_use 1",
        "tasker_cache_breaker_open 0",
        "tasker_cache_breaker_open 1",
        "\"breaker\":\"open\"",
    ] {
        assert!(answered.contains(expected), "no answer has {expected}");
    }
    for line in log.lines().chain(answered.lines()) {
        assert!(!servers.are_betrayed_by(line), "{line}");
        assert!(!client.is_in(line), "{line}");
    }
}
