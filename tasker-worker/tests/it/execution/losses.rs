//! Claims of workers that are lost, and of answers that are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tasker_shared::execution::{self, AttemptId, Bounds, EndState, LostSteps};
use tasker_test_support::until;
use tasker_worker::{Handlers, StepContext, Worker};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use super::engine::{CLAIMED, Engine, step};
use super::hand::{Hand, MAX_LOST_ATTEMPTS, is_refused, ok, returned, steps};

/// The longest that returning claims may take.
const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_late_result_is_refused_and_attempts_count_up() {
    let engine = Engine::start().await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    let task = engine.create("one", json!({})).await;
    let mut slow = Hand::register(&engine).await;
    let first = slow.claim(1).await.remove(0);
    assert_eq!(slow.lose(&engine).await, returned(1));
    let mut heir = Hand::register(&engine).await;
    let second = heir.claim(1).await.remove(0);
    assert_eq!((first.attempt, second.attempt), (1, 2));
    // The late one does not know yet that it is lost.
    let renewed = execution::heartbeat(&mut slow.connection, slow.worker, &[first]).await;
    assert_eq!(renewed.unwrap(), None);
    assert!(is_refused(&slow.complete(first, 1).await));
    assert!(!is_refused(&heir.complete(second, 1).await));
    assert!(is_refused(&slow.complete(first, 1).await));
    assert_eq!(engine.end(task).await, "complete");
    let bounds = Bounds::default();
    let rows = execution::claim(&mut slow.connection, slow.worker, 1, &slow.scope, &bounds);
    assert_eq!(rows.await.unwrap()[0].kind, "lost");
}

