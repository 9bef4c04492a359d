//! Handlers that keep threads of their runtime busy, or are faster than their results are recorded.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
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

/// A statement records one or two results of this size. Claims of the steps that end meanwhile would pile up.
#[tokio::test(flavor = "multi_thread")]
async fn steps_whose_results_are_not_recorded_yet_take_room_for_claims() {
    const ROOM: u32 = 4;
    const BYTES: usize = 5 * 1024 * 1024;
    let engine = Engine::start_with(|config| {
        config.worker.execution.max_concurrent_steps = ROOM;
        config.worker.execution.max_result_bytes = 2 * BYTES as u64;
    })
    .await;
    let steps: Vec<Value> = (0..16)
        .map(|n| step(&format!("s{n}"), "large", &[]))
        .collect();
    engine.register("large", json!(steps)).await;
    let (pool, most) = (engine.pool().clone(), Arc::new(AtomicI64::new(0)));
    let held = Arc::clone(&most);
    let large = Handlers::new().function("large", move |_: StepContext| {
        let (pool, held) = (pool.clone(), Arc::clone(&held));
        async move {
            let claimed: i64 = sqlx::query_scalar(CLAIMED).fetch_one(&pool).await?;
            held.fetch_max(claimed, Ordering::SeqCst);
            Ok(json!("x".repeat(BYTES)))
        }
    });
    let _worker = engine.work(large);
    assert_eq!(engine.run("large", json!({})).await.1, "complete");
    assert_eq!(most.load(Ordering::SeqCst), i64::from(ROOM));
}

/// Blocks its thread for a moment when it is dropped, and notes when that is over.
struct Slow(Arc<AtomicBool>);

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(500));
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_returns_no_step_before_its_handler_has_stopped() {
    let engine =
        Engine::start_with(|config| config.worker.execution.drain_timeout_seconds = 1).await;
    engine
        .register("slow", json!([step("a", "slow", &[])]))
        .await;
    let stopped = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&stopped);
    let worker = engine.work(Handlers::new().function("slow", move |_: StepContext| {
        let slow = Slow(Arc::clone(&noted));
        async move {
            std::future::pending::<()>().await;
            drop(slow);
            Ok(())
        }
    }));
    let task = engine.create("slow", json!({})).await;
    engine.until(CLAIMED, |claimed| claimed == 1).await;
    let _heir = engine.work(Handlers::new().function("slow", move |_: StepContext| {
        let has_stopped = stopped.load(Ordering::SeqCst);
        async move { Ok(json!(has_stopped)) }
    }));
    worker.drain().await;
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(engine.result(task, "a").await, json!(true));
}
