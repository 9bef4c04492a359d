//! When the index is polled, and over which connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::{PostgresServer, TcpProxy, TestDatabase};

use crate::app::{TestApp, current, pool, put, template};

/// Longer than the time for which the index is kept current after a resolve.
const FORGOTTEN: Duration = Duration::from_secs(4);

async fn register(app: &TestApp) {
    let template = template("payments", "refund", 1);
    let registered = app.uncached().register_task_template(&template).await;
    registered.unwrap();
}

/// A registry whose connections lead through `proxy`.
fn behind(proxy: &TcpProxy, config: CacheConfig) -> TaskHandlerRegistry {
    let noop = Arc::new(CacheProvider::noop());
    TaskHandlerRegistry::with_cache(pool(proxy.url()), noop, config)
}

/// Resolves for so long, and returns the longest time that one resolve took.
async fn resolve_for(registry: &TaskHandlerRegistry, time: Duration) -> Duration {
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    while started.elapsed() < time {
        let asked = Instant::now();
        assert_eq!(current(registry).await, json!(1));
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    longest
}

#[tokio::test]
async fn a_process_polls_while_it_resolves_and_is_silent_while_it_does_not() {
    let server = PostgresServer::start_with(&[("log_statement", "all")]);
    let server = server.await.unwrap();
    let database = TestDatabase::create_on(&server.url("postgres")).await;
    let app = TestApp::on(database.unwrap()).await;
    register(&app).await;
    let registry = app.local_only(app.cache_config());
    resolve_for(&registry, Duration::from_secs(1)).await;
    let statements = || server.log().matches("LOG:  execute").count();

    let (before, started) = (statements(), Instant::now());
    resolve_for(&registry, Duration::from_secs(4)).await;
    let most = 2 * started.elapsed().as_secs() + 1;
    let while_resolving = statements() - before;
    assert!(
        (2..=most).contains(&(while_resolving as u64)),
        "{while_resolving}, at most {most}"
    );

    tokio::time::sleep(FORGOTTEN).await;
    let before = statements();
    tokio::time::sleep(FORGOTTEN).await;
    assert_eq!(statements(), before);

    // A request for the index' age polls first.
    let status = registry.index_status().await.unwrap();
    assert!(status.within_bound, "{status:?}");
    server.kill().await.unwrap();
    tokio::time::sleep(status.max_age).await;
    let status = registry.index_status().await.unwrap();
    assert!(!status.within_bound, "{status:?}");
    registry.shutdown().await;
}

#[tokio::test]
async fn a_poll_whose_connection_hangs_is_answered_on_another() {
    let app = TestApp::start().await;
    register(&app).await;
    let proxy = TcpProxy::before(app.database.url()).await.unwrap();
    let registry = behind(&proxy, app.cache_config());
    resolve_for(&registry, Duration::from_secs(1)).await;
    for _ in 0..3 {
        proxy.hang();
        let longest = resolve_for(&registry, Duration::from_secs(2)).await;
        // Without another connection, a poll and those who wait for it give up after two seconds.
        assert!(longest < Duration::from_secs(1), "{longest:?}");
    }
    registry.shutdown().await;
}

#[tokio::test]
async fn a_bound_that_is_shorter_than_a_poll_makes_each_resolve_wait_for_one() {
    let app = TestApp::start().await;
    register(&app).await;
    let proxy = TcpProxy::before(app.database.url()).await.unwrap();
    proxy.delay(Duration::from_millis(20)).await;
    let config = CacheConfig {
        max_staleness_ms: 1,
        ..app.cache_config()
    };
    let registry = behind(&proxy, config);
    for marker in 1..4 {
        put(&app.uncached(), marker).await;
        assert_eq!(current(&registry).await, json!(marker));
    }
    registry.shutdown().await;
}

/// A poll that reads so many names takes more than its two seconds behind [`SLOW`].
const MANY: usize = 12_000;
/// The delay of each 64 KiB.
const SLOW: Duration = Duration::from_millis(80);

#[tokio::test]
async fn a_change_of_very_many_templates_arrives_over_a_slow_link() {
    let app = TestApp::start().await;
    register(&app).await;
    let proxy = TcpProxy::before(app.database.url()).await.unwrap();
    let registry = behind(&proxy, app.cache_config());
    assert_eq!(current(&registry).await, json!(1));

    proxy.delay(SLOW).await;
    let namespace = "a_namespace_of_an_import";
    let name = |number: usize| format!("a_long_name_{number:0>50}");
    let many: Vec<_> = (0..MANY)
        .map(|number| template(namespace, &name(number), 1))
        .collect();
    app.uncached().register_task_templates(&many).await.unwrap();
    let started = Instant::now();
    while let Err(error) = registry
        .get_template(namespace, &name(MANY - 1), "1.0.0")
        .await
    {
        assert!(started.elapsed() < Duration::from_mins(1), "{error}");
    }
    registry.shutdown().await;
}
