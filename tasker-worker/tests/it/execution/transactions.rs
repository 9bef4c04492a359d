//! Tasks and results in transactions of others.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_test_support::until;
use tasker_worker::{Handlers, StepContext, StepError, StepOutcome};
use tokio::time::sleep;

use super::engine::{CLAIMED, Engine, counted, step};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_transaction_runs_only_if_that_is_committed() {
    // A poll reaches back by seconds, and would find the task without being notified.
    let engine =
        Engine::start_with(|config| config.worker.execution.poll_interval_ms = 60_000).await;
    engine.register("one", json!([step("a", "ok", &[])])).await;
    let _worker = engine.work(Handlers::new().function("ok", async |_: StepContext| Ok(())));
    let listens = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    engine.until(listens, |listeners| listeners > 0).await;
    let request = || TaskRequest {
        version: String::from("1.0.0"),
        ..TaskRequest::new("one", "test")
    };
    let mut transaction = engine.pool().begin().await.unwrap();
    engine
        .initializer
        .create_in(&mut transaction, request())
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(engine.count("SELECT count(*) FROM tasker.tasks").await, 0);

    let mut transaction = engine.pool().begin().await.unwrap();
    let task = engine
        .initializer
        .create_in(&mut transaction, request())
        .await
        .unwrap();
    // The worker reads the queue later than a claim looks back: the announcement must lead it there.
    sleep(Duration::from_millis(500)).await;
    assert_eq!(engine.run("one", json!({})).await.1, "complete");
    transaction.commit().await.unwrap();
    let committed = tokio::time::Instant::now();
    assert_eq!(engine.end(task.task_uuid).await, "complete");
    assert!(committed.elapsed() < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_and_the_handlers_writes_are_committed_together() {
    let engine = Engine::start().await;
    engine
        .pool()
        .execute("CREATE TABLE ledger (attempt int)")
        .await
        .unwrap();
    let retry = json!({"max_attempts": 3, "backoff": "none"});
    let steps = json!([
        {"name": "a", "handler": {"callable": "book"}, "retry": retry},
        step("b", "after", &["a"]),
    ]);
    engine.register("book", steps).await;
    let pool = engine.pool().clone();
    let book = move |step: StepContext| {
        let pool = pool.clone();
        async move {
            let mut transaction = pool.begin().await?;
            sqlx::query("INSERT INTO ledger VALUES ($1)")
                .bind(step.attempt())
                .execute(&mut *transaction)
                .await?;
            let outcome = step
                .complete_in(&mut transaction, json!(step.attempt()))
                .await?;
            if step.is_retry() {
                transaction.commit().await?;
            } else {
                // Forgets to commit.
                drop(transaction);
            }
            Ok(outcome)
        }
    };
    let _worker = engine.work(
        Handlers::new()
            .function("book", book)
            .function("after", async |step: StepContext| {
                step.dependency::<Value>("a")
            }),
    );
    let (task, state) = engine.run("book", json!({})).await;
    assert_eq!(state, "complete");
    assert_eq!(engine.result(task, "b").await, json!(2));
    assert_eq!(
        engine
            .count("SELECT count(*) FROM ledger WHERE attempt = 2")
            .await,
        1
    );
    assert_eq!(engine.count("SELECT count(*) FROM ledger").await, 1);
}

/// On one thread, whose metrics are those of this test.
#[tokio::test]
async fn attempts_are_counted_by_what_was_committed() {
    let recorder: &'static _ = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let _metrics = metrics::set_default_local_recorder(recorder);
    let engine = Engine::start().await;
    let retry = json!({"max_attempts": 2, "backoff": "none"});
    let of = |name: &str| json!({"name": name, "handler": {"callable": "book"}, "retry": retry});
    let steps = json!([of("forgets"), of("fails"), of("panics"), of("good")]);
    engine.register("book", steps).await;
    let pool = engine.pool().clone();
    let book = move |step: StepContext| {
        let pool = pool.clone();
        async move {
            let mut transaction = pool.begin().await?;
            let outcome = step.complete_in(&mut transaction, json!(1)).await?;
            if step.name() == "forgets" && !step.is_retry() {
                return Ok(outcome);
            }
            transaction.commit().await?;
            match step.name() {
                "fails" => Err(StepError::permanent("after the commit")),
                "panics" => panic!("after the commit"),
                _ => Ok(outcome),
            }
        }
    };
    let _worker = engine.work(Handlers::new().function("book", book));
    let (_, state) = engine.run("book", json!({})).await;
    assert_eq!(state, "complete");
    counted(|| recorder.handle().render(), &["complete 4", "retry 1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_in_a_transaction_that_does_not_see_others_is_refused() {
    let engine = Engine::start().await;
    let mut decision = step("decide", "isolated", &[]);
    decision["type"] = json!("decision");
    let steps = json!([
        decision,
        step("a", "isolated", &[]),
        step("chosen", "isolated", &["decide"])
    ]);
    engine.register("isolated", steps).await;
    let pool = engine.pool().clone();
    let isolated = move |step: StepContext| {
        let pool = pool.clone();
        async move {
            let level: String = step.input("level")?;
            let begin = format!("BEGIN ISOLATION LEVEL {level}");
            let mut connection = pool.acquire().await?;
            let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
            let outcome = match step.name() {
                "decide" => StepOutcome::create_steps(["chosen"]),
                _ => StepOutcome::from(json!(1)),
            };
            let outcome = step.complete_in(&mut transaction, outcome).await?;
            transaction.commit().await?;
            Ok(outcome)
        }
    };
    let _worker = engine.work(Handlers::new().function("isolated", isolated));
    for level in ["READ COMMITTED", "READ UNCOMMITTED"] {
        let (_, state) = engine.run("isolated", json!({"level": level})).await;
        assert_eq!(state, "complete");
    }
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let (task, state) = engine.run("isolated", json!({"level": level})).await;
        assert_eq!(state, "error");
        for name in ["a", "decide"] {
            let error = engine.result(task, name).await["error"].clone();
            assert_eq!(error["type"], "IsolationLevel", "{error}");
            assert_eq!(error["retryable"], false);
        }
    }
}

/// On one thread, whose metrics are those of this test.
#[tokio::test]
async fn a_cancelled_task_ends_and_refuses_the_late_result() {
    let recorder: &'static _ = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let _metrics = metrics::set_default_local_recorder(recorder);
    let engine = Engine::start_with(|config| config.worker.execution.lease_seconds = 3).await;
    engine
        .register(
            "long",
            json!([step("a", "wait", &[]), step("b", "wait", &["a"])]),
        )
        .await;
    let _worker = engine.work(Handlers::new().function("wait", async |step: StepContext| {
        step.cancelled().await;
        Ok(())
    }));
    let task = engine.create("long", json!({})).await;
    engine.until(CLAIMED, |claimed| claimed == 1).await;
    let cancel = "SELECT tasker.task_cancel($1, '{\"reason\": \"cancelled\"}')";
    let outcome: String = sqlx::query_scalar(cancel)
        .bind(task)
        .fetch_one(engine.pool())
        .await
        .unwrap();
    assert_eq!(outcome, "cancelled");
    assert_eq!(engine.end(task).await, "cancelled");
    until("the late result is refused", async || {
        let rendered = recorder.handle().render();
        let refused = "\ntasker_step_results_refused_total 1\n";
        rendered.contains(refused).then_some(())
    })
    .await;
    let journal = engine.journal(task).await;
    assert_eq!(
        journal,
        [
            "a: enqueued(dependencies_complete) in_progress(claimed) cancelled(cancelled)",
            "b: cancelled(cancelled)"
        ]
    );
}
