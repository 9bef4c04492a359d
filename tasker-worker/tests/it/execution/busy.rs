//! Handlers that keep all threads of their runtime busy.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::{Value, json};
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::TaskerConfig;
use tasker_worker::{Handlers, StepContext, Worker};
use tokio::sync::oneshot;

use super::engine::{CLAIMED, Engine, step};

/// A worker in a runtime with one thread. Dropping the sender stops it.
fn worker_apart(config: TaskerConfig, handlers: Handlers) -> oneshot::Sender<()> {
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let context = Arc::new(SystemContext::connect(config).await.unwrap());
            let _worker = Worker::builder(context).handlers(handlers).start();
            stopped.await.ok();
        });
        runtime.shutdown_background();
    });
    stop
}

/// Runs a step whose first handler blocks the only thread of its worker. Returns the step's result,
/// which is `first`, or `heir` if another worker has run it.
async fn blocked(engine: &Engine, block: impl Fn() + Send + Sync + 'static) -> Value {
    engine
        .register("block", json!([step("a", "block", &[])]))
        .await;
    let block = Arc::new(block);
    let blocking = Handlers::new().function("block", move |_: StepContext| {
        let block = Arc::clone(&block);
        async move {
            block();
            Ok(json!("first"))
        }
    });
    let _busy = worker_apart((*engine.context.tasker_config).clone(), blocking);
    let task = engine.create("block", json!({})).await;
    engine.until(CLAIMED, |claimed| claimed == 1).await;
    let heir = Handlers::new().function("block", async |_: StepContext| Ok(json!("heir")));
    let _heir = engine.work(heir);
    assert_eq!(engine.end(task).await, "complete");
    engine.result(task, "a").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_blocks_its_thread_keeps_its_claim() {
    let engine = Engine::start_with(|config| config.worker.execution.lease_seconds = 3).await;
    let result = blocked(&engine, || std::thread::sleep(Duration::from_secs(9))).await;
    assert_eq!(result, "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_is_blocked_for_ever_loses_its_claims() {
    let engine = Engine::start_with(|config| config.worker.execution.lease_seconds = 1).await;
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let block = move || {
        released.lock().unwrap().recv().ok();
    };
    assert_eq!(blocked(&engine, block).await, "heir");
    drop(release);
}
