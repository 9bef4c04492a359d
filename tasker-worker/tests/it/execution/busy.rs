//! Handlers that keep all threads of their runtime busy.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::json;
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::TaskerConfig;
use tasker_worker::{Handlers, StepContext, Worker};
use tokio::sync::oneshot;

use super::engine::{Engine, step};

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

fn heir() -> Handlers {
    Handlers::new().function("block", async |_: StepContext| Ok(json!("heir")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_blocks_its_thread_keeps_its_claim() {
    let engine = Engine::start_with(|config| config.worker.execution.lease_seconds = 3).await;
    engine
        .register("block", json!([step("a", "block", &[])]))
        .await;
    let (notes, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let blocking = Handlers::new().function("block", move |_: StepContext| {
        notes.send(()).unwrap();
        async {
            std::thread::sleep(Duration::from_secs(9));
            Ok(json!("first"))
        }
    });
    let _busy = worker_apart((*engine.context.tasker_config).clone(), blocking);
    let task = engine.create("block", json!({})).await;
    heard.recv().await.unwrap();
    let _heir = engine.work(heir());
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(engine.result(task, "a").await, "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_is_blocked_for_ever_loses_its_claims() {
    let engine = Engine::start_with(|config| config.worker.execution.lease_seconds = 1).await;
    engine
        .register("block", json!([step("a", "block", &[])]))
        .await;
    let (notes, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let blocking = Handlers::new().function("block", move |_: StepContext| {
        notes.send(()).unwrap();
        let released = Arc::clone(&released);
        async move {
            released.lock().unwrap().recv().ok();
            Ok(json!("first"))
        }
    });
    let _busy = worker_apart((*engine.context.tasker_config).clone(), blocking);
    let task = engine.create("block", json!({})).await;
    heard.recv().await.unwrap();
    let _heir = engine.work(heir());
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(engine.result(task, "a").await, "heir");
    drop(release);
}
