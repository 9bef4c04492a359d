//! Logical replication of the templates to a second server.

use std::time::Duration;

use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tasker_shared::database::migrator;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::{PostgresServer, TestDatabase};

use crate::app::{TestApp, current, eventually, template};

/// The tables that the page for operators names.
const TEMPLATES: &str = "TABLE tasker.task_namespaces, tasker.named_tasks";

async fn server() -> PostgresServer {
    PostgresServer::start_with(&[("wal_level", "logical")])
        .await
        .unwrap()
}

async fn migrated(url: &str) -> PgPool {
    let pool = PgPoolOptions::new().connect(url).await.unwrap();
    migrator::migrate(&pool).await.unwrap();
    pool
}

async fn register(pool: &PgPool, marker: i32) {
    let template = template("payments", "refund", marker);
    TaskHandlerRegistry::new(pool.clone())
        .register_task_template(&template)
        .await
        .unwrap();
}

/// Waits until a registry of the subscriber resolves this.
async fn until_resolved(registry: &TaskHandlerRegistry, marker: i32) {
    eventually(&format!("{marker} arrives"), || async {
        let resolved = registry.get_template("payments", "refund", "1.0.0").await;
        let metadata = resolved.ok()?;
        (crate::app::marker(&metadata) == json!(marker)).then_some(())
    })
    .await;
}

async fn follow_changes(published: &str) {
    let (source_server, subscriber) = (server().await, server().await);
    let source = migrated(&source_server.url("postgres")).await;
    // Ahead of the subscriber's clock.
    for marker in 0..5 {
        register(&source, marker).await;
    }
    let publication = format!("CREATE PUBLICATION tasker FOR {published}");
    source.execute(AssertSqlSafe(publication)).await.unwrap();

    let database = TestDatabase::create_on(&subscriber.url("postgres")).await;
    let app = TestApp::on(database.unwrap()).await;
    // It has polled before anything arrives.
    let registry = app.local_only(app.cache_config());
    registry
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap_err();
    let subscription = format!(
        "CREATE SUBSCRIPTION tasker CONNECTION '{}' PUBLICATION tasker",
        source_server.url("postgres"),
    );
    app.pool.execute(AssertSqlSafe(subscription)).await.unwrap();
    until_resolved(&registry, 4).await;
    // Wait for the end of the copy, so that changes are applied one by one.
    eventually("the tables are copied", || async {
        let left = "SELECT count(*) FROM pg_subscription_rel
                    WHERE srsubstate <> 'r'
                        AND srrelid = ANY (ARRAY['tasker.task_namespaces'::regclass,
                                                 'tasker.named_tasks'::regclass])";
        let left: i64 = sqlx::query_scalar(left).fetch_one(&app.pool).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    for marker in 5..8 {
        register(&source, marker).await;
        until_resolved(&registry, marker).await;
    }
    assert_eq!(current(&app.uncached()).await, json!(7));
    registry.shutdown().await;
    // It would keep the publisher from stopping.
    for statement in [
        "ALTER SUBSCRIPTION tasker DISABLE",
        "ALTER SUBSCRIPTION tasker SET (slot_name = NONE)",
        "DROP SUBSCRIPTION tasker",
    ] {
        app.pool.execute(statement).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(5), source.close())
        .await
        .unwrap();
}

#[tokio::test]
async fn templates_that_are_replicated_are_resolved() {
    follow_changes(TEMPLATES).await;
}

#[tokio::test]
async fn templates_are_resolved_if_all_tables_are_replicated() {
    follow_changes("ALL TABLES").await;
}
