//! Creations and operations that are committed although their answers are lost.

use axum::body::Body;
use futures::future::join_all;
use http::Request;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tasker_shared::config::tasker::{CacheConfig, TaskerConfig};
use tasker_test_support::{TcpProxy, TestDatabase, until};
use uuid::Uuid;

use crate::app::TestApp;

/// Lets each creation of a task wait for a lock that the session has.
const HOLD: &str = "
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END';
    CREATE TRIGGER hold BEFORE INSERT ON tasker.tasks FOR EACH ROW EXECUTE FUNCTION hold();
    SELECT pg_advisory_lock(1)";
/// The same by looking at the lock again and again, which has no end by itself.
const HOLD_AWAKE: &str = "
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP PERFORM pg_sleep(0.1); END LOOP; RETURN NEW; END';
    CREATE TRIGGER hold BEFORE INSERT ON tasker.tasks FOR EACH ROW EXECUTE FUNCTION hold();
    SELECT pg_advisory_lock(1)";
const RELEASE: &str = "SELECT pg_advisory_unlock(1)";

/// The same for commits that changed a step's state.
const HOLD_STEPS: &str = "
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON tasker.workflow_step_transitions
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold();
    SELECT pg_advisory_lock(1)";

/// A context with which a task is created alone, so that its creation waits for a lock for long.
fn large() -> Value {
    json!({"text": "x".repeat(20_000)})
}

/// A service behind a proxy, and a session that lets creations wait.
async fn held(hold: &'static str) -> (TestApp, TcpProxy, PgConnection) {
    held_with(TaskerConfig::default(), hold).await
}

async fn held_with(config: TaskerConfig, hold: &'static str) -> (TestApp, TcpProxy, PgConnection) {
    let database = TestDatabase::create().await.unwrap();
    let proxy = TcpProxy::before(database.url()).await.unwrap();
    let mut direct = PgConnection::connect(database.url()).await.unwrap();
    let app = TestApp::start_on(database, proxy.url(), config).await;
    let always = json!({"identity_strategy": "always_unique"});
    app.register("order", always).await;
    assert_eq!(app.task_of("order", json!({})).await.status, 201);
    direct.execute(hold).await.unwrap();
    (app, proxy, direct)
}

async fn until_one_waits(direct: &mut PgConnection) {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database()
                   AND (wait_event_type = 'Lock' OR wait_event = 'PgSleep')";
    until("a statement waits", async || {
        let waiting = sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut *direct);
        (waiting.await.unwrap() > 0).then_some(())
    })
    .await;
}

