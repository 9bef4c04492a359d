//! Resolves and the connections of the pool.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use sqlx::{Executor, PgConnection, PgPool};
use tasker_shared::config::tasker::TaskerConfig;
use tasker_shared::database::DatabaseError;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_shared::{SystemContext, database};
use tasker_test_support::{Access, TcpProxy};

use crate::app::{TestApp, current, database_config, direct_pool, eventually, pool_of, template};

const PATIENCE: Duration = Duration::from_secs(10);

async fn app_with_a_template() -> TestApp {
    let app = TestApp::start().await;
    let template = template("payments", "refund", 1);
    app.uncached()
        .register_task_template(&template)
        .await
        .unwrap();
    app
}

/// Waits until no connection of `pool` is in use.
async fn until_all_are_idle(pool: &PgPool) {
    let are_idle = || async { (pool.size() as usize == pool.num_idle()).then_some(()) };
    eventually("the pool has its connections back", are_idle).await;
}

async fn one(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT 1").fetch_one(connection).await
}

#[tokio::test]
async fn a_pool_of_one_connection_serves_resolves_and_other_queries_in_turn() {
    let app = app_with_a_template().await;
    let pool = pool_of(1, app.database.url());
    let registry = TaskHandlerRegistry::new(pool.clone());
    for _ in 0..20 {
        let (resolved, asked) = tokio::join!(
            current(&registry),
            database::run_idempotent(&pool, PATIENCE, |connection| Box::pin(one(connection))),
        );
        assert_eq!((resolved, asked.unwrap()), (json!(1), 1));
    }
}

/// Other processes may wait for them behind a pooler.
#[tokio::test]
async fn connections_that_are_not_needed_are_closed() {
    let app = TestApp::start().await;
    let mut config = TaskerConfig::default();
    config.common.database = database_config(&Access::to(app.database.url()));
    let context = SystemContext::connect(config).await.unwrap();
    let pool = context.database_pool();
    let used = join_all((0..5).map(|_| pool.acquire())).await;
    assert!(pool.size() >= 5);
    drop(used);
    let kept = pool.options().get_min_connections();
    let are_closed = || async { (pool.size() <= kept).then_some(()) };
    eventually("the connections are closed", are_closed).await;
}

/// Connects through this proxy.
fn pool_before(proxy: &TcpProxy) -> PgPool {
    let config = database_config(&Access::to(proxy.url()));
    database::pool::create(&config).unwrap()
}

/// Requests that wait for a new connection give it up when they take one that came back.
#[tokio::test]
async fn a_pool_whose_connections_take_long_to_make_grows_under_load() {
    const REQUESTS: u32 = 5;

    let app = TestApp::start().await;
    let proxy = TcpProxy::before(app.database.url()).await.unwrap();
    let pool = pool_before(&proxy);
    drop(pool.acquire().await.unwrap());
    proxy.delay(Duration::from_millis(20)).await;
    let has_grown = async {
        while pool.size() < REQUESTS {
            let requests = (0..REQUESTS).map(|_| async {
                let mut connection = database::acquire(&pool).await.unwrap();
                one(&mut connection).await.unwrap();
            });
            join_all(requests).await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, has_grown).await.unwrap();
}

#[tokio::test]
async fn a_request_that_waits_for_a_new_connection_takes_no_outdated_one() {
    let app = TestApp::start().await;
    let proxy = TcpProxy::before(app.database.url()).await.unwrap();
    let pool = pool_before(&proxy);
    let mut outdated = pool.acquire().await.unwrap();
    let outdated_pid = pid(&mut outdated).await.unwrap();
    // Another test may have had all connections replaced that were there within the last second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    proxy.delay(Duration::from_millis(300)).await;
    let (mut connection, ()) =
        tokio::join!(async { database::acquire(&pool).await.unwrap() }, async {
            database::note_failure(&DatabaseError::Standby);
            drop(outdated);
        });
    assert_ne!(pid(&mut connection).await.unwrap(), outdated_pid);
}

#[tokio::test]
async fn a_connection_that_was_lost_in_the_pool_fails_no_resolve() {
    let app = app_with_a_template().await;
    let registry = TaskHandlerRegistry::new(pool_of(4, app.database.url()));
    for _ in 0..5 {
        assert_eq!(current(&registry).await, json!(1));
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        sqlx::query_scalar::<_, i64>(others)
            .fetch_one(&app.pool)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn cancelled_resolves_leave_the_pool_whole() {
    let app = app_with_a_template().await;
    let pool = pool_of(4, app.database.url());
    let registry = Arc::new(TaskHandlerRegistry::new(pool.clone()));
    // The lock keeps everybody from reading the table.
    let mut locked = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE tasker.template_versions IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *locked)
        .await
        .unwrap();
    let resolving: Vec<_> = (0..10)
        .map(|_| {
            let registry = Arc::clone(&registry);
            tokio::spawn(async move { current(&registry).await })
        })
        .collect();
    let are_waiting = || async {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waiting = sqlx::query_scalar::<_, i64>(waiting).fetch_one(&app.pool);
        (waiting.await.unwrap() == 1).then_some(())
    };
    eventually(
        "a resolve waits on each connection of its part",
        are_waiting,
    )
    .await;
    for task in &resolving {
        task.abort();
    }
    for task in resolving {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    locked.rollback().await.unwrap();
    for _ in 0..10 {
        assert_eq!(current(&registry).await, json!(1));
    }
    until_all_are_idle(&pool).await;
}

#[tokio::test]
async fn a_closed_pool_fails_the_next_resolve() {
    let app = app_with_a_template().await;
    let pool = pool_of(4, app.database.url());
    let registry = TaskHandlerRegistry::new(pool.clone());
    assert_eq!(current(&registry).await, json!(1));
    tokio::time::timeout(PATIENCE, pool.close()).await.unwrap();
    let resolved = registry.get_template("payments", "refund", "1.0.0").await;
    assert!(resolved.is_err());
}

#[tokio::test]
async fn a_query_goes_past_all_connections_to_a_demoted_server() {
    let app = app_with_a_template().await;
    let pool = direct_pool(4, app.database.url());
    // Connections that are made within a second after others were replaced are not replaced, too.
    database::note_failure(&DatabaseError::Standby);
    let mut demoted = Vec::new();
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut connection = pool.acquire().await.unwrap();
        demoted.push(pid(&mut connection).await.unwrap());
        held.push(connection);
    }
    drop(held);
    until_all_are_idle(&pool).await;
    let query = database::run_idempotent(&pool, PATIENCE, |connection| {
        let demoted = demoted.clone();
        Box::pin(async move {
            let pid = pid(connection).await?;
            if demoted.contains(&pid) {
                let refuse = "DO $$ BEGIN RAISE 'no writes' USING ERRCODE = '25006'; END $$";
                connection.execute(refuse).await?;
            }
            Ok(pid)
        })
    });
    assert!(!demoted.contains(&query.await.unwrap()));
}

async fn pid(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(connection)
        .await
}
