//! The registry on a cluster that loses a primary: resolves do not notice.

use std::sync::Arc;

use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::registry::{TaskHandlerRegistry, Tier};
use tasker_test_support::RedisCluster;

use super::cluster::config;
use super::with;
use crate::app::{TestApp, pool, template};
use crate::cache::{SOON, eventually, provider};
use crate::readers::Readers;

const TEMPLATES: usize = 64;

fn name(number: usize) -> String {
    format!("template_{number}")
}

/// Returns whether all templates come from the cluster.
async fn all_from_cluster(registry: &TaskHandlerRegistry) -> bool {
    for number in 0..TEMPLATES {
        let resolved = registry.resolve("ns", &name(number), "1.0.0").await;
        if resolved.expect("a template").tier != Tier::Redis {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_primary_fails_no_resolve_and_registrations_go_on() {
    let app = TestApp::start().await;
    let cluster = RedisCluster::start(3, 1).await.expect("a cluster starts");
    for number in 0..TEMPLATES {
        app.uncached()
            .register_task_template(&template("ns", &name(number), 1))
            .await
            .expect("it registers");
    }
    let cache = CacheConfig {
        operation_timeout_ms: 100,
        // All hits are the cluster's.
        local_max_bytes: 0,
        redis: with(config(&cluster)).redis,
        ..app.cache_config()
    };
    let provider = Arc::new(provider(&cache).await);
    let registry = TaskHandlerRegistry::with_cache(pool(app.database.url()), provider, cache);
    let registry = Arc::new(registry);
    let asked = Arc::clone(&registry);
    let load = Readers::start(8, move |reader, number| {
        let registry = Arc::clone(&asked);
        async move {
            let name = name((reader + number) % TEMPLATES);
            let outcome = registry.resolve("ns", &name, "1.0.0").await;
            outcome.expect("no resolve fails");
            true
        }
    });
    eventually("the cluster is used", SOON, async || {
        all_from_cluster(&registry).await
    })
    .await;
    cluster.nodes()[1]
        .kill()
        .await
        .expect("a primary is killed");
    registry
        .register_task_template(&template("ns", &name(0), 2))
        .await
        .expect("it registers");
    let before = load.counted();
    cluster.until_well().await.expect("a failover");
    assert!(load.counted() > before, "resolves continued");
    eventually("the cluster is used again", SOON, async || {
        all_from_cluster(&registry).await
    })
    .await;
    load.end().await;
    registry.shutdown().await;
}
