//! Errors and checkpoints that cannot be stored as they are.

use serde_json::{Value, json};
use sqlx::Executor;
use tasker_worker::{Handlers, StepContext, StepError, StepOutcome};
use tokio::time::{Duration, timeout};

use super::engine::{CLAIMED, Engine};

fn tried(name: &str, callable: &str, attempts: u32) -> Value {
    json!({
        "name": name, "handler": {"callable": callable},
        "retry": {"max_attempts": attempts, "backoff": "none"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_error_is_shown_even_if_it_cannot_be_stored_as_it_is() {
    let engine = Engine::start().await;
    engine.register("nul", json!([tried("a", "nul", 2)])).await;
    engine
        .register("large", json!([tried("a", "large", 1)]))
        .await;
    engine
        .register("checkpoint", json!([tried("a", "checkpoint", 9)]))
        .await;
    let _worker = engine.work(
        Handlers::new()
            .function("nul", async |step: StepContext| {
                let message = if step.is_retry() { "b\0" } else { "a" };
                Err::<(), _>(StepError::retryable(message).with_context(json!(message)))
            })
            .function("large", async |_: StepContext| {
                let context = json!("x".repeat(1024 * 1024));
                Err::<(), _>(StepError::permanent("no").with_context(context))
            })
            .function("checkpoint", async |step: StepContext| {
                step.save_checkpoint("x".repeat(1024 * 1024)).await
            }),
    );
    for (name, member, expected) in [
        ("nul", "message", "b\u{fffd}"),
        ("nul", "context", "b\u{fffd}"),
        (
            "large",
            "context",
            "left out: it has 1048578 bytes, and max_result_bytes allows 1048576",
        ),
        ("checkpoint", "type", "CheckpointTooLarge"),
    ] {
        let (task, state) = engine.run(name, json!({})).await;
        assert_eq!(state, "error", "{name}");
        let error = engine.result(task, "a").await["error"].clone();
        assert_eq!(error[member], expected, "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_whose_error_postgresql_refuses_is_recorded_without_it() {
    let engine = Engine::start().await;
    engine
        .register("deep", json!([tried("a", "deep", 2)]))
        .await;
    let refuse = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION USING ERRCODE = ''54001'', MESSAGE = ''too deep''; END';
        CREATE TRIGGER refuse BEFORE INSERT ON tasker.workflow_step_transitions
            FOR EACH ROW WHEN (NEW.metadata -> 'error' ? 'context') EXECUTE FUNCTION refuse()";
    engine.pool().execute(refuse).await.unwrap();
    let _worker = engine.work(Handlers::new().function("deep", async |_: StepContext| {
        let error = StepError::retryable("deep").with_type("Deep");
        Err::<(), _>(error.with_context(json!([[]])))
    }));
    let (task, state) = engine.run("deep", json!({})).await;
    assert_eq!(state, "error");
    let error = engine.result(task, "a").await["error"].clone();
    assert_eq!(error["type"], "Deep", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("too deep"), "{error}");
    assert_eq!(
        engine.journal(task).await[0],
        "a: enqueued(dependencies_complete) in_progress(claimed) \
         waiting_for_retry(retryable_error) in_progress(claimed) error(attempts_exhausted)"
    );
}

/// As that of a commit when PostgreSQL's queue of notifications is full.
#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_a_commit_is_not_that_of_a_result() {
    let engine = Engine::start().await;
    let mut decision = tried("decide", "decide", 1);
    decision["type"] = json!("decision");
    let mut chosen = tried("chosen", "ok", 1);
    chosen["dependencies"] = json!(["decide"]);
    engine.register("created", json!([decision, chosen])).await;
    engine.register("plain", json!([tried("a", "ok", 1)])).await;
    let refuse = "
        CREATE SEQUENCE refusals;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN
                IF nextval(''refusals'') <= 3 THEN
                    RAISE EXCEPTION USING ERRCODE = ''54000'';
                END IF;
                RETURN NULL;
            END';
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON tasker.workflow_step_result_audit
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()";
    engine.pool().execute(refuse).await.unwrap();
    let worker = engine.work(
        Handlers::new()
            .function("ok", async |_: StepContext| Ok(()))
            .function("decide", async |_: StepContext| {
                Ok(StepOutcome::create_steps(["chosen"]))
            }),
    );
    let (_, state) = engine.run("created", json!({})).await;
    assert_eq!(state, "complete");
    let again = "ALTER SEQUENCE refusals RESTART";
    engine.pool().execute(again).await.unwrap();
    let task = engine.create("plain", json!({})).await;
    engine
        .until("SELECT last_value FROM refusals", |tries| tries >= 2)
        .await;
    // Else it is tried again half a minute later.
    worker.drain().await;
    assert_eq!(engine.end(task).await, "complete");
}

/// Else its handler would run again and again. Tried each second while the worker drains, so that the test is
/// short.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_refused_again_and_again_keeps_its_claim_until_the_worker_has_drained() {
    let engine = Engine::start().await;
    engine
        .register("never", json!([tried("a", "never", 1)]))
        .await;
    let refuse = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION USING ERRCODE = ''23514''; END';
        CREATE TRIGGER refuse BEFORE INSERT ON tasker.workflow_step_transitions
            FOR EACH ROW WHEN (NEW.to_state = 'error') EXECUTE FUNCTION refuse()";
    engine.pool().execute(refuse).await.unwrap();
    let worker = engine.work(Handlers::new().function("never", async |_: StepContext| {
        Err::<(), _>(StepError::permanent("never"))
    }));
    let task = engine.create("never", json!({})).await;
    engine.until(CLAIMED, |claimed| claimed == 1).await;
    let drain = timeout(Duration::from_secs(15), worker.drain());
    drain.await.expect("before the time for the drain is over");
    assert_eq!(
        engine.journal(task).await,
        ["a: enqueued(dependencies_complete) in_progress(claimed) enqueued(worker_drained)"]
    );
}
