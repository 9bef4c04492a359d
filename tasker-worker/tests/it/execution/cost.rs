//! The number of statements that steps cost.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tasker_orchestration::{TaskInitializer, TemplateLoader};
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::TaskerConfig;
use tasker_test_support::{PostgresServer, until};
use tasker_worker::{Handlers, StepContext, Worker};
use tokio::time::sleep;

use super::engine::{Engine, step};

/// The statements of the worker in the log after its first `from` bytes.
fn statements(log: &str, from: usize) -> usize {
    let is_of_worker = |line: &&str| {
        line.contains(" execute ")
            && [
                "tasker.steps_",
                "tasker.requeue",
                "tasker.worker_",
                "pg_notify",
            ]
            .iter()
            .any(|part| line.contains(part))
    };
    log[from..].lines().filter(is_of_worker).count()
}

/// Waits until nobody has sent a statement for a second.
async fn silence(server: &PostgresServer) {
    until("no more statements", async || {
        let before = server.log().len();
        sleep(Duration::from_secs(1)).await;
        (server.log().len() == before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linear_task_and_a_fan_out_take_few_statements() {
    let server = PostgresServer::start_with(&[("log_statement", "all")])
        .await
        .unwrap();
    let mut config = TaskerConfig::default();
    config.common.database.url = server.url("postgres");
    // Nothing but the tasks' own statements.
    config.worker.execution.poll_interval_ms = 60_000;
    config.worker.execution.lease_seconds = 600;
    let context = Arc::new(SystemContext::connect(config).await.unwrap());
    let loader = TemplateLoader::new(Arc::clone(&context.task_handler_registry));
    let initializer = TaskInitializer::new(loader, context.database_pool().clone());
    let engine = Engine::on(context, initializer);
    let linear = ["a", "b", "c", "d"];
    let mut steps = vec![step("a", "ok", &[])];
    steps.extend(
        linear
            .windows(2)
            .map(|pair| step(pair[1], "ok", &[pair[0]])),
    );
    engine.register("linear", json!(steps)).await;
    let names: Vec<String> = (0..1000).map(|n| format!("part{n}")).collect();
    let mut steps = vec![step("start", "ok", &[])];
    steps.extend(names.iter().map(|name| step(name, "ok", &["start"])));
    steps.push(step(
        "join",
        "ok",
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    engine.register("fan", json!(steps)).await;
    let handlers = Handlers::new().function("ok", async |_: StepContext| Ok(()));
    let _worker = Worker::builder(Arc::clone(&engine.context))
        .handlers(handlers)
        .start();
    engine.run("linear", json!({})).await;

    for (name, most) in [("linear", 6), ("fan", 200)] {
        silence(&server).await;
        let before = server.log().len();
        let (_, state) = engine.run(name, json!({})).await;
        assert_eq!(state, "complete");
        silence(&server).await;
        let log = server.log();
        let count = statements(&log, before);
        assert!(
            (4..=most).contains(&count),
            "{name} took {count} statements"
        );
    }
}
