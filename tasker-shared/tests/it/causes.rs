//! Errors of the registry say why PostgreSQL could not be used.

use std::error::Error;
use std::sync::Arc;

use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::database::{DatabaseCause, migrator};
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry};
use tasker_test_support::PostgresServer;

use crate::app::{current, eventually, pool, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_index_has_the_error_of_its_last_poll_and_a_shut_down_one_says_so() {
    let server = PostgresServer::start().await.unwrap();
    let pool = pool(&server.url("postgres"));
    migrator::migrate(&pool).await.unwrap();
    let config = CacheConfig {
        enabled: true,
        max_staleness_ms: 200,
        ..CacheConfig::default()
    };
    let registry = TaskHandlerRegistry::with_cache(pool, Arc::new(CacheProvider::noop()), config);
    put(&registry, 1).await;
    current(&registry).await;
    server.stop().await.unwrap();
    let stale = eventually("the index is stale because nothing listens", || async {
        let error = registry
            .get_template("payments", "refund", "1.0.0")
            .await
            .err()?;
        let RegistryError::Stale {
            source: Some(source),
        } = &error
        else {
            return None;
        };
        (source.kind() == DatabaseCause::Refused).then_some(error)
    })
    .await;
    assert!(
        stale
            .source()
            .is_some_and(|source| source.to_string().contains("refused"))
    );
    registry.shutdown().await;
    let error = registry
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::ShutDown), "{error:?}");
}
