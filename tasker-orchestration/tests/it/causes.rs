//! The health report says why PostgreSQL cannot be used.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tasker_shared::config::tasker::TaskerConfig;
use tasker_test_support::{PostgresServer, TcpProxy, TestDatabase};

use crate::app::TestApp;

const PATIENCE: Duration = Duration::from_secs(10);

async fn database_check(app: &TestApp) -> Value {
    app.get("/health/detailed").await.json()["checks"]["database"].clone()
}

/// Waits until the check of the database has this cause.
async fn until(app: &TestApp, cause: &str) -> Value {
    let started = Instant::now();
    loop {
        let check = database_check(app).await;
        if check["cause"] == cause {
            return check;
        }
        assert!(started.elapsed() < PATIENCE, "not {cause}: {check}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_and_a_lost_database_are_told_apart() {
    let server = PostgresServer::start().await.unwrap();
    let admin = server.url("postgres");
    let database = TestDatabase::create_on(&admin).await.unwrap();
    let url = database.url().to_owned();
    let name = database.name().to_owned();
    let app = TestApp::start_on(database, &url, TaskerConfig::default()).await;
    assert_eq!(database_check(&app).await["status"], "healthy");
    server.stop().await.unwrap();
    let refused = until(&app, "connection_refused").await;
    assert_eq!(refused["status"], "unhealthy");
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("start PostgreSQL"),
        "{refused}"
    );
    server.restart().await.unwrap();
    let mut connection = PgConnection::connect(&admin).await.unwrap();
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    connection.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
    let unknown = until(&app, "unknown_database").await;
    assert!(
        unknown["error"].as_str().unwrap().contains("createdb"),
        "{unknown}"
    );
    let ready = app.get("/health/ready").await.problem();
    assert_eq!(
        ready["detail"],
        "PostgreSQL does not accept the service. Its operators have to correct that."
    );
}

/// All connections are lost without a sign, as by a firewall that forgets them; new ones work.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_connections_hang_is_ready_if_new_ones_are_answered() {
    let database = TestDatabase::create().await.unwrap();
    let proxy = TcpProxy::before(database.url()).await.unwrap();
    let app = TestApp::start_on(database, proxy.url(), TaskerConfig::default()).await;
    let stays_ready = async |idle| {
        tokio::time::sleep(idle).await;
        proxy.hang();
        for _ in 0..3 {
            if app.get("/health/ready").await.status != 200 {
                return false;
            }
        }
        true
    };
    // With a pause and without: a connection that was idle for a second is pinged first.
    for idle in [Duration::ZERO, Duration::from_millis(1100)] {
        let mut is_ready = false;
        // A probe has a second, which a busy machine may need for other things.
        for _ in 0..3 {
            is_ready = is_ready || stays_ready(idle).await;
        }
        assert!(is_ready, "after {idle:?}");
    }
    proxy.half_open().await;
    assert_eq!(app.get("/health/ready").await.status, 503);
}