/// The answer to the first was lost, and with it the claim that the same statement made.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_sent_again_does_not_end_the_next_attempt_of_the_same_worker() {
    let engine = Engine::start().await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    let task = engine.create("one", json!({})).await;
    let mut hand = Hand::register(&engine).await;
    let first = hand.claim(1).await.remove(0);
    let bounds = Bounds::default();
    let retry = EndState::Retry(0);
    let rows = hand.end(&[first], retry, 1, Some(&bounds)).await;
    let second = AttemptId {
        attempt: 2,
        ..first
    };
    assert_eq!(steps(&rows), [second]);
    assert!(is_refused(&hand.end(&[first], retry, 0, None).await));
    assert!(!is_refused(&hand.complete(second, 0).await));
    assert_eq!(engine.end(task).await, "complete");
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
    assert_eq!(
        execution::requeue_orphans(&mut other).await.unwrap(),
        returned(0)
    );
    hand.order("ROLLBACK").await;
    assert_eq!(
        execution::requeue_lost(&mut other).await.unwrap(),
        returned(0)
    );
    assert_eq!(
        execution::requeue_orphans(&mut other).await.unwrap(),
        returned(1)
    );
    let _worker = engine.work(ok());
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(engine.result(task, "a").await, json!(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claims_of_a_lost_fleet_return_in_several_statements() {
    let engine = Engine::start().await;
    let steps: Vec<Value> = (0..60).map(|n| step(&format!("s{n}"), "ok", &[])).collect();
    engine.register("wide", json!(steps)).await;
    for _ in 0..20 {
        engine.create("wide", json!({})).await;
    }
    for _ in 0..12 {
        assert_eq!(Hand::register(&engine).await.claim(100).await.len(), 100);
    }
    let mut other = engine.pool().acquire().await.unwrap();
    sqlx::query("UPDATE tasker.workers SET seen_at = now() - interval '1 hour'")
        .execute(&mut *other)
        .await
        .unwrap();
    for steps in [500, 500, 200, 0] {
        let lost = execution::requeue_lost(&mut other).await.unwrap();
        assert_eq!(lost, returned(steps));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_many_claims_of_one_lost_worker_return_in_several_statements() {
    let engine = Engine::start().await;
    let steps: Vec<Value> = (0..100)
        .map(|n| step(&format!("s{n}"), "ok", &[]))
        .collect();
    engine.register("wide", json!(steps)).await;
    for _ in 0..20 {
        engine.create("wide", json!({})).await;
    }
    let mut hand = Hand::register(&engine).await;
    assert_eq!(hand.claim(2_000).await.len(), 2_000);
    assert_eq!(hand.lose(&engine).await, returned(500));
    let mut other = engine.pool().acquire().await.unwrap();
    // Also if the calls take longer than claims of a lost worker are looked for.
    for (steps, age) in [(500, 50), (500, 50), (500, 50), (0, 50), (0, 70)] {
        sqlx::query("UPDATE tasker.workers SET lost_at = lost_at - $1 * interval '1 second'")
            .bind(age)
            .execute(&mut *other)
            .await
            .unwrap();
        let lost = execution::requeue_lost(&mut other).await.unwrap();
        assert_eq!(lost, returned(steps));
    }
}

/// One is enough to stop a process, and the others were only beside it.
#[tokio::test(flavor = "multi_thread")]
async fn of_the_many_claims_of_one_lost_worker_one_is_given_up() {
    let engine = Engine::start().await;
    let steps: Vec<Value> = (0..60).map(|n| step(&format!("s{n}"), "ok", &[])).collect();
    engine.register("wide", json!(steps)).await;
    for _ in 0..10 {
        engine.create("wide", json!({})).await;
    }
    let mut given_up = Vec::new();
    for _ in 0..MAX_LOST_ATTEMPTS {
        sqlx::query("UPDATE tasker.step_queue SET due_at = now()")
            .execute(engine.pool())
            .await
            .unwrap();
        let mut hand = Hand::register(&engine).await;
        assert_eq!(hand.claim(600).await.len(), 600);
        let lost = [hand.lose(&engine).await, hand.lose(&engine).await];
        given_up.push(lost.map(|lost| lost.given_up));
        assert_eq!(engine.count(CLAIMED).await, 0);
    }
    assert_eq!(given_up, [[0, 0], [0, 0], [0, 0], [1, 0]]);
}

/// Else all workers of a fleet would read the whole queue each second after a loss.
#[tokio::test(flavor = "multi_thread")]
async fn one_service_at_a_time_reads_the_queue_for_claims_of_lost_workers() {
    let engine = Engine::start().await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    engine.create("one", json!({})).await;
    let mut hand = Hand::register(&engine).await;
    assert_eq!(hand.claim(1).await.len(), 1);
    let mut first = engine.pool().begin().await.unwrap();
    sqlx::query("UPDATE tasker.workers SET lost_at = now()")
        .execute(engine.pool())
        .await
        .unwrap();
    let reads = "SELECT pg_advisory_xact_lock(hashtextextended('tasker.requeue_lost', 0))";
    sqlx::query(reads).execute(&mut *first).await.unwrap();
    let mut other = engine.pool().acquire().await.unwrap();
    let lost = timeout(LIMIT, execution::requeue_lost(&mut other)).await;
    assert_eq!(lost.expect("it does not wait").unwrap(), returned(0));
    let pool = engine.pool().clone();
    let orphans = tokio::spawn(async move {
        let mut connection = pool.acquire().await.unwrap();
        execution::requeue_orphans(&mut connection).await.unwrap()
    });
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE wait_event = 'advisory' AND query LIKE '%requeue_orphans%'
                     AND datname = current_database()";
    engine.until(waits, |waiting| waiting > 0).await;
    first.rollback().await.unwrap();
    assert_eq!(orphans.await.unwrap(), returned(1));
}

/// Handlers' own transactions can lock as many claims as one call looks for, until the minute is over.
#[tokio::test(flavor = "multi_thread")]
async fn claims_behind_many_that_are_locked_are_still_looked_for() {
    let engine = Engine::start().await;
    let steps: Vec<Value> = (0..100)
        .map(|n| step(&format!("s{n}"), "ok", &[]))
        .collect();
    engine.register("wide", json!(steps)).await;
    for _ in 0..6 {
        engine.create("wide", json!({})).await;
    }
    let mut hand = Hand::register(&engine).await;
    assert_eq!(hand.claim(600).await.len(), 600);
    let mut locked = engine.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM tasker.step_queue FOR UPDATE")
        .execute(&mut *locked)
        .await
        .unwrap();
    assert_eq!(hand.lose(&engine).await, returned(0));
    for steps in [0, 500] {
        if steps > 0 {
            sqlx::query("ROLLBACK").execute(&mut *locked).await.unwrap();
        }
        hand.order("UPDATE tasker.workers SET lost_at = lost_at - interval '50 seconds'")
            .await;
        let lost = execution::requeue_lost(&mut hand.connection).await.unwrap();
        assert_eq!(lost, returned(steps));
    }
}

/// Claims the only step with one worker after the other, each of which is lost.
async fn lose_workers(engine: &Engine, count: i32) -> LostSteps {
    let mut lost = LostSteps::default();
    for _ in 0..count {
        // From the third loss on it waits for a while.
        sqlx::query("UPDATE tasker.step_queue SET due_at = now()")
            .execute(engine.pool())
            .await
            .unwrap();
        let mut hand = Hand::register(engine).await;
        assert_eq!(hand.claim(1).await.len(), 1);
        lost = hand.lose(engine).await;
    }
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_loses_one_worker_after_the_other_fails_for_good() {
    let engine = Engine::start().await;
    let steps = json!([step("a", "ok", &[]), step("b", "ok", &["a"])]);
    engine.register("poison", steps).await;
    let task = engine.create("poison", json!({})).await;
    assert_eq!(
        lose_workers(&engine, MAX_LOST_ATTEMPTS - 1).await,
        returned(1)
    );
    let given_up = LostSteps {
        returned: 0,
        given_up: 1,
    };
    assert_eq!(lose_workers(&engine, 1).await, given_up);
    assert_eq!(engine.end(task).await, "error");
    let journal = engine.journal(task).await;
    assert!(
        journal[0].ends_with("in_progress(claimed) error(workers_lost)"),
        "{journal:?}"
    );
    assert_eq!(
        engine.result(task, "a").await["error"],
        json!({
            "type": "WorkerLost", "retryable": false,
            "message": "4 workers were lost, one after the other, while they had this step; the \
                        limit is worker.execution.max_lost_attempts",
        })
    );
    let letters = "SELECT count(*) FROM tasker.tasks_dlq
                   WHERE task_snapshot #>> '{failed_steps,0,error,type}' = 'WorkerLost'";
    assert_eq!(engine.count(letters).await, 1);

    // An operator's reset gives it all its losses again.
    let reset = "SELECT tasker.step_operate($1, (
                     SELECT s.workflow_step_uuid FROM tasker.workflow_steps s
                     JOIN tasker.named_steps n USING (named_step_uuid)
                     WHERE s.task_uuid = $1 AND n.name = 'a'
                 ), 'reset_for_retry', NULL, '{\"reason\": \"a larger machine\"}')";
    let answer: String = sqlx::query_scalar(reset)
        .bind(task)
        .fetch_one(engine.pool())
        .await
        .unwrap();
    assert_eq!(answer, "done");
    assert_eq!(
        lose_workers(&engine, MAX_LOST_ATTEMPTS - 1).await,
        returned(1)
    );
    let _worker = engine.work(ok());
    assert_eq!(engine.end(task).await, "complete");
}

/// Else all steps of a worker that one of them stops would be claimed together again, until they all
/// reach the limit.
#[tokio::test(flavor = "multi_thread")]
async fn steps_that_were_lost_together_again_and_again_are_spread_over_time() {
    let engine = Engine::start().await;
    let names: Vec<String> = (0..50).map(|n| format!("part_{n}")).collect();
    let steps: Vec<Value> = names.iter().map(|name| step(name, "ok", &[])).collect();
    engine.register("many", json!(steps)).await;
    engine.create("many", json!({})).await;
    for _ in 0..MAX_LOST_ATTEMPTS - 1 {
        let mut hand = Hand::register(&engine).await;
        assert_eq!(hand.claim(50).await.len(), 50);
        assert_eq!(hand.lose(&engine).await, returned(50));
    }
    let times = "SELECT count(DISTINCT due_at) FROM tasker.step_queue
                 WHERE due_at BETWEEN now() - interval '10 seconds' AND now() + interval '2 seconds'";
    // A few of fifty random times may be the same.
    let times = engine.count(times).await;
    assert!(times >= 45, "{times}");
}

/// A claim that finds only such steps must not conclude that the queue has no more.
#[tokio::test(flavor = "multi_thread")]
async fn steps_of_ended_tasks_do_not_hide_those_behind_them() {
    let engine =
        Engine::start_with(|config| config.worker.execution.max_concurrent_steps = 1).await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    for _ in 0..5 {
        engine.create("one", json!({})).await;
    }
    sqlx::query("UPDATE tasker.tasks SET ended_at = now()")
        .execute(engine.pool())
        .await
        .unwrap();
    let task = engine.create("one", json!({})).await;
    // Older than what a poll looks back for.
    sqlx::query("UPDATE tasker.step_queue SET due_at = due_at - interval '1 hour'")
        .execute(engine.pool())
        .await
        .unwrap();
    let _worker = engine.work(ok());
    let end = timeout(Duration::from_secs(20), engine.end(task));
    assert_eq!(end.await.expect("found before the next sweep"), "complete");
}

/// A worker with room for two steps that has claimed six, because the answer to a claim was lost.
struct Crowded {
    engine: Engine,
    _worker: Worker,
    task: Uuid,
    /// Handlers end by a permit of it.
    gate: Arc<Semaphore>,
    /// Counts the handlers that started.
    starts: Arc<AtomicUsize>,
}

const ROOM: usize = 2;

impl Crowded {
    async fn start() -> Self {
        let engine = Engine::start_with(|config| {
            config.worker.execution.max_concurrent_steps = 2;
            config.worker.execution.poll_interval_ms = 50;
            config.worker.execution.lease_seconds = 3;
        })
        .await;
        let steps: Vec<Value> = NAMES.iter().map(|name| step(name, "ok", &[])).collect();
        engine.register("many", json!(steps)).await;
        let task = engine.create("many", json!({})).await;
        let (gate, running) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let starts = Arc::new(AtomicUsize::new(0));
        let (held, started) = (Arc::clone(&gate), Arc::clone(&starts));
        let handlers = Handlers::new().function("ok", move |step: StepContext| {
            let (held, running) = (Arc::clone(&held), Arc::clone(&running));
            started.fetch_add(1, Ordering::SeqCst);
            async move {
                let others = running.fetch_add(1, Ordering::SeqCst);
                tokio::select! {
                    permit = held.acquire() => permit?.forget(),
                    () = step.cancelled() => {}
                }
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(json!(others))
            }
        });
        let worker = engine.work(handlers);
        until("handlers fill the room", async || {
            (starts.load(Ordering::SeqCst) >= ROOM).then_some(())
        })
        .await;
        // As by a claim that took effect, and whose answer never arrived.
        let claim = "UPDATE tasker.step_queue SET claimed_at = clock_timestamp(),
                         claimed_by = (SELECT worker_uuid FROM tasker.workers)
                     WHERE claimed_by IS NULL";
        sqlx::query(claim).execute(engine.pool()).await.unwrap();
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'tasker'";
        assert!(engine.count(cut).await > 0);
        Self {
            engine,
            _worker: worker,
            task,
            gate,
            starts,
        }
    }

    /// Waits until a heartbeat had so many steps.
    async fn until_held(&self, steps: i64) {
        let held = "SELECT max(running)::bigint FROM tasker.workers";
        self.engine.until(held, |running| running == steps).await;
    }
}

const NAMES: [&str; 6] = ["part_0", "part_1", "part_2", "part_3", "part_4", "part_5"];

/// Claims whose answers were lost are found again beside those that were made since.
#[tokio::test(flavor = "multi_thread")]
async fn claims_whose_answers_were_lost_wait_for_room() {
    let crowded = Crowded::start().await;
    crowded.gate.add_permits(6);
    assert_eq!(crowded.engine.end(crowded.task).await, "complete");
    for name in NAMES {
        let others = crowded.engine.result(crowded.task, name).await;
        assert!(others.as_u64() < Some(ROOM as u64), "{name}: {others}");
    }
    assert_eq!(crowded.starts.load(Ordering::SeqCst), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_cancelled_while_it_waits_for_room_never_starts() {
    let crowded = Crowded::start().await;
    crowded.until_held(6).await;
    sqlx::query("SELECT tasker.task_cancel($1, '{\"reason\": \"test\"}')")
        .bind(crowded.task)
        .execute(crowded.engine.pool())
        .await
        .unwrap();
    crowded.until_held(0).await;
    assert_eq!(crowded.starts.load(Ordering::SeqCst), ROOM);
}

/// A handler's open transaction holds its task's row. The claims of lost workers must not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_at_its_limit_in_a_locked_task_does_not_hold_up_other_claims() {
    let engine = Engine::start().await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    let task = engine.create("one", json!({})).await;
    lose_workers(&engine, MAX_LOST_ATTEMPTS - 1).await;
    engine.create("one", json!({})).await;
    sqlx::query("UPDATE tasker.step_queue SET due_at = now()")
        .execute(engine.pool())
        .await
        .unwrap();
    let mut hand = Hand::register(&engine).await;
    assert_eq!(hand.claim(2).await.len(), 2);
    let mut locked = engine.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM tasker.tasks WHERE task_uuid = $1 FOR UPDATE")
        .bind(task)
        .execute(&mut *locked)
        .await
        .unwrap();
    let lost = timeout(LIMIT, hand.lose(&engine)).await;
    assert_eq!(lost.expect("it does not wait"), returned(2));
    locked.rollback().await.unwrap();
}

/// PostgreSQL reports an error before it releases the locks of the statement that failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_still_locked_when_its_worker_leaves_is_returned_by_others() {
    let engine = Engine::start().await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    let task = engine.create("one", json!({})).await;
    let mut hand = Hand::register(&engine).await;
    assert_eq!(hand.claim(1).await.len(), 1);
    let mut locked = engine.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM tasker.step_queue FOR UPDATE")
        .execute(&mut *locked)
        .await
        .unwrap();
    let left = execution::leave(&mut hand.connection, hand.worker, true);
    assert_eq!(left.await.unwrap(), 0);
    locked.rollback().await.unwrap();
    let _worker = engine.work(ok());
    assert_eq!(engine.end(task).await, "complete");
}
