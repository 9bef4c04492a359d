//! Tasks whose creation is committed although its answer is lost.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tasker_shared::config::tasker::TaskerConfig;
use tasker_test_support::{TcpProxy, TestDatabase};
use uuid::Uuid;

use crate::app::TestApp;

const PATIENCE: Duration = Duration::from_secs(10);

/// Lets each creation of a task wait for a lock that the session has.
const HOLD: &str = "
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END';
    CREATE TRIGGER hold BEFORE INSERT ON tasker.tasks FOR EACH ROW EXECUTE FUNCTION hold();
    SELECT pg_advisory_lock(1)";
const RELEASE: &str = "SELECT pg_advisory_unlock(1)";

/// A service behind a proxy, and a session that lets creations wait.
async fn held() -> (TestApp, TcpProxy, PgConnection) {
    let database = TestDatabase::create().await.unwrap();
    let proxy = TcpProxy::before(database.url()).await.unwrap();
    let mut direct = PgConnection::connect(database.url()).await.unwrap();
    let app = TestApp::start_on(database, proxy.url(), TaskerConfig::default()).await;
    let always = json!({"identity_strategy": "always_unique"});
    app.register("order", always).await;
    assert_eq!(app.task_of("order", json!({})).await.status, 201);
    direct.execute(HOLD).await.unwrap();
    (app, proxy, direct)
}

async fn until_a_creation_waits(direct: &mut PgConnection) {
    let started = Instant::now();
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    loop {
        let waiting: i64 = sqlx::query_scalar(sql)
            .fetch_one(&mut *direct)
            .await
            .unwrap();
        if waiting > 0 {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "no creation waits");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn tasks(direct: &mut PgConnection) -> Vec<Uuid> {
    sqlx::query_scalar("SELECT task_uuid FROM tasker.tasks ORDER BY task_uuid")
        .fetch_all(direct)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_with_its_connection_is_found_again() {
    let (app, proxy, mut direct) = held().await;
    let lose = async {
        until_a_creation_waits(&mut direct).await;
        proxy.cut().await;
        direct.execute(RELEASE).await.unwrap();
    };
    let (answer, ()) = tokio::join!(app.task_of("order", json!({})), lose);
    assert_eq!(answer.status, 201, "{answer:?}");
    let tasks = tasks(&mut direct).await;
    assert_eq!(tasks.len(), 2, "the answered one and the one of before");
    assert_eq!(answer.json()["task_uuid"], json!(tasks[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_get_the_answer_reads_which_task_may_exist() {
    let (app, proxy, mut direct) = held().await;
    let lose = async {
        until_a_creation_waits(&mut direct).await;
        proxy.half_open().await;
        direct.execute(RELEASE).await.unwrap();
    };
    let (answer, ()) = tokio::join!(app.task_of("order", json!({})), lose);
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
