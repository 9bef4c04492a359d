//! How workers read the queue.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::postgres::PgListener;
use tasker_shared::execution::{EndState, STEPS_CHANNEL};
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_worker::{Handlers, StepContext, StepError};
use tokio::time::timeout;

use super::engine::{Engine, step};
use super::hand::{Hand, steps};

fn nothing() -> Handlers {
    Handlers::new().function("ok", async |_: StepContext| Ok(()))
}

/// A transaction may be committed seconds after the time that it gives its steps, and where
/// notifications do not arrive, nobody hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_committed_late_and_unannounced_runs_with_the_next_poll() {
    let engine = Engine::start().await;
    engine
        .register("late", json!([step("a", "later", &[])]))
        .await;
    let handlers = Handlers::new().function("later", async |step: StepContext| {
        if step.is_retry() {
            return Ok(());
        }
        Err(StepError::retryable("later").retry_after(Duration::from_hours(1)))
    });
    let _worker = engine.work(handlers);
    let task = engine.create("late", json!({})).await;
    let waits = "SELECT count(*) FROM tasker.step_queue WHERE state = 'waiting_for_retry'";
    engine.until(waits, |waiting| waiting > 0).await;
    sqlx::query("UPDATE tasker.step_queue SET due_at = clock_timestamp() - interval '2 seconds'")
        .execute(engine.pool())
        .await
        .unwrap();
    let started = Instant::now();
    assert_eq!(engine.end(task).await, "complete");
    // The whole queue is only read every 30 s.
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "it took {took:?}");
}

/// Workers read the queue from the time of the newest steps on. A task that is committed late is found
/// because its announcement has its time.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_created_at_once_are_announced_with_the_time_of_the_first() {
    let engine = Engine::start().await;
    engine.register("many", json!([step("a", "ok", &[])])).await;
    engine.create("many", json!({})).await;
    let mut listener = PgListener::connect_with(engine.pool()).await.unwrap();
    listener.listen(STEPS_CHANNEL).await.unwrap();
    // None of them is alone, and the first has just been announced.
    futures::future::join_all((0..20).map(|_| engine.create("many", json!({})))).await;
    let dues = "SELECT (extract(epoch FROM due_at) * 1000000)::bigint FROM tasker.step_queue
                ORDER BY due_at OFFSET 1";
    let dues: Vec<i64> = sqlx::query_scalar(dues)
        .fetch_all(engine.pool())
        .await
        .unwrap();
    assert_eq!(dues.len(), 20);
    let mut announced = Vec::new();
    let limit = Duration::from_secs(10);
    while announced.len() < 2 || announced.iter().min() > dues.iter().min() {
        let notification = timeout(limit, listener.recv()).await.unwrap().unwrap();
        let time: i64 = notification.payload().parse().expect("a time");
        announced.push(time);
    }
    assert!(announced.len() <= 20, "{announced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_tasks_with_higher_priority_are_claimed_first() {
    let engine = Engine::start().await;
    let line = json!([step("a", "ok", &[]), step("b", "ok", &["a"])]);
    engine.register("line", line).await;
    let mut tasks = Vec::new();
    for priority in [-1, 5, 0] {
        let mut request = TaskRequest::new("line", "test").with_version("1.0.0");
        request.priority = Some(priority);
        let created = engine.initializer.initialize(request).await.unwrap();
        tasks.push(created.task_uuid);
    }
    let by_priority = [tasks[1], tasks[2], tasks[0]];
    let mut hand = Hand::register(&engine).await;
    let mut claims = Vec::new();
    for task in by_priority {
        let claim = hand.claim(1).await[0];
        assert_eq!(claim.task_uuid, task);
        claims.push(claim);
    }
    // The worker takes one of the steps that these make ready at once.
    let rows = hand.end(&claims, EndState::Complete, 1, None).await;
    let mut next = steps(&rows);
    for _ in 0..2 {
        next.extend(hand.claim(1).await);
    }
    assert!(next.iter().map(|claim| claim.task_uuid).eq(by_priority));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_not_wait_for_the_poll() {
    let engine =
        Engine::start_with(|config| config.worker.execution.poll_interval_ms = 60_000).await;
    let mut flaky = step("a", "flaky", &[]);
    flaky["retry"] = json!({"max_attempts": 3, "backoff": "linear", "backoff_base_ms": 20});
    let mut at_once = step("a", "flaky", &[]);
    at_once["retry"] = json!({"max_attempts": 3, "backoff": "none"});
    let mut later = flaky.clone();
    later["name"] = json!("b");
    later["retry"]["backoff_base_ms"] = json!(150);
    engine.register("flaky", json!([flaky, later])).await;
    engine.register("at_once", json!([at_once])).await;
    let _worker = engine.work(
        Handlers::new().function("flaky", async |step: StepContext| {
            if step.is_last_attempt() {
                return Ok(());
            }
            Err(StepError::retryable("not yet"))
        }),
    );
    for name in ["flaky", "at_once"] {
        let run = timeout(Duration::from_secs(20), engine.run(name, json!({})));
        assert_eq!(run.await.expect(name).1, "complete");
    }
}

/// The statistics of the queue are often from a moment when it was empty. A plan from then must not
/// read all of a queue that is long now.
#[tokio::test(flavor = "multi_thread")]
async fn a_completion_does_not_read_the_steps_of_others() {
    const OTHERS: i64 = 20_000;
    let engine = Engine::start().await;
    let steps = json!([
        step("a", "ok", &[]),
        step("b", "ok", &["a"]),
        step("c", "ok", &["b"])
    ]);
    engine.register("line", steps).await;
    sqlx::query("VACUUM (ANALYZE) tasker.step_queue")
        .execute(engine.pool())
        .await
        .unwrap();
    let worker = engine.work(nothing());
    // The worker's session plans its statements now.
    engine.run("line", json!({})).await;
    sqlx::query(
        "INSERT INTO tasker.step_queue
             (task_uuid, workflow_step_uuid, callable, priority, due_at, state, sort_key, attempt,
              uncounted)
         SELECT gen_random_uuid(), gen_random_uuid(), 'absent', 0, now() + interval '1 hour',
                'enqueued', 0, 1, 0
         FROM generate_series(1, $1)",
    )
    .bind(OTHERS)
    .execute(engine.pool())
    .await
    .unwrap();
    engine.run("line", json!({})).await;
    worker.drain().await;
    // Sessions report all their figures when they end.
    let end = "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'tasker'";
    assert!(engine.count(end).await > 0);
    let scans = "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_indexes
                 WHERE indexrelname = 'step_queue_pkey'";
    let read = "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes
                WHERE indexrelname = 'step_queue_pkey'";
    let (scans, read) = (engine.count(scans).await, engine.count(read).await);
    assert!(
        scans >= 6 && read < OTHERS / 10,
        "{scans} scans read {read} entries"
    );
}
