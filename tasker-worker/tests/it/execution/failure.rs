//! Handlers that fail, and workers that die.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::Executor;
use tasker_shared::config::tasker::TaskerConfig;
use tasker_test_support::until;
use tasker_worker::{Handlers, StepContext, StepError};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::engine::{CLAIMED, Engine, step};

fn retried(name: &str, callable: &str, attempts: u32) -> Value {
    json!({
        "name": name, "handler": {"callable": callable},
        "retry": {"max_attempts": attempts, "backoff": "linear", "backoff_base_ms": 20},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retryable_failure_runs_again_after_its_pause() {
    let engine = Engine::start().await;
    engine
        .register(
            "flaky",
            json!([retried("a", "flaky", 3), step("b", "ok", &["a"])]),
        )
        .await;
    let _worker = engine.work(
        Handlers::new()
            .function("ok", async |_: StepContext| Ok(()))
            .function("flaky", async |step: StepContext| {
                if step.is_last_attempt() {
                    assert!(step.is_retry());
                    return Ok(json!(step.attempt()));
                }
                Err(StepError::retryable("not yet").with_context(json!({"n": step.attempt()})))
            }),
    );
    let (task, state) = engine.run("flaky", json!({})).await;
    assert_eq!(state, "complete");
    assert_eq!(engine.result(task, "a").await, json!(3));
    assert_eq!(
        engine.journal(task).await[0],
        "a: enqueued(dependencies_complete) in_progress(claimed) \
         waiting_for_retry(retryable_error) in_progress(claimed) \
         waiting_for_retry(retryable_error) in_progress(claimed) complete(handler_completed)"
    );
    let recent = "SELECT count(*) FROM tasker.workflow_step_transitions WHERE most_recent";
    assert_eq!(engine.count(recent).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_ends_the_task_with_its_reason() {
    let engine = Engine::start().await;
    let mut timed = retried("a", "hang", 2);
    timed["timeout_seconds"] = json!(1);
    engine.register("hangs", json!([timed])).await;
    for (name, callable, most) in [
        ("permanent", "permanent", 9),
        ("exhausted", "fails", 2),
        ("zero", "fails", 0),
        ("panics", "panics", 2),
        ("nul", "nul", 9),
        ("large", "large", 9),
        ("input", "input", 9),
    ] {
        let steps = json!([retried("a", callable, most)]);
        engine.register(name, steps).await;
    }
    let _worker = engine.work(
        Handlers::new()
            .function("permanent", async |_: StepContext| -> Result<(), _> {
                Err(StepError::permanent("no").with_type("Refused"))
            })
            .function("fails", async |_: StepContext| -> Result<(), _> {
                Ok(std::fs::read("/does/not/exist").map(drop)?)
            })
            .function("panics", async |_: StepContext| -> Result<(), _> {
                panic!("ouch")
            })
            .function("hang", async |_: StepContext| {
                std::future::pending::<()>().await;
                Ok(())
            })
            .function("nul", async |_: StepContext| Ok(json!({"a": ["\0"]})))
            .function("large", async |_: StepContext| {
                Ok(json!("x".repeat(1024 * 1024)))
            })
            .function("input", async |step: StepContext| {
                step.input::<u32>("n").map(|n| json!(n))
            }),
    );
    for (name, attempts, kind, reason) in [
        ("permanent", 1, "Refused", "permanent_error"),
        ("exhausted", 2, "Error", "attempts_exhausted"),
        ("zero", 1, "Error", "attempts_exhausted"),
        ("panics", 2, "Panic", "attempts_exhausted"),
        ("hangs", 2, "Timeout", "attempts_exhausted"),
        ("nul", 1, "ResultNotJson", "permanent_error"),
        ("large", 1, "ResultTooLarge", "permanent_error"),
        ("input", 1, "InvalidInput", "permanent_error"),
    ] {
        let (task, state) = engine.run(name, json!({"n": "text"})).await;
        assert_eq!(state, "error", "{name}");
        let error = engine.result(task, "a").await["error"].clone();
        assert_eq!(error["type"], kind, "{name}: {error}");
        let journal = engine.journal(task).await.remove(0);
        assert!(
            journal.ends_with(&format!("error({reason})")),
            "{name}: {journal}"
        );
        assert_eq!(
            journal.matches("in_progress").count(),
            attempts,
            "{name}: {journal}"
        );
    }
    assert_eq!(
        engine.count("SELECT count(*) FROM tasker.tasks_dlq").await,
        8
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_branches_go_on_after_a_failure() {
    let engine = Engine::start().await;
    engine
        .register(
            "branches",
            json!([
                step("bad", "bad", &[]),
                step("slow", "slow", &[]),
                step("after_slow", "slow", &["slow"]),
                step("join", "slow", &["bad", "after_slow"]),
            ]),
        )
        .await;
    let _worker = engine.work(
        Handlers::new()
            .function("bad", async |_: StepContext| -> Result<(), _> {
                Err(StepError::permanent("no"))
            })
            .function("slow", async |_: StepContext| {
                sleep(Duration::from_millis(200)).await;
                Ok(())
            }),
    );
    let (task, state) = engine.run("branches", json!({})).await;
    assert_eq!(state, "error");
    assert_eq!(
        engine.states(task).await,
        [
            "pending",
            "steps_in_process",
            "blocked_by_failures",
            "error"
        ]
    );
    let journal = engine.journal(task).await;
    assert!(
        journal[0].ends_with("complete(handler_completed)"),
        "{journal:?}"
    );
    assert_eq!(journal[2], "join:");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_of_a_dropped_worker_runs_again_and_the_loss_does_not_count() {
    let engine = Engine::start_with(|config| config.worker.execution.lease_seconds = 3).await;
    engine
        .register("once", json!([retried("a", "hang_once", 1)]))
        .await;
    let hang = async |_: StepContext| {
        std::future::pending::<()>().await;
        Ok(())
    };
    let dropped = engine.work(Handlers::new().function("hang_once", hang));
    let task = engine.create("once", json!({})).await;
    engine.until(CLAIMED, |claimed| claimed == 1).await;
    drop(dropped);
    let _heir = engine.work(
        Handlers::new().function("hang_once", async |step: StepContext| {
            Ok(json!({"attempt": step.attempt(), "last": step.is_last_attempt()}))
        }),
    );
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(
        engine.result(task, "a").await,
        json!({"attempt": 2, "last": true})
    );
    assert_eq!(
        engine.journal(task).await[0],
        "a: enqueued(dependencies_complete) in_progress(claimed) enqueued(lease_expired) \
         in_progress(claimed) complete(handler_completed)"
    );
}

/// A value that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "dropped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_while_it_is_stopped_leaves_its_step_to_nobody() {
    let engine = Engine::start().await;
    let mut timed = retried("a", "bomb", 2);
    timed["timeout_seconds"] = json!(1);
    engine.register("bomb", json!([timed])).await;
    let _worker = engine.work(Handlers::new().function("bomb", async |_: StepContext| {
        let _bomb = Bomb;
        std::future::pending::<()>().await;
        Ok(())
    }));
    let (task, state) = engine.run("bomb", json!({})).await;
    assert_eq!(state, "error");
    assert_eq!(engine.result(task, "a").await["error"]["type"], "Panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_postgresql_refuses_holds_up_neither_others_nor_the_drain() {
    let engine = Engine::start().await;
    engine
        .register("fails", json!([retried("a", "fails", 1)]))
        .await;
    engine.register("good", json!([step("a", "ok", &[])])).await;
    let refuse = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION USING ERRCODE = ''23514''; END';
        CREATE TRIGGER refuse BEFORE INSERT ON tasker.workflow_step_transitions
            FOR EACH ROW WHEN (NEW.to_state = 'error') EXECUTE FUNCTION refuse()";
    engine.pool().execute(refuse).await.unwrap();
    let handlers = || {
        Handlers::new()
            .function("ok", async |_: StepContext| Ok(()))
            .function("fails", async |_: StepContext| {
                Err::<(), _>(StepError::permanent("never"))
            })
    };
    let worker = engine.work(handlers());
    let failing = engine.create("fails", json!({})).await;
    engine.until(CLAIMED, |claimed| claimed > 0).await;
    for _ in 0..5 {
        assert_eq!(engine.run("good", json!({})).await.1, "complete");
    }
    timeout(Duration::from_secs(20), worker.drain())
        .await
        .unwrap();

    let accept = "DROP TRIGGER refuse ON tasker.workflow_step_transitions";
    engine.pool().execute(accept).await.unwrap();
    let _worker = engine.work(handlers());
    assert_eq!(engine.end(failing).await, "error");
}

/// The handler `ok`, and `waits`, which ends by a permit of `gate`.
fn gated(gate: &Arc<Semaphore>) -> Handlers {
    let gate = Arc::clone(gate);
    Handlers::new()
        .function("ok", async |_: StepContext| Ok(()))
        .function("waits", move |_: StepContext| {
            let gate = Arc::clone(&gate);
            async move {
                let _permit = gate.acquire().await;
                Ok(())
            }
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_a_locked_task_hold_up_others_for_one_wait_only() {
    let engine = Engine::start().await;
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let steps = names.map(|name| step(name, "waits", &[]));
    engine.register("locked", json!(steps)).await;
    engine.register("good", json!([step("a", "ok", &[])])).await;
    let gate = Arc::new(Semaphore::new(0));
    let worker = engine.work(gated(&gate));
    let locked = engine.create("locked", json!({})).await;
    engine.until(CLAIMED, |claimed| claimed == 8).await;
    let mut lock = engine.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM tasker.tasks WHERE task_uuid = $1 FOR UPDATE")
        .bind(locked)
        .execute(&mut *lock)
        .await
        .unwrap();
    gate.add_permits(names.len());
    // The statement with all eight ends waits for the lock, then one end alone.
    let others = async {
        for _ in 0..5 {
            assert_eq!(engine.run("good", json!({})).await.1, "complete");
        }
    };
    timeout(Duration::from_secs(20), others).await.unwrap();
    assert_eq!(engine.count(CLAIMED).await, 8);
    lock.rollback().await.unwrap();
    worker.drain().await;
    assert_eq!(engine.end(locked).await, "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_take_long_to_read_are_claimed_in_smaller_numbers() {
    let timeout_ms =
        |config: &mut TaskerConfig| config.common.database.pool.statement_timeout_ms = 1_000;
    let engine = Engine::start_with(timeout_ms).await;
    let mut steps = vec![step("root", "ok", &[])];
    steps.extend((0..16).map(|n| step(&format!("s{n}"), "ok", &["root"])));
    engine.register("wide", json!(steps)).await;
    let slow = "
        ALTER FUNCTION tasker.steps_describe(uuid[], uuid[], uuid[]) RENAME TO describe_fast;
        CREATE FUNCTION tasker.steps_describe(p_steps uuid[], p_found uuid[], p_known uuid[])
        RETURNS SETOF tasker.execution_row LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_sleep(0.15 * cardinality(p_steps));
            RETURN QUERY SELECT * FROM tasker.describe_fast(p_steps, p_found, p_known);
        END $$";
    engine.pool().execute(slow).await.unwrap();
    let _worker = engine.work(Handlers::new().function("ok", async |_: StepContext| Ok(())));
    let (_, state) = engine.run("wide", json!({})).await;
    assert_eq!(state, "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_that_take_too_long_together_are_recorded_one_at_a_time() {
    let timeout_ms =
        |config: &mut TaskerConfig| config.common.database.pool.statement_timeout_ms = 1_000;
    let engine = Engine::start_with(timeout_ms).await;
    let steps: Vec<Value> = (0..16)
        .map(|n| step(&format!("s{n}"), "waits", &[]))
        .collect();
    engine.register("wide", json!(steps)).await;
    let slow = "
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END';
        CREATE TRIGGER slow BEFORE INSERT ON tasker.workflow_step_result_audit
            FOR EACH ROW EXECUTE FUNCTION slow()";
    engine.pool().execute(slow).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let _worker = engine.work(gated(&gate));
    let task = engine.create("wide", json!({})).await;
    engine.until(CLAIMED, |claimed| claimed == 16).await;
    gate.add_permits(16);
    assert_eq!(engine.end(task).await, "complete");
}

/// PostgreSQL must end the read before the worker gives it up, however long its limit is.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_reads_less_of_a_queue_that_takes_too_long_to_read() {
    let timeout_ms =
        |config: &mut TaskerConfig| config.common.database.pool.statement_timeout_ms = 60_000;
    let engine = Engine::start_with(timeout_ms).await;
    engine.register("good", json!([step("a", "ok", &[])])).await;
    // As behind millions of dead rows.
    let slow = "
        ALTER FUNCTION tasker.steps_scan(uuid, integer, text[], text[], timestamptz, smallint[],
            timestamptz[]) RENAME TO scan_fast;
        CREATE FUNCTION tasker.steps_scan(
            p_worker uuid, p_want integer, p_callables text[], p_patterns text[],
            p_floor timestamptz, p_priorities smallint[], p_bounds timestamptz[],
            OUT o_claimed uuid[], OUT o_taken integer
        ) LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_sleep(30) WHERE p_floor IS NULL;
            SELECT f.o_claimed, f.o_taken INTO o_claimed, o_taken FROM tasker.scan_fast(
                p_worker, p_want, p_callables, p_patterns, p_floor, p_priorities, p_bounds) f;
        END $$";
    engine.pool().execute(slow).await.unwrap();
    let _worker = engine.work(Handlers::new().function("ok", async |_: StepContext| Ok(())));
    assert_eq!(engine.run("good", json!({})).await.1, "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_locked_tasks_hold_up_neither_others_nor_the_drain() {
    const TASKS: usize = 10;
    let engine =
        Engine::start_with(|config| config.worker.execution.drain_timeout_seconds = 2).await;
    engine
        .register("locked", json!([step("a", "waits", &[])]))
        .await;
    engine.register("good", json!([step("a", "ok", &[])])).await;
    let gate = Arc::new(Semaphore::new(0));
    let worker = engine.work(gated(&gate));
    for _ in 0..TASKS {
        engine.create("locked", json!({})).await;
    }
    engine.until(CLAIMED, |claimed| claimed == 10).await;
    let mut lock = engine.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM tasker.tasks FOR UPDATE")
        .execute(&mut *lock)
        .await
        .unwrap();
    gate.add_permits(TASKS);
    // Four seconds for the statement with all ends, and a moment for each alone.
    let good = timeout(Duration::from_secs(20), engine.run("good", json!({})));
    assert_eq!(good.await.unwrap().1, "complete");
    // Two, and a few for the end of one statement and for the handlers.
    timeout(Duration::from_secs(8), worker.drain())
        .await
        .unwrap();
    lock.rollback().await.unwrap();
}

/// The handler has done its work, so its result must not be lost with the drain.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_set_aside_is_recorded_while_the_worker_drains() {
    let engine = Engine::start().await;
    engine
        .register("one", json!([step("a", "waits", &[])]))
        .await;
    let gate = Arc::new(Semaphore::new(0));
    let worker = engine.work(gated(&gate));
    let task = engine.create("one", json!({})).await;
    engine.until(CLAIMED, |claimed| claimed == 1).await;
    let mut lock = engine.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM tasker.tasks FOR UPDATE")
        .execute(&mut *lock)
        .await
        .unwrap();
    gate.add_permits(1);
    let drain = tokio::spawn(worker.drain());
    // More often than a worker would try that waits for nothing after a first failure.
    let waits = "SELECT query_start FROM pg_stat_activity
                 WHERE wait_event_type = 'Lock' AND query LIKE '%steps_complete%'
                     AND datname = current_database()";
    let mut tries = BTreeSet::new();
    until("the end is tried again and again", async || {
        let waiting: Vec<DateTime<Utc>> = sqlx::query_scalar(waits)
            .fetch_all(engine.pool())
            .await
            .unwrap();
        tries.extend(waiting);
        (tries.len() >= 5).then_some(())
    })
    .await;
    lock.rollback().await.unwrap();
    timeout(Duration::from_secs(20), drain)
        .await
        .expect("nothing is left to wait for")
        .unwrap();
    assert_eq!(engine.end(task).await, "complete");
    assert_eq!(
        engine.journal(task).await,
        ["a: enqueued(dependencies_complete) in_progress(claimed) complete(handler_completed)"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_stays_open_keeps_only_its_own_step_from_being_returned() {
    let engine = Engine::start().await;
    engine
        .register("retried", json!([retried("a", "second_hangs", 9)]))
        .await;
    let _worker = engine.work(Handlers::new().function(
        "second_hangs",
        async |step: StepContext| {
            if step.is_retry() {
                step.cancelled().await;
            }
            Err::<(), _>(StepError::retryable("again"))
        },
    ));
    for _ in 0..2 {
        engine.create("retried", json!({})).await;
    }
    let second =
        "SELECT count(*) FROM tasker.step_queue WHERE claimed_by IS NOT NULL AND attempt = 2";
    engine.until(second, |claimed| claimed == 2).await;
    // A handler's own transaction that completes the first step, on a connection that hangs.
    let mut open = engine.pool().begin().await.unwrap();
    let locked: uuid::Uuid =
        sqlx::query_scalar("SELECT workflow_step_uuid FROM tasker.step_queue LIMIT 1 FOR UPDATE")
            .fetch_one(&mut *open)
            .await
            .unwrap();
    sqlx::query(
        "UPDATE tasker.workflow_step_transitions SET updated_at = now()
         WHERE workflow_step_uuid = $1 AND most_recent",
    )
    .bind(locked)
    .execute(&mut *open)
    .await
    .unwrap();

    let lose = "UPDATE tasker.workers SET seen_at = now() - interval '1 hour';
                SELECT tasker.requeue_lost()";
    engine.pool().execute(lose).await.unwrap();
    let returned = "SELECT count(*) FROM tasker.workflow_step_transitions
                    WHERE metadata ->> 'reason' = 'lease_expired'";
    assert_eq!(engine.count(returned).await, 1);
    open.rollback().await.unwrap();
}