async fn tasks(direct: &mut PgConnection) -> Vec<Uuid> {
    sqlx::query_scalar("SELECT task_uuid FROM tasker.tasks ORDER BY task_uuid")
        .fetch_all(direct)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_with_its_connection_is_found_again() {
    let (app, proxy, mut direct) = held(HOLD).await;
    let lose = async {
        until_one_waits(&mut direct).await;
        proxy.cut().await;
        direct.execute(RELEASE).await.unwrap();
    };
    let (answer, ()) = tokio::join!(app.task_of("order", large()), lose);
    assert_eq!(answer.status, 201, "{answer:?}");
    let tasks = tasks(&mut direct).await;
    assert_eq!(tasks.len(), 2, "the answered one and the one of before");
    assert_eq!(answer.json()["task_uuid"], json!(tasks[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_get_the_answer_reads_which_task_may_exist() {
    let (app, proxy, mut direct) = held(HOLD).await;
    let lose = async {
        until_one_waits(&mut direct).await;
        proxy.half_open().await;
        direct.execute(RELEASE).await.unwrap();
    };
    let (answer, ()) = tokio::join!(app.task_of("order", large()), lose);
    assert_eq!(answer.status, 503, "{answer:?}");
    let problem = answer.problem();
    assert_eq!(problem["code"], "task_uncertain");
    let tasks = tasks(&mut direct).await;
    assert_eq!(tasks.len(), 2);
    assert_eq!(problem["instance"], format!("/v1/tasks/{}", tasks[1]));
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains(&tasks[1].to_string())
    );
    proxy.forward().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_statement_whose_connection_is_lost_without_a_sign_are_created() {
    let mut config = TaskerConfig::default();
    // So that requests use connections for creations only.
    config.common.cache = Some(CacheConfig {
        enabled: true,
        redis: None,
        ..CacheConfig::default()
    });
    let (app, proxy, mut direct) = held_with(config, HOLD_AWAKE).await;
    let lose = async {
        until_one_waits(&mut direct).await;
        proxy.hang();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event = 'PgSleep'";
        direct.execute(end).await.unwrap();
        direct.execute(RELEASE).await.unwrap();
        // Connections in place of those that hang.
        join_all((0..6).map(|_| app.get("/v1/tasks"))).await;
    };
    let requests = (0..10).map(|n| app.task_of("order", json!({"n": n})));
    let (answers, ()) = tokio::join!(join_all(requests), lose);
    for answer in answers {
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    assert_eq!(tasks(&mut direct).await.len(), 11);
}

/// A failed attempt waits for its retry.
const FAIL: &str = "
    UPDATE tasker.step_queue SET state = 'waiting_for_retry', sort_key = 1, attempt = 2,
                                 due_at = now() + interval '1 hour';
    INSERT INTO tasker.workflow_step_transitions (workflow_step_uuid, to_state, sort_key)
    SELECT workflow_step_uuid, 'waiting_for_retry', 1 FROM tasker.step_queue";

#[tokio::test(flavor = "multi_thread")]
async fn operations_whose_answers_are_lost_take_effect_once() {
    let reset = json!({"action_type": "reset_for_retry", "reset_by": "ann", "reason": "mended"});
    let complete = json!({
        "action_type": "complete_manually", "completed_by": "ann", "reason": "done by hand",
        "completion_data": {},
    });
    for (method, action, first, later) in [
        ("PATCH", reset, "enqueued", 200),
        ("PATCH", complete, "complete", 409),
        ("DELETE", json!({}), "cancelled", 409),
    ] {
        let (app, proxy, mut direct) = held("SELECT 1").await;
        direct.execute(FAIL).await.unwrap();
        direct.execute(HOLD_STEPS).await.unwrap();
        let (task, step): (Uuid, Uuid) =
            sqlx::query_as("SELECT task_uuid, workflow_step_uuid FROM tasker.workflow_steps")
                .fetch_one(&mut direct)
                .await
                .unwrap();
        let path = match method {
            "PATCH" => format!("/v1/tasks/{task}/workflow_steps/{step}"),
            _ => format!("/v1/tasks/{task}"),
        };
        let request = || {
            Request::builder()
                .method(method)
                .uri(&path)
                .header("content-type", "application/json")
                .body(Body::from(action.to_string()))
                .unwrap()
        };
        let lose = async {
            until_one_waits(&mut direct).await;
            proxy.cut().await;
            direct.execute(RELEASE).await.unwrap();
        };
        let (answer, ()) = tokio::join!(app.send(request()), lose);
        assert_eq!(answer.status, 200, "{first}: {answer:?}");
        assert_eq!(answer.json()["status"], first);
        let moves: i64 =
            sqlx::query_scalar("SELECT count(*) FROM tasker.workflow_step_transitions")
                .fetch_one(&mut direct)
                .await
                .unwrap();
        assert_eq!(moves, 2, "{first}");
        assert_eq!(app.send(request()).await.status, later, "{first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_became_read_only_created_no_task() {
    let database = TestDatabase::create().await.unwrap();
    let url = database.url().to_owned();
    let mut direct = PgConnection::connect(&url).await.unwrap();
    let app = TestApp::start_on(database, &url, TaskerConfig::default()).await;
    let always = json!({"identity_strategy": "always_unique"});
    app.register("order", always).await;
    assert_eq!(app.task_of("order", json!({})).await.status, 201);
    direct
        .execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',
                 current_database()); END $$;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    let answer = app.task_of("order", json!({})).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.problem()["code"], "database_read_only");
    assert_eq!(tasks(&mut direct).await.len(), 1);
}
