//! Waits for the clock of template changes.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tasker_shared::config::tasker::DatabaseConfig;
use tasker_shared::database;
use tasker_shared::error_chain::Chain;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::{Access, PostgresServer, TestDatabase};

use crate::app::{TestApp, database_config, eventually, marker, template, waits_for_a_lock};

const CHANGE_A: &str =
    "UPDATE tasker.named_tasks SET configuration = '{\"n\": 1}' WHERE name = 'a'";
const CHANGE_B: &str =
    "UPDATE tasker.named_tasks SET configuration = '{\"n\": 2}' WHERE name = 'b'";
const DESCRIBE_A: &str = "UPDATE tasker.named_tasks SET description = 'it' WHERE name = 'a'";
const DESCRIBE: &str = "UPDATE tasker.named_tasks SET description = 'other' WHERE name = 'b'";

async fn register(app: &TestApp) {
    for name in ["a", "b"] {
        let template = template("payments", name, 1);
        let registered = app.uncached().register_task_template(&template).await;
        registered.unwrap();
    }
}

/// Changes a template, takes the clock as a COMMIT would, and stays idle.
async fn hold_the_clock(app: &TestApp) -> PgConnection {
    let mut holder = PgConnection::connect(app.database.url()).await.unwrap();
    holder.execute("BEGIN").await.unwrap();
    holder.execute(CHANGE_A).await.unwrap();
    holder
        .execute("SET CONSTRAINTS ALL IMMEDIATE")
        .await
        .unwrap();
    holder
}

/// Changes another template, and returns the error of that and the time until it came.
async fn refused(app: &TestApp) -> (String, Duration) {
    let started = Instant::now();
    let error = app.pool.execute(CHANGE_B).await.unwrap_err();
    let refusal = error.as_database_error().unwrap();
    assert_eq!(refusal.code().as_deref(), Some("55P03"), "{refusal}");
    (refusal.message().to_owned(), started.elapsed())
}

#[tokio::test]
async fn a_commit_that_finds_the_clock_held_fails_in_seconds_and_names_the_holder() {
    let app = TestApp::start().await;
    register(&app).await;
    let mut holder = hold_the_clock(&app).await;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut holder)
        .await
        .unwrap();
    let (message, waited) = refused(&app).await;
    assert!(
        message.contains(&format!("locked by pid {pid}")),
        "{message}"
    );
    assert!(waited < Duration::from_secs(8), "{waited:?}");

    // It is no longer than the holder holds it, and nothing is left behind.
    holder.execute("COMMIT").await.unwrap();
    app.pool.execute(CHANGE_B).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_finds_the_clock_being_emptied_names_who_empties_it() {
    let app = TestApp::start().await;
    register(&app).await;
    let mut holder = PgConnection::connect(app.database.url()).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut holder)
        .await
        .unwrap();
    holder
        .execute("BEGIN; TRUNCATE tasker.template_clock")
        .await
        .unwrap();
    // Their own limit, of a session that has none.
    let mut other = PgConnection::connect(app.database.url()).await.unwrap();
    other.execute("SET lock_timeout = 0").await.unwrap();
    let started = Instant::now();
    let error = other.execute(CHANGE_B).await.unwrap_err().to_string();
    assert!(error.contains(&format!("locked by pid {pid}")), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8));
    holder.execute("ROLLBACK").await.unwrap();
    other.execute(CHANGE_B).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_waits_for_a_synchronous_standby_is_named_as_the_holder() {
    let server = PostgresServer::start().await.unwrap();
    let database = TestDatabase::create_on(&server.url("postgres")).await;
    let app = TestApp::on(database.unwrap()).await;
    register(&app).await;
    let mut admin = PgConnection::connect(app.database.url()).await.unwrap();
    let mut holder = PgConnection::connect(app.database.url()).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut holder)
        .await
        .unwrap();
    // A standby that does not exist.
    for statement in [
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
        "SELECT pg_reload_conf()",
    ] {
        admin.execute(statement).await.unwrap();
    }
    eventually("the server wants the standby", || async {
        let shown: String = sqlx::query_scalar("SHOW synchronous_standby_names")
            .fetch_one(&app.pool)
            .await
            .unwrap();
        (shown == "nobody").then_some(())
    })
    .await;
    let committing = tokio::spawn(async move { holder.execute(CHANGE_A).await.map(drop) });
    eventually("the commit waits for the standby", || async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let waits: i64 = sqlx::query_scalar(waits)
            .fetch_one(&app.pool)
            .await
            .unwrap();
        (waits > 0).then_some(())
    })
    .await;
    let (message, waited) = refused(&app).await;
    assert!(
        message.contains(&format!("locked by pid {pid}")),
        "{message}"
    );
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    for statement in [
        "ALTER SYSTEM RESET synchronous_standby_names",
        "SELECT pg_reload_conf()",
    ] {
        admin.execute(statement).await.unwrap();
    }
    committing.await.unwrap().unwrap();
    app.pool.execute(CHANGE_B).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_finds_the_pointers_locked_fails_in_seconds() {
    let app = TestApp::start().await;
    register(&app).await;
    let mut holder = PgConnection::connect(app.database.url()).await.unwrap();
    holder
        .execute("BEGIN; LOCK TABLE tasker.template_versions")
        .await
        .unwrap();
    let mut other = PgConnection::connect(app.database.url()).await.unwrap();
    other.execute("SET lock_timeout = 0").await.unwrap();
    let started = Instant::now();
    let error = other.execute(CHANGE_B).await.unwrap_err();
    let code = error.as_database_error().unwrap().code();
    assert_eq!(code.as_deref(), Some("55P03"));
    assert!(started.elapsed() < Duration::from_secs(8));
}

