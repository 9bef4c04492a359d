//! What reading templates does with the connections of a pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tasker_shared::registry::TaskHandlerRegistry;

use crate::app::{TestApp, current, eventually, pool_of, template};

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

/// A registry that has just resolved, and its pool.
async fn registry_after_a_resolve(app: &TestApp) -> (PgPool, TaskHandlerRegistry) {
    let pool = pool_of(4, app.database.url());
    let registry = TaskHandlerRegistry::new(pool.clone());
    assert_eq!(current(&registry).await, json!(1));
    (pool, registry)
}

/// A pool, and how often it has got a connection back.
fn counting_pool(app: &TestApp, connections: u32) -> (PgPool, Arc<AtomicUsize>) {
    let returned = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&returned);
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .after_release(move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(true) })
        })
        .connect_lazy(app.database.url())
        .unwrap();
    (pool, returned)
}

/// Waits until nothing of `pool` is in use.
async fn until_all_is_back(pool: &PgPool) {
    let is_back = || async { (pool.size() as usize == pool.num_idle()).then_some(()) };
    eventually("the pool has its connections back", is_back).await;
}

/// Resolves so often at the same time that callers wait for each other.
async fn resolve_at_once(registry: &Arc<TaskHandlerRegistry>) {
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let registry = Arc::clone(registry);
            tokio::spawn(async move { current(&registry).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), json!(1));
    }
}

#[tokio::test]
async fn resolves_hand_a_connection_to_each_other_and_give_it_back_in_the_end() {
    let app = app_with_a_template().await;
    // A machine that stands still between two of them has the connection given back too early. The
    // pool alone would open a second one each time: it is still looking at the first.
    let of_one = || async {
        let pool = pool_of(4, app.database.url());
        let registry = TaskHandlerRegistry::new(pool.clone());
        for _ in 0..10 {
            assert_eq!(current(&registry).await, json!(1));
        }
        let opened = pool.size();
        until_all_is_back(&pool).await;
        (opened == 1).then_some(())
    };
    eventually("ten resolves use one connection", of_one).await;
}

#[tokio::test]
async fn resolves_take_half_of_a_pool_at_most() {
    let app = app_with_a_template().await;
    // A connection that was given back, and that the pool is looking at, counts as well. Without
    // turns all four are opened each time.
    let of_two = || async {
        let pool = pool_of(4, app.database.url());
        resolve_at_once(&Arc::new(TaskHandlerRegistry::new(pool.clone()))).await;
        (pool.size() == 2).then_some(())
    };
    eventually("a hundred resolves use two of four connections", of_two).await;
}

#[tokio::test]
async fn a_pool_of_one_connection_serves_resolves_and_others_in_turn() {
    let app = app_with_a_template().await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .connect_lazy(app.database.url())
        .unwrap();
    let registry = TaskHandlerRegistry::new(pool.clone());
    for _ in 0..20 {
        let (resolved, asked) = tokio::join!(
            current(&registry),
            sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&pool),
        );
        assert_eq!((resolved, asked.unwrap()), (json!(1), 1));
    }
}

#[tokio::test]
async fn a_pool_that_has_no_other_connection_gets_it_back_after_each_resolve() {
    let app = app_with_a_template().await;
    let (pool, returned) = counting_pool(&app, 2);
    let taken = pool.acquire().await.unwrap();
    let registry = TaskHandlerRegistry::new(pool.clone());
    for _ in 0..10 {
        assert_eq!(current(&registry).await, json!(1));
    }
    let all_are_back = || async { (returned.load(Ordering::Relaxed) == 10).then_some(()) };
    eventually("each resolve has given it back", all_are_back).await;
    drop(taken);
}

#[tokio::test]
async fn a_pool_gets_a_connection_back_while_one_resolve_follows_the_other() {
    let app = app_with_a_template().await;
    let (pool, returned) = counting_pool(&app, 4);
    let registry = TaskHandlerRegistry::new(pool);
    let begun = Instant::now();
    while returned.load(Ordering::Relaxed) == 0 {
        assert!(begun.elapsed() < PATIENCE, "the connection is kept");
        assert_eq!(current(&registry).await, json!(1));
    }
}

#[tokio::test]
async fn a_connection_that_was_lost_since_its_last_read_fails_no_resolve() {
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
async fn a_resolve_that_is_given_up_leaves_the_pool_whole() {
    let app = app_with_a_template().await;
    let (pool, registry) = registry_after_a_resolve(&app).await;
    let registry = Arc::new(registry);
    // Nobody can read it until the lock is released.
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
        (waiting.await.unwrap() == 2).then_some(())
    };
    // One for each turn.
    eventually("two resolves wait for PostgreSQL", are_waiting).await;
    for task in &resolving {
        task.abort();
    }
    for task in resolving {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    locked.rollback().await.unwrap();
    resolve_at_once(&registry).await;
    until_all_is_back(&pool).await;
}

#[tokio::test]
async fn a_pool_can_be_closed_after_a_resolve_and_then_fails_the_next() {
    let app = app_with_a_template().await;
    let (pool, registry) = registry_after_a_resolve(&app).await;
    tokio::time::timeout(PATIENCE, pool.close()).await.unwrap();
    let resolved = registry.get_template("payments", "refund", "1.0.0").await;
    assert!(resolved.is_err());
}

#[tokio::test]
async fn a_registry_that_is_shut_down_has_given_everything_back_and_still_resolves() {
    let app = app_with_a_template().await;
    let (pool, registry) = registry_after_a_resolve(&app).await;
    registry.shutdown().await;
    until_all_is_back(&pool).await;
    assert_eq!(current(&registry).await, json!(1));
    until_all_is_back(&pool).await;
}

#[tokio::test]
async fn a_registry_that_is_dropped_gives_everything_back() {
    let app = app_with_a_template().await;
    let (pool, registry) = registry_after_a_resolve(&app).await;
    // Outside of the runtime, where a connection cannot be given back.
    std::thread::spawn(|| drop(registry)).join().unwrap();
    until_all_is_back(&pool).await;
}

#[test]
fn connections_end_with_the_runtime_that_they_were_used_in() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let app = first.block_on(app_with_a_template());
    let (pool, registry) = first.block_on(registry_after_a_resolve(&app));
    // While the first stands still, and when it is gone.
    runtime().block_on(async {
        for _ in 0..3 {
            assert_eq!(current(&registry).await, json!(1));
        }
    });
    // What the pool of the application holds would end with it, too.
    first.block_on(app.pool.close());
    drop(first);
    runtime().block_on(async {
        for _ in 0..3 {
            assert_eq!(current(&registry).await, json!(1));
        }
        until_all_is_back(&pool).await;
    });
}
