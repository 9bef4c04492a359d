//! When the index is polled, and over which connections.

use std::time::{Duration, Instant};

use serde_json::json;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::{PostgresServer, TcpProxy, TestDatabase};

use crate::app::{TestApp, current, template};

/// Longer than the time for which the index is kept current after a resolve.
const FORGOTTEN: Duration = Duration::from_secs(4);

async fn register(app: &TestApp) {
    let template = template("payments", "refund", 1);
    let registered = app.uncached().register_task_template(&template).await;
    registered.unwrap();
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
    let registry = TaskHandlerRegistry::with_cache(
        crate::app::pool(proxy.url()),
        std::sync::Arc::new(tasker_shared::cache::CacheProvider::noop()),
        app.cache_config(),
    );
    resolve_for(&registry, Duration::from_secs(1)).await;
    for _ in 0..3 {
        proxy.hang();
        let longest = resolve_for(&registry, Duration::from_secs(2)).await;
        // Without another connection, a poll and those who wait for it give up after two seconds.
        assert!(longest < Duration::from_secs(1), "{longest:?}");
    }
    registry.shutdown().await;
}
