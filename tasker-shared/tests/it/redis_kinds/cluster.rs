//! A healthy cluster, and the reasons reported for others.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use tasker_shared::cache::{BadAnswer, BreakerState, CacheError, CacheProvider, keys};
use tasker_shared::config::tasker::{CacheConfig, RedisConfig};
use tasker_test_support::{RedisCluster, RedisServer, free_port};

use super::logs::Logs;
use super::tls_files::{self, TlsFiles};
use super::{path, refusal, with, works};
use crate::cache::{SOON, TTL, ask, eventually, provider, raw};

/// The rights in `docs/operations.md` for a cluster.
const LEAST: &str = "+get +set +del +scan +ping +asking +cluster|slots \
                     ~tasker:* ~other";

/// Arguments of nodes that serve their slots although others are not served.
pub(super) const ANY_COVERAGE: [&str; 2] = ["--cluster-require-full-coverage", "no"];

pub(super) fn config(cluster: &RedisCluster) -> RedisConfig {
    RedisConfig {
        url: cluster.url(),
        mode: String::from("cluster"),
        ..RedisConfig::default()
    }
}

pub(super) async fn three() -> RedisCluster {
    RedisCluster::start(3, 0).await.expect("a cluster starts")
}

async fn entries(node: &RedisServer) -> u64 {
    ask(&mut raw(node).await, "DBSIZE").await
}

#[tokio::test]
async fn everything_works_over_all_primaries() {
    let cluster = three().await;
    works(&provider(&with(config(&cluster))).await).await;
    for node in cluster.nodes() {
        assert_eq!(
            entries(node).await,
            0,
            "nothing is left, probe keys included"
        );
        let statistics: String = ask(&mut raw(node).await, "INFO commandstats").await;
        for command in ["get", "set", "del", "scan", "ping"] {
            let served = statistics.contains(&format!("cmdstat_{command}:"));
            assert!(served, "{command}: {statistics}");
        }
    }
}

#[tokio::test]
async fn a_key_of_another_type_is_a_bad_answer_as_on_a_single_server() {
    let cluster = three().await;
    let cache = provider(&with(config(&cluster))).await;
    let mut owners = 0;
    for node in cluster.nodes() {
        let mut command = redis::cmd("LPUSH");
        command.arg("listed").arg("element");
        let pushed: Result<u64, _> = command.query_async(&mut raw(node).await).await;
        owners += u32::from(pushed.is_ok());
    }
    assert_eq!(owners, 1);
    assert!(matches!(
        cache.get("listed").await,
        Err(CacheError::SerializationError(BadAnswer::WrongType))
    ));
}

#[tokio::test]
async fn a_pattern_deletes_one_namespace_on_every_primary() {
    let cluster = three().await;
    let cache = provider(&with(config(&cluster))).await;
    let key = |namespace: &str, name: usize| {
        keys::key(
            "tasker",
            "task_template",
            &[namespace, &name.to_string(), "1.0.0"],
        )
    };
    for number in 0..900 {
        for namespace in ["payments", "pay"] {
            let written = cache.set(&key(namespace, number), "value", TTL).await;
            written.expect("a set");
        }
    }
    for node in cluster.nodes() {
        assert!(entries(node).await > 300, "each primary has its share");
    }
    let pattern = keys::pattern("tasker", "task_template", &["payments"]);
    assert_eq!(cache.delete_pattern(&pattern).await.expect("a sweep"), 900);
    let named: Vec<String> = (0..900).map(|number| key("pay", number)).collect();
    assert_eq!(cache.delete_many(&named).await.expect("a delete"), 900);
}

#[tokio::test]
async fn a_hash_tag_in_the_prefix_puts_everything_into_one_slot() {
    let cluster = three().await;
    let tagged = CacheConfig {
        key_prefix: String::from("{tasker}"),
        ..with(config(&cluster))
    };
    let cache = provider(&tagged).await;
    for number in 0..100 {
        let key = keys::key("{tasker}", "task_template", &["ns", &number.to_string()]);
        cache.set(&key, "value", TTL).await.expect("a set");
    }
    let mut sizes = Vec::new();
    for node in cluster.nodes() {
        sizes.push(entries(node).await);
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 0, 100]);
    let pattern = keys::pattern("{tasker}", "task_template", &[]);
    assert_eq!(cache.delete_pattern(&pattern).await.expect("a sweep"), 100);
}

