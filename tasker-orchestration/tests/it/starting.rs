//! Starts: what the program needs of PostgreSQL, Redis and its settings, and what it does without.

use std::process::Stdio;

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tasker_test_support::{PostgresServer, RedisServer, TcpProxy, TestDatabase, free_port, until};
use tokio::process::Command;

use crate::process::{Service, output, program, text};

/// A program with its cache in the Redis of this URL.
fn program_with_redis(url: &str) -> Command {
    let mut command = program();
    command
        .env("TASKER__COMMON__CACHE__ENABLED", "true")
        .env("TASKER__COMMON__CACHE__OPERATION_TIMEOUT_MS", "2000")
        .env("REDIS_URL", url);
    command
}

async fn get_json(url: String) -> Value {
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

/// Migrates a database, and returns a connection to it.
async fn migrated(url: &str) -> PgConnection {
    let migrated = output(program().arg("--migrate").env("DATABASE_URL", url)).await;
    assert_eq!(migrated.status.code(), Some(0), "{}", text(&migrated));
    PgConnection::connect(url).await.unwrap()
}

#[tokio::test]
async fn a_redis_that_is_lost_is_warned_of_and_fails_no_request() {
    let database = TestDatabase::create().await.unwrap();
    let redis = RedisServer::start().await.unwrap();
    let mut service = Service::start_program(program_with_redis(&redis.url()), &database).await;
    redis.kill().await.unwrap();
    let line = "the cache is not used until it is well again; requests continue without it";
    let lost = service.logged(line).await;
    assert_eq!(lost["level"], "WARN");
    assert_eq!(service.status("/v1/handlers").await, 200);
    let ready = get_json(format!("{}/health/ready", service.url)).await;
    assert_eq!(ready["status"], "degraded");
}

#[tokio::test]
async fn a_contradiction_about_the_cache_starts_the_service_without_it() {
    let database = TestDatabase::create().await.unwrap();
    let contradiction = || {
        let mut command = program_with_redis("redis://localhost:6379/1");
        command.env("TASKER__COMMON__CACHE__REDIS__DATABASE", "2");
        command
    };
    let checked = output(contradiction().arg("--check-config")).await;
    assert_eq!(
        checked.status.code(),
        Some(i32::from(tasker_web::exit::CONFIG))
    );
    let mut service = Service::begin(contradiction(), &database);
    let refused = service
        .logged("the cache is not used, because its configuration is wrong")
        .await;
    assert_eq!(refused["level"], "ERROR");
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("another database"),
        "{refused}"
    );
    service.until_listening().await;
    let health = get_json(format!("{}/health/detailed", service.url)).await;
    let cache = &health["checks"]["cache"];
    assert!(
        cache["refused"]
            .as_str()
            .unwrap()
            .contains("another database"),
        "{cache}"
    );
    assert_eq!(cache["status"], "degraded");
    assert_eq!(service.status("/health/ready").await, 200);
}

