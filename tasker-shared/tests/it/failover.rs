//! A primary and its standby behind one address.

use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tasker_shared::config::tasker::{CacheConfig, DatabaseConfig};
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry};
use tasker_shared::{cache::CacheProvider, database};
use tasker_test_support::{PostgresServer, TcpProxy, until};

use crate::app::{current, eventually, template};

const BOUND: u64 = 1000;

/// Registers the template that [`current`] resolves, on this server.
async fn register(url: &str, marker: i32) {
    let pool = database::pool::create(&config(url)).unwrap();
    database::migrator::migrate(&pool).await.unwrap();
    let registry = TaskHandlerRegistry::new(pool.clone());
    let template = template("payments", "refund", marker);
    registry.register_task_template(&template).await.unwrap();
    pool.close().await;
}

fn config(url: &str) -> DatabaseConfig {
    DatabaseConfig {
        url: url.to_owned(),
        ..DatabaseConfig::default()
    }
}

/// Waits until the standby has replayed everything that the primary has written.
async fn until_replayed(primary: &PostgresServer, standby: &PostgresServer) {
    let mut on_primary = PgConnection::connect(&primary.url("postgres"))
        .await
        .unwrap();
    let written: String = sqlx::query_scalar("SELECT pg_current_wal_lsn()::text")
        .fetch_one(&mut on_primary)
        .await
        .unwrap();
    let mut on_standby = PgConnection::connect(&standby.url("postgres"))
        .await
        .unwrap();
    until("the standby has replayed everything", async || {
        sqlx::query_scalar::<_, bool>("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn")
            .bind(&written)
            .fetch_one(&mut on_standby)
            .await
            .unwrap()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_process_stays_on_a_demoted_primary() {
    let first = PostgresServer::start().await.unwrap();
    register(&first.url("postgres"), 1).await;
    let second = PostgresServer::start_standby(&first).await.unwrap();
    let address = TcpProxy::before(&first.url("postgres")).await.unwrap();
    let pool = database::pool::create(&config(address.url())).unwrap();
    let caching = TaskHandlerRegistry::with_cache(
        pool.clone(),
        std::sync::Arc::new(CacheProvider::noop()),
        CacheConfig {
            enabled: true,
            max_staleness_ms: BOUND,
            ..CacheConfig::default()
        },
    );
    let plain = TaskHandlerRegistry::new(pool.clone());
    assert_eq!(current(&caching).await, json!(1));
    assert_eq!(current(&plain).await, json!(1));

    // The second becomes the primary, and the first its standby, which replays nothing.
    until_replayed(&first, &second).await;
    first.stop().await.unwrap();
    second.promote().await.unwrap();
    first.follow(&second).await.unwrap();
    let mut standby = PgConnection::connect(&first.url("postgres")).await.unwrap();
    standby
        .execute("SELECT pg_wal_replay_pause()")
        .await
        .unwrap();
    register(&second.url("postgres"), 2).await;

    // The address still leads to the first: nobody serves what it has.
    eventually("the index is older than its bound", || async {
        let resolved = caching.get_template("payments", "refund", "1.0.0").await;
        matches!(resolved, Err(RegistryError::Stale { .. })).then_some(())
    })
    .await;
    let resolved = plain.get_template("payments", "refund", "1.0.0").await;
    assert!(resolved.is_err(), "{resolved:?}");
    let status = caching.index_status().await.unwrap();
    assert!(!status.within_bound, "{status:?}");
    let other = template("payments", "other", 1);
    plain.register_task_template(&other).await.unwrap_err();

    // From now on it leads new connections to the second. The old ones are open.
    address.redirect(&second.url("postgres")).unwrap();
    let moved = std::time::Instant::now();
    eventually("the index is right", || async {
        let resolved = caching.get_template("payments", "refund", "1.0.0").await;
        resolved.ok().map(|_| ())
    })
    .await;
    assert!(moved.elapsed() < Duration::from_millis(BOUND + 9000));
    assert_eq!(current(&caching).await, json!(2));
    for _ in 0..30 {
        assert_eq!(current(&plain).await, json!(2));
    }
    plain.register_task_template(&other).await.unwrap();
    caching.shutdown().await;
    pool.close().await;
}
