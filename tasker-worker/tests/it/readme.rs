//! The worker of the README: written, started, killed and started again as the page says.

use tasker_shared::models::core::task_request::TaskRequest;
use tasker_test_support::{ServiceProcess, example_program, free_port, page_block};
use tempfile::TempDir;

use crate::execution::engine::{CLAIMED, Engine};

const README: &str = include_str!("../../../README.md");
const EXAMPLE: &str = include_str!("../../examples/refund_worker.rs");

async fn start(database: &str, templates: &TempDir) -> ServiceProcess {
    let port = free_port().unwrap();
    let address = format!("127.0.0.1:{port}");
    let folder = templates.path().to_string_lossy();
    let environment = [
        ("DATABASE_URL", database),
        ("TASKER__WORKER__WEB__BIND_ADDRESS", &*address),
        ("TASKER__WORKER__EXECUTION__LEASE_SECONDS", "3"),
        ("TASKER_TEMPLATE_PATH", &*folder),
    ];
    let program = example_program("tasker-worker", "refund_worker");
    let worker = ServiceProcess::start_ready("refund_worker", &program, &environment, port);
    worker.await.unwrap()
}

#[test]
fn the_worker_is_the_example_and_short() {
    assert_eq!(
        page_block(README, "Write a worker", "rust,no_run"),
        EXAMPLE,
        "copy the example into README.md"
    );
    assert!(EXAMPLE.lines().count() < 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_ends_its_task_after_a_failure_and_a_kill() {
    let engine = Engine::start().await;
    let database = engine.url();
    let templates = tempfile::tempdir().unwrap();
    let yaml = page_block(README, "Write a template", "yaml");
    std::fs::write(templates.path().join("refund.yaml"), yaml).unwrap();
    let worker = start(database, &templates).await;

    let mut request = TaskRequest::new("refund", "payments").with_version("1.0.0");
    request.context = serde_json::json!({"payment_id": "p-1"}).into();
    let task = engine
        .initializer
        .initialize(request)
        .await
        .unwrap()
        .task_uuid;
    engine.until(CLAIMED, |running| running > 0).await;
    worker.kill().await.unwrap();
    let again = start(database, &templates).await;
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(
        engine.result(task, "check_payment").await["checked_by_attempt"],
        2
    );
    assert_eq!(engine.result(task, "pay_back").await["paid_back"], "p-1");
    let journal = engine.journal(task).await;
    assert!(
        journal[0].contains("enqueued(lease_expired)"),
        "{journal:#?}"
    );
    assert!(
        journal[1].contains("waiting_for_retry(retryable_error)"),
        "{journal:#?}"
    );
    again.stop().await.unwrap();
}