/// A boot waits for half a minute, and its error has to say for what.
#[tokio::test]
async fn a_registration_that_waits_in_vain_names_the_holder_of_the_lock() {
    let app = TestApp::start().await;
    register(&app).await;
    let holder = hold_the_clock(&app).await;
    let changed = template("payments", "b", 2);
    let error = app.uncached().register_task_template(&changed).await;
    let error = Chain(&error.unwrap_err()).to_string();
    assert!(error.contains("locked by pid"), "{error}");
    drop(holder);
}

#[tokio::test]
async fn a_change_that_no_pointer_shows_does_not_wait_for_the_clock() {
    let app = TestApp::start().await;
    register(&app).await;
    let before = app.sequence().await;
    let _holder = hold_the_clock(&app).await;
    let described = tokio::time::timeout(Duration::from_secs(3), app.pool.execute(DESCRIBE)).await;
    described.expect("it does not wait").unwrap();
    assert_eq!(app.sequence().await, before);
}

#[tokio::test]
async fn a_prepared_change_that_no_pointer_shows_does_not_hold_the_clock() {
    let server = PostgresServer::start_with(&[("max_prepared_transactions", "5")]);
    let server = server.await.unwrap();
    let database = TestDatabase::create_on(&server.url("postgres")).await;
    let app = TestApp::on(database.unwrap()).await;
    register(&app).await;
    let mut preparing = PgConnection::connect(app.database.url()).await.unwrap();
    for statement in [
        "BEGIN",
        "UPDATE tasker.named_tasks SET description = 'other' WHERE name = 'a'",
        "PREPARE TRANSACTION 'described'",
    ] {
        preparing.execute(statement).await.unwrap();
    }
    app.pool.execute(CHANGE_B).await.unwrap();
    preparing
        .execute("COMMIT PREPARED 'described'")
        .await
        .unwrap();
}

/// Begins a transaction with this isolation, whose snapshot is from before the next change.
async fn begin(app: &TestApp, isolation: &str) -> PgConnection {
    let mut writer = PgConnection::connect(app.database.url()).await.unwrap();
    let begin = format!("BEGIN ISOLATION LEVEL {isolation}; SELECT FROM tasker.named_tasks");
    writer.execute(AssertSqlSafe(begin)).await.unwrap();
    writer
}

#[tokio::test]
async fn a_writer_with_an_old_snapshot_fails_whole_if_another_template_has_changed() {
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        let app = TestApp::start().await;
        register(&app).await;
        let register_a = async |number: i32| {
            let template = template("payments", "a", number);
            let registered = app.uncached().register_task_template(&template).await;
            registered.unwrap();
        };
        let mut writer = begin(&app, isolation).await;
        register_a(2).await;
        let before = app.sequence().await;
        writer.execute(CHANGE_B).await.unwrap();
        let refused = writer.execute("COMMIT").await.unwrap_err();
        let code = refused.as_database_error().unwrap().code();
        assert_eq!(code.as_deref(), Some("40001"), "{isolation}");
        assert_eq!(app.sequence().await, before);
        let kept = app.uncached().get_template("payments", "b", "1.0.0").await;
        assert_eq!(marker(&kept.unwrap()), 1, "{isolation}");

        // Neither a description nor an undisturbed change is refused, and the latter is seen.
        let mut writer = begin(&app, isolation).await;
        register_a(3).await;
        writer.execute(DESCRIBE).await.unwrap();
        writer.execute("COMMIT").await.unwrap();
        let before = app.sequence().await;
        let mut writer = begin(&app, isolation).await;
        app.pool.execute(DESCRIBE_A).await.unwrap();
        writer.execute(CHANGE_B).await.unwrap();
        writer.execute("COMMIT").await.unwrap();
        assert_eq!(app.sequence().await, before + 1, "{isolation}");
    }
}

#[tokio::test]
async fn statements_that_were_given_up_end_in_postgresql_and_release_their_locks() {
    let app = TestApp::start().await;
    register(&app).await;
    let mut holder = PgConnection::connect(app.database.url()).await.unwrap();
    let lock = "BEGIN; SELECT FROM tasker.named_tasks WHERE name = 'b' FOR UPDATE";
    holder.execute(lock).await.unwrap();
    let config = database_config(&Access::to(app.database.url()));
    let registry = TaskHandlerRegistry::new(database::pool::create(&config).unwrap());
    // It locks the row of a, and waits for the one of b.
    let templates = [template("payments", "a", 2), template("payments", "b", 2)];
    let registering =
        tokio::spawn(async move { registry.register_task_templates(&templates).await });
    waits_for_a_lock(&app).await;
    registering.abort();
    assert!(registering.await.unwrap_err().is_cancelled());
    let given_up = Instant::now();
    eventually("the row of a is free", || async {
        let free = "SELECT FROM tasker.named_tasks WHERE name = 'a' FOR UPDATE SKIP LOCKED";
        let mut transaction = app.pool.begin().await.unwrap();
        let row = transaction.fetch_optional(free).await.unwrap();
        row.map(|_| ())
    })
    .await;
    let waited = given_up.elapsed();
    assert!(waited < Duration::from_secs(3), "{waited:?}");
}

#[tokio::test]
async fn sessions_bound_their_waits() {
    let app = TestApp::start().await;
    let config = DatabaseConfig {
        url: app.database.url().to_owned(),
        ..DatabaseConfig::default()
    };
    let pool = database::pool::create(&config).unwrap();
    for (name, value) in [
        ("lock_timeout", "4s"),
        ("statement_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("client_connection_check_interval", "500ms"),
        ("default_transaction_isolation", "read committed"),
    ] {
        let set = sqlx::query_scalar("SELECT current_setting($1)").bind(name);
        let set: String = set.fetch_one(&pool).await.unwrap();
        assert_eq!(set, value, "{name}");
    }
}