#[tokio::test]
async fn a_cache_without_an_address_of_redis_is_warned_of_and_dials_nobody() {
    let database = TestDatabase::create().await.unwrap();
    let mut command = program();
    command.env("TASKER__COMMON__CACHE__ENABLED", "true");
    let mut service = Service::begin(command, &database);
    let line = "the cache is enabled and no Redis is configured";
    assert_eq!(service.logged(line).await["level"], "WARN");
    service.until_listening().await;
    let health = get_json(format!("{}/health/detailed", service.url)).await;
    let cache = &health["checks"]["cache"];
    assert_eq!(
        (&cache["status"], &cache["provider"]),
        (&json!("healthy"), &json!("noop"))
    );
    // One that dials has the connections that it keeps up here, and the error of those that fail.
    assert_eq!(
        (&cache["connections_max"], &cache["last_error"]),
        (&json!(0), &Value::Null)
    );
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_warned_of_once() {
    let server = PostgresServer::start().await.unwrap();
    let url = server.url("postgres");
    let mut admin = migrated(&url).await;
    admin
        .execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
        .await
        .unwrap();
    let mut command = program();
    command
        .env("TASKER_LOG", "info,tasker_orchestration=debug")
        .env("TASKER__ORCHESTRATION__UPKEEP__INTERVAL_MS", "100");
    let mut service = Service::start_at(command, &url).await;
    let line = "lost workers cannot be looked for";
    assert_eq!(service.logged(line).await["level"], "WARN");
    for _ in 0..3 {
        service
            .logged("lost workers still cannot be looked for")
            .await;
    }
    admin
        .execute("ALTER DATABASE postgres SET default_transaction_read_only = off")
        .await
        .unwrap();
    admin
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    service.logged("lost workers are looked for again").await;
    let warnings = service.lines_of("WARN").await;
    let count = warnings
        .iter()
        .filter(|warning| warning["message"] == line)
        .count();
    assert_eq!(count, 1, "{warnings:?}");
}

#[tokio::test]
async fn settings_without_effect_are_listed_in_one_warning() {
    let database = TestDatabase::create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("merged.toml");
    std::fs::write(
        &file,
        "[common.backoff]\nseconds = 1\n[rust_worker]\nenabled = true\n",
    )
    .unwrap();
    let mut command = program();
    command
        .env_remove("TASKER__ORCHESTRATION__WEB__BIND_ADDRESS")
        .env("TASKER_CONFIG_PATH", &file)
        .env("TASKER_WEB_BIND_ADDRESS", "127.0.0.1:0")
        .env("TASKER_DEPLOYMENT", "blue");
    let mut service = Service::begin(command, &database);
    let warning = service
        .logged("settings are present and have no effect")
        .await;
    assert_eq!(warning["level"], "WARN");
    assert_eq!(
        warning["settings"],
        "TASKER_DEPLOYMENT common.backoff rust_worker"
    );
    service.until_listening().await;
    assert_eq!(service.status("/health/ready").await, 200);
}

/// The log line with which the program ends, and its code.
async fn refused(url: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = program();
    command.args(arguments).env("DATABASE_URL", url).env(
        "TASKER__COMMON__DATABASE__POOL__ACQUIRE_TIMEOUT_SECONDS",
        "1",
    );
    let output = output(&mut command).await;
    (output.status.code().unwrap(), text(&output))
}

/// Lets `role` connect with its password only. All others need none.
async fn demand_password(admin: &mut PgConnection, role: &str) {
    let file: String = sqlx::query_scalar("SHOW hba_file")
        .fetch_one(&mut *admin)
        .await
        .unwrap();
    let rules =
        format!("host all {role} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n");
    std::fs::write(file, rules).unwrap();
    admin.execute("SELECT pg_reload_conf()").await.unwrap();
}

#[tokio::test]
async fn a_start_that_fails_names_the_cause_and_the_remedy() {
    let server = PostgresServer::start_with(&[("password_encryption", "scram-sha-256")])
        .await
        .unwrap();
    let free = free_port().unwrap();
    let unknown = server.url("nowhere");
    let nobody = format!("postgres://app@127.0.0.1:{free}/tasker");
    let role = server.url("postgres").replace("postgres@", "stranger@");
    let mut admin = PgConnection::connect(&server.url("postgres"))
        .await
        .unwrap();
    admin
        .execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        .await
        .unwrap();
    demand_password(&mut admin, "guarded").await;
    let password = server
        .url("postgres")
        .replace("postgres@", "guarded:wrong@");
    for (url, cause, remedy) in [
        (
            &unknown,
            "database \\\"nowhere\\\" does not exist",
            "createdb",
        ),
        (&nobody, "Connection refused", "start PostgreSQL"),
        (
            &role,
            "role \\\"stranger\\\" does not exist",
            "correct user and password",
        ),
        (
            &password,
            "password authentication failed for user \\\"guarded\\\"",
            "correct user and password",
        ),
    ] {
        for arguments in [&[][..], &["--migrate"]] {
            let (code, text) = refused(url, arguments).await;
            assert_eq!(code, i32::from(tasker_web::exit::UNAVAILABLE), "{text}");
            assert!(text.contains(cause), "{cause} is not in {text}");
            assert!(text.contains(remedy), "{remedy} is not in {text}");
        }
    }
}

#[tokio::test]
async fn a_start_waits_for_a_connection_that_becomes_free_and_says_why() {
    let server = PostgresServer::start_with(&[("max_connections", "5")])
        .await
        .unwrap();
    let url = server.url("postgres");
    let mut others = Vec::new();
    while let Ok(connection) = PgConnection::connect(&url).await {
        others.push(connection);
    }
    let mut command = program();
    command
        .env("DATABASE_URL", &url)
        .env("TASKER__COMMON__DATABASE__POOL__MAX_CONNECTIONS", "2")
        .stderr(Stdio::piped());
    let mut service = Service::of(command.spawn().unwrap());
    let waiting = service
        .logged("PostgreSQL cannot be used yet; trying again")
        .await;
    assert_eq!(waiting["cause"], "too_many_connections");
    drop(others);
    service.until_listening().await;
    assert_eq!(service.status("/health/ready").await, 200);
}

#[tokio::test]
async fn a_connection_that_is_lost_while_migrating_is_tried_again() {
    let database = TestDatabase::create().await.unwrap();
    let proxy = TcpProxy::before(database.url()).await.unwrap();
    let mut direct = PgConnection::connect(database.url()).await.unwrap();
    let mut holder = PgConnection::connect(database.url()).await.unwrap();
    // The migrator waits for this, because it creates the schema, too.
    holder.execute("BEGIN; CREATE SCHEMA tasker").await.unwrap();
    let mut command = program();
    command
        .env("DATABASE_URL", proxy.url())
        .stderr(Stdio::piped());
    let mut service = Service::of(command.spawn().unwrap());
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("the migration waits", async || {
        let waiting = sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut direct);
        (waiting.await.unwrap() > 0).then_some(())
    })
    .await;
    proxy.cut().await;
    let lost = service
        .logged("PostgreSQL cannot be used yet; trying again")
        .await;
    assert_eq!(lost["cause"], "connection_lost", "{lost}");
    holder.execute("ROLLBACK").await.unwrap();
    service.until_listening().await;
    assert_eq!(service.status("/health/ready").await, 200);
}

