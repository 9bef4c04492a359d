//! Statements of workers that meet each other or a cancellation at a bad moment.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::PgExecutor;
use tasker_shared::database;
use tasker_shared::execution::{self, AttemptId};
use tasker_worker::{Handlers, StepContext, StepError, Worker};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Duration;
use uuid::Uuid;

use super::engine::{CLAIMED, Engine, step};
use super::hand::{Hand, is_refused, ok, returned, steps};

/// The longest that a cancellation may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A task whose first step a worker completes while the task is cancelled. The worker has claimed the
/// second step in the same statement, which the cancellation could not see.
async fn cancelled_beside_a_completion() -> (Engine, Hand, AttemptId) {
    let engine = Engine::start().await;
    let line = json!([step("a", "ok", &[]), step("b", "ok", &["a"])]);
    engine.register("line", line).await;
    let task = engine.create("line", json!({})).await;
    let mut hand = Hand::register(&engine).await;
    let first = hand.claim(1).await.remove(0);
    hand.order("BEGIN").await;
    let second = steps(&hand.complete(first, 1).await).remove(0);
    let pool = engine.pool().clone();
    let cancelling = tokio::spawn(async move {
        let cancel = "SELECT tasker.task_cancel($1, '{\"reason\": \"cancelled\"}')";
        sqlx::query_scalar::<_, String>(cancel)
            .bind(task)
            .fetch_one(&pool)
            .await
    });
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE wait_event_type = 'Lock' AND query LIKE '%task_cancel%'
                     AND datname = current_database()";
    engine.until(waits, |waiting| waiting > 0).await;
    hand.order("COMMIT").await;
    assert_eq!(cancelling.await.unwrap().unwrap(), "cancelled");
    assert_eq!(engine.end(task).await, "cancelled");
    (engine, hand, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_a_cancellation_missed_does_not_hold_up_the_steps_of_lost_workers() {
    let (engine, mut hand, _) = cancelled_beside_a_completion().await;
    let other = engine.create("line", json!({})).await;
    assert_eq!(hand.claim(1).await.len(), 1);
    assert_eq!(hand.lose(&engine).await, returned(1));
    let _worker = engine.work(ok());
    assert_eq!(engine.end(other).await, "complete");
    assert_eq!(engine.result(other, "a").await, json!(2));
    assert_eq!(
        engine.count("SELECT count(*) FROM tasker.step_queue").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_a_cancellation_missed_is_cancelled_and_its_result_refused() {
    let (engine, mut hand, second) = cancelled_beside_a_completion().await;
    let gone = execution::heartbeat(&mut hand.connection, hand.worker, &[second])
        .await
        .unwrap();
    assert_eq!(gone, Some(vec![second.step_uuid]));
    assert!(is_refused(&hand.complete(second, 0).await));
    assert_eq!(
        engine.count("SELECT count(*) FROM tasker.step_queue").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_can_be_cancelled_while_their_steps_end() {
    let engine = Engine::start().await;
    let names: Vec<String> = (0..20).map(|n| format!("part{n}")).collect();
    let mut parts: Vec<Value> = names.iter().map(|name| step(name, "ok", &[])).collect();
    parts.push(step(
        "join",
        "ok",
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    engine.register("parts", json!(parts)).await;
    let _workers = [engine.work(ok()), engine.work(ok())];
    let mut tasks = Vec::new();
    for _ in 0..40 {
        let task = engine.create("parts", json!({})).await;
        let cancelled =
            database::run_idempotent(engine.context.database_pool(), LIMIT, |connection| {
                Box::pin(async move {
                    let cancel = "SELECT tasker.task_cancel($1, '{\"reason\": \"cancelled\"}')";
                    sqlx::query_scalar::<_, String>(cancel)
                        .bind(task)
                        .fetch_one(connection)
                        .await
                })
            });
        let outcome = cancelled.await.unwrap();
        assert!(["cancelled", "ended"].contains(&&*outcome), "{outcome}");
        tasks.push(task);
    }
    for task in tasks {
        let state = engine.end(task).await;
        assert!(["cancelled", "complete"].contains(&&*state), "{state}");
    }
    // Steps that were queued beside a cancellation are removed by whoever meets them.
    let queued = "SELECT count(*) FROM tasker.step_queue";
    engine.until(queued, |left| left == 0).await;
}

/// Neither sees the end of the other's step until both are committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_last_two_steps_end_at_once_is_complete() {
    let engine = Engine::start().await;
    let pair = json!([step("a", "ok", &[]), step("b", "ok", &[])]);
    engine.register("pair", pair).await;
    let task = engine.create("pair", json!({})).await;
    let mut first = Hand::register(&engine).await;
    let mut second = Hand::register(&engine).await;
    let (one, other) = (first.claim(1).await[0], second.claim(1).await[0]);
    first.order("BEGIN").await;
    first.complete(one, 0).await;
    let ending = tokio::spawn(async move { second.complete(other, 0).await });
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE wait_event_type = 'Lock' AND query LIKE '%steps_complete%'
                     AND datname = current_database()";
    engine.until(waits, |waiting| waiting > 0).await;
    first.order("COMMIT").await;
    assert!(!is_refused(&ending.await.unwrap()));
    assert_eq!(engine.end(task).await, "complete");
}

/// A worker whose handler saves a checkpoint when the test lets it, and never ends. The second attempt
/// returns the checkpoint that it reads.
struct Saving {
    engine: Engine,
    _worker: Worker,
    task: Uuid,
    gate: Arc<Semaphore>,
    saved: mpsc::UnboundedReceiver<Result<(), StepError>>,
}

impl Saving {
    async fn start() -> Self {
        let engine = Engine::start().await;
        engine
            .register("one", json!([step("a", "save", &[])]))
            .await;
        let gate = Arc::new(Semaphore::new(0));
        let (sender, saved) = mpsc::unbounded_channel();
        let held = Arc::clone(&gate);
        let handlers = Handlers::new().function("save", move |step: StepContext| {
            let (held, sender) = (Arc::clone(&held), sender.clone());
            async move {
                if step.is_retry() {
                    return Ok(json!(step.checkpoint::<Value>()?));
                }
                held.acquire().await?.forget();
                sender.send(step.save_checkpoint(1).await)?;
                std::future::pending().await
            }
        });
        let worker = engine.work(handlers);
        let task = engine.create("one", json!({})).await;
        engine.until(CLAIMED, |claimed| claimed == 1).await;
        Self {
            engine,
            _worker: worker,
            task,
            gate,
            saved,
        }
    }

    /// Lets the handler save, and waits until that waits for a lock of the test.
    async fn save(&self) {
        self.gate.add_permits(1);
        let waits = "SELECT count(*) FROM pg_stat_activity
                     WHERE wait_event_type = 'Lock' AND query LIKE '%SET checkpoint%'
                         AND datname = current_database()";
        self.engine.until(waits, |waiting| waiting > 0).await;
    }
}

/// Returns the claim as if its worker were lost. Returns how many claims were returned.
async fn return_claim(connection: impl PgExecutor<'_>) -> i64 {
    let returned = "SELECT tasker.steps_return(claimed_by, ARRAY[task_uuid],
                        ARRAY[workflow_step_uuid], ARRAY[attempt], 'lease_expired')
                    FROM tasker.step_queue";
    let returned = sqlx::query_scalar(returned);
    returned.fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_refused_if_the_claim_returns_meanwhile() {
    let mut saving = Saving::start().await;
    let mut lost = saving.engine.pool().begin().await.unwrap();
    assert_eq!(return_claim(&mut *lost).await, 1);
    saving.save().await;
    lost.commit().await.unwrap();
    let refused = saving.saved.recv().await.unwrap().unwrap_err();
    assert!(format!("{refused:?}").contains("ClaimLost"), "{refused:?}");
    assert_eq!(saving.engine.end(saving.task).await, "complete");
    let read = saving.engine.result(saving.task, "a").await;
    assert_eq!(read, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_does_not_return_while_a_checkpoint_is_saved() {
    let mut saving = Saving::start().await;
    let mut locked = saving.engine.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM tasker.workflow_steps FOR UPDATE")
        .execute(&mut *locked)
        .await
        .unwrap();
    saving.save().await;
    assert_eq!(return_claim(saving.engine.pool()).await, 0);
    locked.rollback().await.unwrap();
    saving.saved.recv().await.unwrap().unwrap();
    assert_eq!(return_claim(saving.engine.pool()).await, 1);
    assert_eq!(saving.engine.end(saving.task).await, "complete");
    let read = saving.engine.result(saving.task, "a").await;
    assert_eq!(read, json!(1));
}
