//! Statements of workers that meet each other, a cancellation or a loss at a bad moment.

use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};
use tasker_shared::database;
use tasker_shared::execution::{
    self, AttemptEnd, AttemptId, Bounds, EndState, ExecutionRow, Scope, WorkerRow,
};
use tasker_worker::{Handlers, StepContext};
use tokio::time::{Duration, sleep};
use uuid::Uuid;

use super::engine::{Engine, step};

/// The longest that a cancellation may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A worker whose statements a test sends itself.
struct Hand {
    connection: PgConnection,
    worker: Uuid,
    scope: Scope,
}

impl Hand {
    async fn register(engine: &Engine) -> Self {
        let mut connection = PgConnection::connect(engine.url()).await.unwrap();
        let row = WorkerRow {
            worker_uuid: Uuid::now_v7(),
            name: String::from("hand"),
            host: String::from("here"),
            capacity: 100,
            lease_seconds: 600,
        };
        let scope = Scope {
            callables: vec![String::from("ok")],
            patterns: Vec::new(),
        };
        execution::register_worker(&mut connection, &row, &scope)
            .await
            .unwrap();
        Self {
            connection,
            worker: row.worker_uuid,
            scope,
        }
    }

    async fn claim(&mut self, want: i32) -> Vec<AttemptId> {
        let bounds = Bounds::default();
        let rows = execution::claim(
            &mut self.connection,
            self.worker,
            want,
            &self.scope,
            &bounds,
        );
        steps(&rows.await.unwrap())
    }

    /// Completes an attempt, and claims up to `want` of the steps that it makes ready.
    async fn complete(&mut self, id: AttemptId, want: i32) -> Vec<ExecutionRow> {
        let end = AttemptEnd {
            id,
            state: EndState::Complete,
            result: Some(Json(serde_json::value::to_raw_value(&1).unwrap())),
            duration_ms: 1,
            metadata: json!({"reason": "handler_completed", "attempt": id.attempt}),
        };
        let ends = [&end];
        let done = execution::complete(
            &mut self.connection,
            self.worker,
            &ends,
            want,
            &self.scope,
            None,
        );
        done.await.unwrap()
    }

    async fn order(&mut self, sql: &'static str) {
        sqlx::query(sql)
            .execute(&mut self.connection)
            .await
            .unwrap();
    }

    /// Makes the lease end, and lets another service see it.
    async fn lose(&mut self, engine: &Engine) -> i64 {
        self.order("UPDATE tasker.workers SET seen_at = now() - interval '1 hour'")
            .await;
        let mut other = engine.pool().acquire().await.unwrap();
        execution::requeue_lost(&mut other).await.unwrap()
    }
}

fn steps(rows: &[ExecutionRow]) -> Vec<AttemptId> {
    let steps = rows.iter().filter(|row| row.kind == "step");
    steps
        .map(|row| AttemptId {
            task_uuid: row.task_uuid.unwrap(),
            step_uuid: row.workflow_step_uuid.unwrap(),
            attempt: row.attempt.unwrap(),
        })
        .collect()
}

fn is_refused(rows: &[ExecutionRow]) -> bool {
    rows.iter().any(|row| row.kind == "refused")
}

fn ok() -> Handlers {
    Handlers::new().function("ok", async |step: StepContext| Ok(json!(step.attempt())))
}

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
    while engine.count(waits).await == 0 {
        sleep(Duration::from_millis(5)).await;
    }
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
    assert_eq!(hand.lose(&engine).await, 1);
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
async fn a_late_result_is_refused_and_attempts_count_up() {
    let engine = Engine::start().await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    let task = engine.create("one", json!({})).await;
    let mut slow = Hand::register(&engine).await;
    let first = slow.claim(1).await.remove(0);
    assert_eq!(slow.lose(&engine).await, 1);
    let mut heir = Hand::register(&engine).await;
    let second = heir.claim(1).await.remove(0);
    assert_eq!((first.attempt, second.attempt), (1, 2));
    // The late one does not know yet that it is lost.
    assert!(is_refused(&slow.complete(first, 1).await));
    assert!(!is_refused(&heir.complete(second, 1).await));
    assert!(is_refused(&slow.complete(first, 1).await));
    assert_eq!(engine.end(task).await, "complete");
    let bounds = Bounds::default();
    let rows = execution::claim(&mut slow.connection, slow.worker, 1, &slow.scope, &bounds);
    assert_eq!(rows.await.unwrap()[0].kind, "lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_was_lost_is_found_again_as_the_same_attempt() {
    let engine = Engine::start().await;
    let pair = json!([step("a", "ok", &[]), step("b", "ok", &[])]);
    engine.register("pair", pair).await;
    engine.create("pair", json!({})).await;
    let mut hand = Hand::register(&engine).await;
    let claimed = hand.claim(2).await;
    let held = [claimed[0].step_uuid];
    let found = execution::recover(&mut hand.connection, hand.worker, &held).await;
    assert_eq!(steps(&found.unwrap()), [claimed[1]]);
}

/// A handler's own transaction can hold a row of the queue for as long as its connection is open,
/// which may be long after its worker was declared lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_locked_while_its_worker_was_declared_lost_is_returned_later() {
    let engine = Engine::start().await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    let task = engine.create("one", json!({})).await;
    let mut hand = Hand::register(&engine).await;
    let claim = hand.claim(1).await.remove(0);
    let mut other = engine.pool().acquire().await.unwrap();
    hand.order("BEGIN").await;
    hand.complete(claim, 0).await;
    sqlx::query("UPDATE tasker.workers SET lost_at = now() - interval '5 minutes'")
        .execute(&mut *other)
        .await
        .unwrap();
    assert_eq!(execution::requeue_orphans(&mut other).await.unwrap(), 0);
    hand.order("ROLLBACK").await;
    assert_eq!(execution::requeue_lost(&mut other).await.unwrap(), 0);
    assert_eq!(execution::requeue_orphans(&mut other).await.unwrap(), 1);
    let _worker = engine.work(ok());
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(engine.result(task, "a").await, json!(2));
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
    while engine.count(queued).await > 0 {
        sleep(Duration::from_millis(20)).await;
    }
}