#[tokio::test]
async fn a_later_releases_migrations_are_ignored_and_known_ones_are_checked() {
    let database = TestDatabase::create().await.unwrap();
    let mut connection = migrated(database.url()).await;
    connection
        .execute(
            "INSERT INTO tasker._tasker_shared_migrations
                 (version, description, success, checksum, execution_time)
             VALUES (9999, 'of a later release', true, '\\x00', 1)",
        )
        .await
        .unwrap();
    let mut service = Service::begin(program(), &database);
    let warning = service
        .logged("the schema has migrations of a later release, which are ignored")
        .await;
    assert_eq!(
        (&warning["level"], &warning["versions"]),
        (&json!("WARN"), &json!("9999"))
    );
    service.until_listening().await;
    connection
        .execute("UPDATE tasker._tasker_shared_migrations SET checksum = '\\x01' WHERE version = 2")
        .await
        .unwrap();
    let (code, text) = refused(database.url(), &[]).await;
    assert_eq!(code, i32::from(tasker_web::exit::UNAVAILABLE), "{text}");
    assert!(text.contains("migration 2 "), "{text}");
    connection
        .execute("UPDATE tasker._tasker_shared_migrations SET success = false WHERE version = 2")
        .await
        .unwrap();
    let (_, text) = refused(database.url(), &[]).await;
    let remedy = "delete its row from tasker._tasker_shared_migrations";
    assert!(text.contains(remedy), "{text}");
    assert!(!text.contains("_sqlx_migrations"), "{text}");
}

#[tokio::test]
async fn triggers_that_were_disabled_are_an_error_at_the_start() {
    let database = TestDatabase::create().await.unwrap();
    let mut connection = migrated(database.url()).await;
    connection
        .execute(
            "ALTER TABLE tasker.named_tasks DISABLE TRIGGER USER;
             ALTER TABLE tasker.named_tasks ENABLE TRIGGER USER",
        )
        .await
        .unwrap();
    let mut service = Service::begin(program(), &database);
    service.until_listening().await;
    let line = "triggers of the templates' tables are disabled; changes of templates may be missed";
    let error = service.logged(line).await;
    assert_eq!(error["level"], "ERROR");
    let health = get_json(format!("{}/health/detailed", service.url)).await;
    assert_eq!(health["checks"]["triggers"]["status"], "degraded");
    assert_eq!(health["status"], "degraded");
    let metrics = reqwest::get(format!("{}/metrics", service.url))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("tasker_template_triggers_wrong 7"),
        "{metrics}"
    );
}
