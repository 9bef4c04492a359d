//! Roles with few rights, and databases that take no writes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use http::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::{CacheConfig, TaskerConfig};
use tasker_test_support::{PostgresServer, TestDatabase};
use tasker_web::{AppParts, Lifecycle};
use tasker_worker::{Handlers, StepContext, Worker};

use crate::support::{call, folder, send, start};

const PATIENCE: Duration = Duration::from_secs(20);

/// The SQL blocks of the operators' page about roles, in their order.
fn documented_grants() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, roles) = page.split_once("## Roles in PostgreSQL").unwrap();
    let roles = roles.split("\n## ").next().unwrap();
    let blocks = roles.split("```sql\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

async fn run(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection
        .execute(AssertSqlSafe(sql.to_owned()))
        .await
        .unwrap();
    connection.close().await.unwrap();
}

fn template(name: &str) -> Value {
    json!({
        "name": name, "namespace_name": "shop", "version": "1.0.0",
        "identity_strategy": "always_unique",
        "steps": [{"name": "only", "handler": {"callable": "echo"}}],
    })
}

fn orchestration(context: &Arc<SystemContext>, lifecycle: &Lifecycle) -> Router {
    let info = &tasker_orchestration::service::INFO;
    let parts = AppParts::new(info, Arc::clone(context), lifecycle.clone());
    lifecycle.spawn(tasker_orchestration::upkeep::run(Arc::clone(context)));
    tasker_orchestration::service::router(&parts)
}

fn migrate(url: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tasker-worker"))
        .arg("--migrate")
        .env_clear()
        .env("DATABASE_URL", url)
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(text).unwrap();
    format!("{}: {text}", output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_suffice_to_migrate_and_to_run() {
    let server = PostgresServer::start().await.unwrap();
    let admin = server.url("tasker");
    run(&server.url("postgres"), "CREATE DATABASE tasker").await;
    let as_role = |role: &str| admin.replace("postgres@", &format!("{role}@"));
    let [roles, grants] = <[String; 2]>::try_from(documented_grants()).unwrap();
    run(&admin, &roles).await;
    let (owner, runner) = (as_role("workflow_owner"), as_role("workflow_service"));

    // Without the tables, the running role says what is missing.
    let refused = migrate(&runner);
    assert!(refused.starts_with("69: "), "{refused}");
    assert!(
        refused.contains("--migrate as the owner of the schema"),
        "{refused}"
    );
    let migrated = migrate(&owner);
    assert!(migrated.starts_with("0: "), "{migrated}");
    assert!(
        migrated.contains("OK: the schema is up to date"),
        "{migrated}"
    );
    run(&owner, &grants).await;
    let again = migrate(&runner);
    assert!(
        again.starts_with("0: "),
        "nothing is pending, so nothing is asked for: {again}"
    );

    let mut connection = PgConnection::connect(&runner).await.unwrap();
    let created = connection.execute("CREATE TABLE tasker.other ()").await;
    assert!(
        created.is_err(),
        "the role has no right to change the schema"
    );

    let config = || {
        let mut config = TaskerConfig::default();
        config.common.database.url.clone_from(&runner);
        config.common.cache = Some(CacheConfig {
            enabled: true,
            ..CacheConfig::default()
        });
        config
    };
    let worker_context = Arc::new(Box::pin(SystemContext::connect(config())).await.unwrap());
    let files = folder(&[("order.yaml", template("order"))]);
    let (worker, lifecycle) = Box::pin(start(&worker_context, files.path()))
        .await
        .unwrap();
    let context = Arc::new(Box::pin(SystemContext::connect(config())).await.unwrap());
    let orchestration = orchestration(&context, &lifecycle);
    let echo = Handlers::new().function("echo", async |_: StepContext| Ok(json!(1)));
    let running = Worker::builder(Arc::clone(&worker_context))
        .handlers(echo)
        .start();

    let (status, _) = call(&worker, Method::GET, "/templates/shop/order/1.0.0").await;
    assert_eq!(status, 200);
    let request = json!({"name": "order", "namespace": "shop", "version": "1.0.0", "priority": 3});
    let (status, made) = send(&orchestration, Method::POST, "/v1/tasks?wait=9s", &request).await;
    assert_eq!(
        (status, &made["status"]),
        (201, &json!("complete")),
        "{made}"
    );
    let path = "/v1/handlers/shop/order/1.0.0/retirement";
    let (status, body) = send(
        &orchestration,
        Method::PUT,
        path,
        &json!({"retired_by": "me"}),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    for statement in [
        "SELECT tasker.requeue_lost()",
        "SELECT tasker.retain(1, 10)",
        "SELECT tasker.retain_documents()",
    ] {
        connection.execute(statement).await.unwrap();
    }
    running.drain().await;
    assert!(lifecycle.stop(PATIENCE).await);
    worker_context.shutdown().await;
    context.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_an_existing_schema_migrates_without_rights_on_the_database() {
    let server = PostgresServer::start().await.unwrap();
    let admin = server.url("tasker");
    run(&server.url("postgres"), "CREATE DATABASE tasker").await;
    run(
        &admin,
        "CREATE ROLE owner LOGIN; CREATE SCHEMA tasker AUTHORIZATION owner",
    )
    .await;
    let owner = admin.replace("postgres@", "owner@");
    let refused = PgConnection::connect(&owner)
        .await
        .unwrap()
        .execute("CREATE SCHEMA other")
        .await;
    assert!(refused.is_err(), "it has no right to create schemas");
    let migrated = migrate(&owner);
    assert!(migrated.starts_with("0: "), "{migrated}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_resolves_and_says_that_it_takes_no_writes() {
    let database = TestDatabase::create().await.unwrap();
    // Without the pooler, whose sessions keep the settings that they began with.
    let context = async |enabled| {
        let mut config = TaskerConfig::default();
        config.common.database.url = database.url().to_owned();
        config.common.cache = Some(CacheConfig {
            enabled,
            ..CacheConfig::default()
        });
        Arc::new(Box::pin(SystemContext::connect(config)).await.unwrap())
    };
    let files = folder(&[("order.yaml", template("order"))]);
    let first = context(false).await;
    let (_, lifecycle) = Box::pin(start(&first, files.path())).await.unwrap();
    assert!(lifecycle.stop(PATIENCE).await);
    first.shutdown().await;
    let read_only = format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        database.name()
    );
    run(database.url(), &read_only).await;
    std::fs::write(files.path().join("new.yaml"), template("new").to_string()).unwrap();

    for enabled in [false, true] {
        let context = context(enabled).await;
        let (worker, lifecycle) = Box::pin(start(&context, files.path())).await.unwrap();
        let orchestration = orchestration(&context, &lifecycle);
        let (status, _) = call(&worker, Method::GET, "/templates/shop/order/1.0.0").await;
        assert_eq!(status, 200);
        let request = json!({"name": "order", "namespace": "shop", "version": "1.0.0"});
        let (status, problem) = send(&orchestration, Method::POST, "/v1/tasks", &request).await;
        assert_eq!(
            (status, &problem["code"]),
            (503, &json!("database_read_only"))
        );
        let (_, health) = call(&worker, Method::GET, "/health/detailed").await;
        let templates = &health["checks"]["templates"];
        assert_eq!(templates["status"], "degraded");
        let reason = templates["registration_error"].as_str().unwrap();
        assert!(reason.contains("read-only"), "{reason}");
        let started = Instant::now();
        let (status, _) = call(&orchestration, Method::GET, "/v1/tasks").await;
        assert_eq!(status, 200);
        assert!(started.elapsed() < PATIENCE);
        assert!(lifecycle.stop(PATIENCE).await);
        context.shutdown().await;
    }
}