/// As over a long distance: a probe has less time than an attempt to connect takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_again_if_connecting_takes_longer_than_a_probe() {
    let database = TestDatabase::create().await.unwrap();
    let proxy = TcpProxy::before(database.url()).await.unwrap();
    let app = TestApp::start_on(database, proxy.url(), TaskerConfig::default()).await;
    assert_eq!(app.get("/health/ready").await.status, 200);
    proxy.delay(Duration::from_millis(150)).await;
    proxy.cut().await;
    let started = Instant::now();
    let mut refused = 0;
    while app.get("/health/ready").await.status != 200 {
        assert!(started.elapsed() < PATIENCE);
        refused += 1;
    }
    assert!(refused > 0, "connecting took no time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_in_use_is_told_and_measured() {
    let mut config = TaskerConfig::default();
    config.common.database.pool.max_connections = 2;
    let app = TestApp::start_with(config).await;
    let held = (
        app.service_pool().acquire().await.unwrap(),
        app.service_pool().acquire().await.unwrap(),
    );
    let check = until(&app, "pool_exhausted").await;
    assert_eq!(check["max_connections"], 2);
    let metrics = app.get("/metrics").await.text;
    assert!(
        metrics.contains("tasker_database_connections_max "),
        "{metrics}"
    );
    assert!(
        metrics.contains("tasker_database_connections{state=\"used\"} "),
        "{metrics}"
    );
    drop(held);
    let started = Instant::now();
    while database_check(&app).await["status"] != "healthy" {
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_the_tables_says_that_it_is_not_migrated() {
    let app = TestApp::start().await;
    app.pool()
        .execute("DROP SCHEMA tasker CASCADE")
        .await
        .unwrap();
    let answer = app.get("/v1/tasks").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem()["code"], "database_not_migrated");
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.problem()["code"], "database_not_migrated");
    let check = until(&app, "not_migrated").await;
    assert_eq!(check["status"], "unhealthy");
    assert!(
        check["error"].as_str().unwrap().contains("--migrate"),
        "{check}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_table_that_is_missing_is_named() {
    let app = TestApp::start().await;
    app.pool()
        .execute("ALTER TABLE tasker.workflow_steps RENAME TO gone")
        .await
        .unwrap();
    let check = until(&app, "not_migrated").await;
    assert!(
        check["error"]
            .as_str()
            .unwrap()
            .contains("tasker.workflow_steps"),
        "{check}"
    );
}

/// The index of a service with a cache cannot be polled then, which is no lost server.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_index_says_why_it_is_stale() {
    let app = TestApp::start_cached().await;
    app.register("order", json!({})).await;
    app.become_current().await;
    app.pool()
        .execute("ALTER SCHEMA tasker RENAME TO gone")
        .await
        .unwrap();
    let started = Instant::now();
    let problem = loop {
        let answer = app.task_of("order", json!({})).await;
        assert_eq!(answer.status, 503);
        let problem = answer.problem();
        if problem["code"] == "template_directory_stale" {
            break problem;
        }
        assert!(started.elapsed() < PATIENCE, "{problem}");
    };
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("does not have the service's tables"),
        "{detail}"
    );
}

/// The pool tries to connect until its own limit is over, and knows nothing then.
#[tokio::test(flavor = "multi_thread")]
async fn requests_say_that_the_server_is_lost_and_not_that_connections_are_in_use() {
    let server = PostgresServer::start().await.unwrap();
    let database = TestDatabase::create_on(&server.url("postgres"))
        .await
        .unwrap();
    let url = database.url().to_owned();
    let mut config = TaskerConfig::default();
    config.common.database.pool.max_connections = 2;
    config.common.database.pool.acquire_timeout_seconds = 1;
    let app = TestApp::start_on(database, &url, config).await;
    app.register("order", json!({})).await;
    server.stop().await.unwrap();
    // As many as the pool has connections, all of which it tries to open.
    let lists = futures::future::join_all((0..2).map(|_| app.get("/v1/tasks")));
    let (created, lists) = tokio::join!(app.task_of("order", json!({})), lists);
    for answer in lists.into_iter().chain([created]) {
        assert_eq!(answer.status, 503);
        let problem = answer.problem();
        assert_eq!(
            problem["detail"], "PostgreSQL cannot be reached. Try again.",
            "{problem}"
        );
    }
    server.restart().await.unwrap();
    let started = Instant::now();
    while app.get("/v1/tasks").await.status != 200 {
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_for_a_lock_is_listed_with_the_holder() {
    let app = TestApp::start().await;
    app.register("order", json!({"identity_strategy": "always_unique"}))
        .await;
    let mut holder = app.pool().acquire().await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut *holder)
        .await
        .unwrap();
    holder
        .execute("BEGIN; LOCK TABLE tasker.tasks")
        .await
        .unwrap();
    let watch = async {
        let started = Instant::now();
        loop {
            let check = database_check(&app).await;
            if let Some(wait) = check["lock_waits"][0].as_str() {
                assert!(wait.ends_with(&format!("locked by pid {pid}")), "{wait}");
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{check}");
        }
        holder.execute("ROLLBACK").await.unwrap();
    };
    let (answer, ()) = tokio::join!(app.task_of("order", json!({})), watch);
    assert_eq!(answer.status, 201);
}