#[tokio::test]
async fn a_cluster_with_tls_users_and_client_certificates_is_used() {
    let tls = TlsFiles::create();
    let ports = [0; 3].map(|_| free_port().expect("a free port"));
    let between = ["--tls-cluster", "yes", "--tls-replication", "yes"].map(String::from);
    let arguments = ports.map(|port| [tls.arguments(port), between.to_vec()].concat());
    let cluster = RedisCluster::start_each(3, &arguments)
        .await
        .expect("a cluster with TLS starts");
    for node in cluster.nodes() {
        let () = ask(
            &mut raw(node).await,
            &format!("ACL SETUSER ann on >secret {LEAST}"),
        )
        .await;
    }
    let [certificate, key] = tls.client();
    let good = || RedisConfig {
        url: tls_files::url(ports[0]),
        username: String::from("ann"),
        password: "secret".into(),
        tls_ca_file: path(tls.authority()),
        tls_cert_file: path(&certificate),
        tls_key_file: path(&key),
        ..config(&cluster)
    };
    works(&provider(&with(good())).await).await;
    let reason = refusal(&with(RedisConfig {
        password: "hunter2".into(),
        ..good()
    }))
    .await;
    assert!(
        reason.contains("does not accept the configured user"),
        "{reason}"
    );
    assert!(!reason.contains("hunter2"), "{reason}");
}

#[tokio::test]
async fn any_node_suffices_to_find_the_others() {
    let cluster = RedisCluster::start(3, 1).await.expect("a cluster starts");
    // A replica, and an address where nobody is.
    let nodes = vec![cluster.addresses()[5].clone()];
    let nobody = tasker_test_support::free_port().expect("a free port");
    let found = with(RedisConfig {
        url: format!("redis://127.0.0.1:{nobody}"),
        nodes,
        ..config(&cluster)
    });
    works(&provider(&found).await).await;
}

#[tokio::test]
async fn a_server_without_a_cluster_is_refused() {
    let server = RedisServer::start().await.expect("a Redis server starts");
    let reason = refusal(&with(RedisConfig {
        url: server.url(),
        mode: String::from("cluster"),
        ..RedisConfig::default()
    }))
    .await;
    assert!(reason.contains("the server answered ERR"), "{reason}");
}

#[tokio::test]
async fn a_cluster_with_a_slot_that_nobody_serves_is_not_used() {
    let cluster = RedisCluster::start_each(3, &vec![ANY_COVERAGE.to_vec(); 3])
        .await
        .expect("a cluster starts");
    // Old gossip of another node can make a node serve the slot again.
    eventually("nobody serves the slot", SOON, async || {
        for node in cluster.nodes().iter().rev() {
            let mut command = redis::cmd("CLUSTER");
            command.arg("DELSLOTS").arg(12182);
            let _: redis::RedisResult<()> = command.query_async(&mut raw(node).await).await;
        }
        let cache = CacheProvider::from_config_graceful(&with(config(&cluster))).await;
        let reason = cache.status().await.last_error.unwrap_or_default();
        reason.contains("slots of the cluster have no primary")
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_used_as_a_single_server_serves_its_own_keys_and_says_so_once() {
    let logs = Logs::capture();
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _local = metrics::set_default_local_recorder(&recorder);
    let cluster = three().await;
    let cache = provider(&with(RedisConfig {
        mode: String::from("single"),
        ..config(&cluster)
    }))
    .await;
    let refused = || {
        let rendered = metrics.render();
        let name = "tasker_cache_refusals_total{code=\"MOVED\"} ";
        let count = rendered.lines().find_map(|line| line.strip_prefix(name));
        count.map_or(0, |count| count.parse::<u64>().expect("a count"))
    };
    // The key of the probe at the start may belong to another node.
    let before = refused();
    let (mut served, mut elsewhere) = (0, 0);
    for number in 0..100 {
        match cache.set(&format!("tasker:{number}"), "value", TTL).await {
            Ok(()) => served += 1,
            Err(CacheError::BackendError(refusal)) => {
                assert_eq!(refusal.code(), "MOVED");
                elsewhere += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(served > 10 && elsewhere > 10, "{served} and {elsewhere}");
    assert_eq!(cache.status().await.breaker, Some(BreakerState::Closed));
    let probed = 1;
    let counted = refused() - before;
    assert!(
        (elsewhere..=elsewhere + probed).contains(&counted),
        "{counted} of {elsewhere}"
    );
    let reason = logs.with("`mode = \"cluster\"`");
    assert_eq!(reason.len(), 1, "{reason:?}");
}

#[tokio::test]
async fn a_cluster_that_is_absent_at_start_is_used_when_it_arrives() {
    let cluster = three().await;
    cluster.nodes()[1].freeze().expect("a primary freezes");
    let mut late = with(config(&cluster));
    if let Some(redis) = &mut late.redis {
        redis.connection_timeout_seconds = 1;
    }
    let cache = CacheProvider::from_config_graceful(&late).await;
    assert!(!cache.is_enabled(), "one primary is silent");
    cluster.nodes()[1].thaw().expect("it thaws");
    eventually("the cache is in use", Duration::from_secs(15), async || {
        cache.is_enabled()
    })
    .await;
    works(&cache).await;
}
