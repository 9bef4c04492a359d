//! A cluster that changes under load: lost primaries, promoted replicas, moving slots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tasker_shared::cache::{BreakerState, CacheProvider, keys};
use tasker_shared::config::tasker::CacheConfig;
use tasker_test_support::RedisCluster;

use super::cluster::{ANY_COVERAGE, config, three};
use super::load::Load;
use super::with;
use crate::cache::{SOON, TTL, ask, eventually, provider, raw};

/// The promise after a failover.
const BACK_IN_USE: Duration = Duration::from_secs(5);

/// The budget is far below; the rest is for the scheduler of a busy machine.
const FAR_ABOVE_BUDGET: Duration = Duration::from_secs(1);

/// The time for a failover by hand.
const BY_HAND: Duration = Duration::from_secs(20);

/// A budget that no operation needs.
const PATIENCE: Duration = Duration::from_secs(5);

async fn six() -> RedisCluster {
    RedisCluster::start(3, 1).await.expect("a cluster starts")
}

async fn strict(cluster: &RedisCluster) -> Arc<CacheProvider> {
    Arc::new(
        provider(&CacheConfig {
            operation_timeout_ms: 100,
            ..with(config(cluster))
        })
        .await,
    )
}

/// Returns a provider for servers that are slow for a good reason: they write to the disk for each
/// slot that moves.
async fn patient(cluster: &RedisCluster) -> Arc<CacheProvider> {
    let config = with(config(cluster));
    assert_eq!(Duration::from_millis(config.operation_timeout_ms), PATIENCE);
    Arc::new(provider(&config).await)
}

/// Promotes a replica with its primary's consent, and waits until all nodes know.
async fn promote(cluster: &RedisCluster, replica: usize) {
    let node = &mut raw(&cluster.nodes()[replica]).await;
    let id: String = ask(node, "CLUSTER MYID").await;
    let all_see = async |role: &str| {
        eventually("a failover by hand", BY_HAND, async || {
            let mut seen = 0;
            for viewer in cluster.nodes() {
                let known: String = ask(&mut raw(viewer).await, "CLUSTER NODES").await;
                let is_seen = |line: &str| line.starts_with(&id) && line.contains(role);
                seen += usize::from(known.lines().any(is_seen));
            }
            seen == cluster.nodes().len()
        })
        .await;
    };
    // Nodes vote only for a node that they know as a replica.
    all_see("slave").await;
    let () = ask(node, "CLUSTER FAILOVER").await;
    all_see("master").await;
}

/// Lets nodes wait longer until they suspect each other: on a busy machine they would answer `CLUSTERDOWN`, which
/// is an outage of theirs.
async fn suspect_late(cluster: &RedisCluster) {
    for node in cluster.nodes() {
        let () = ask(
            &mut raw(node).await,
            "CONFIG SET cluster-node-timeout 60000",
        )
        .await;
    }
}

async fn until_open(cache: &CacheProvider) {
    eventually("the breaker is open", SOON, async || {
        cache.status().await.breaker == Some(BreakerState::Open)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_primary_costs_the_budget_at_most_and_its_replica_is_used() {
    let cluster = six().await;
    let cache = strict(&cluster).await;
    let load = Load::on(&cache);
    load.until_in_use(SOON).await;
    // Including the one that the configuration names.
    for lost in [0, 1] {
        cluster.nodes()[lost]
            .kill()
            .await
            .expect("a primary is killed");
        until_open(&cache).await;
        cluster.until_well().await.expect("a failover");
        let started = Instant::now();
        load.until_in_use(BACK_IN_USE).await;
        println!("in use {:?} after the failover", started.elapsed());
        cluster.nodes()[lost]
            .restart()
            .await
            .expect("it comes back");
        cluster.until_well().await.expect("it is a replica");
        load.until_in_use(BACK_IN_USE).await;
    }
    let longest = load.end().await;
    assert!(longest < FAR_ABOVE_BUDGET, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_primary_is_replaced_and_not_waited_for() {
    let cluster = RedisCluster::start_each(3, &vec![ANY_COVERAGE.to_vec(); 6])
        .await
        .expect("a cluster starts");
    let cache = strict(&cluster).await;
    let load = Load::on(&cache);
    load.until_in_use(SOON).await;
    cluster.nodes()[2].freeze().expect("a primary freezes");
    until_open(&cache).await;
    eventually("a failover", Duration::from_secs(20), async || {
        cluster
            .primary_of(16383)
            .await
            .is_ok_and(|owner| owner == 5)
    })
    .await;
    load.until_in_use(Duration::from_secs(10)).await;
    cluster.nodes()[2].thaw().expect("it thaws");
    load.until_in_use(BACK_IN_USE).await;
    let longest = load.end().await;
    assert!(longest < FAR_ABOVE_BUDGET, "{longest:?}");
}

#[tokio::test]
async fn a_primary_without_a_replica_is_named_and_used_when_it_is_back() {
    let cluster = RedisCluster::start_each(3, &vec![ANY_COVERAGE.to_vec(); 3])
        .await
        .expect("a cluster starts");
    let cache = provider(&with(config(&cluster))).await;
    cluster.nodes()[1]
        .kill()
        .await
        .expect("a primary is killed");
    let address = &cluster.addresses()[1];
    eventually("the lost node is named", SOON, async || {
        let status = cache.status().await;
        let reason = status.last_error.unwrap_or_default();
        status.breaker == Some(BreakerState::Open)
            && reason.contains(address)
            && reason.contains("refused")
    })
    .await;
    assert_eq!(
        cache.get("a").await.expect_err("nothing is asked").kind(),
        "rejected"
    );
    cluster.nodes()[1].restart().await.expect("it comes back");
    cluster.until_well().await.expect("all slots are served");
    eventually("the cache is in use", BACK_IN_USE, async || {
        cache.status().await.healthy
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_is_found_without_an_outage() {
    let cluster = six().await;
    suspect_late(&cluster).await;
    let cache = patient(&cluster).await;
    let load = Load::on(&cache);
    load.until_in_use(SOON).await;
    let before = cache.status().await.since;
    promote(&cluster, 4).await;
    load.until_in_use(BACK_IN_USE).await;
    let mut promoted = raw(&cluster.nodes()[4]).await;
    let served: String = ask(&mut promoted, "INFO commandstats").await;
    assert!(served.contains("cmdstat_get:"), "it is used: {served}");
    had_no_outage(&cache, before, load).await;
}

/// Panics if the breaker has changed after `since`, or if a request took too long.
async fn had_no_outage(cache: &CacheProvider, since: DateTime<Utc>, load: Load) {
    let longest = load.end().await;
    assert!(longest < PATIENCE, "{longest:?}");
    let status = cache.status().await;
    assert_eq!(status.breaker, Some(BreakerState::Closed));
    assert_eq!(status.since, since, "{:?}", status.last_error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_under_load_without_an_outage() {
    let cluster = three().await;
    suspect_late(&cluster).await;
    let cache = patient(&cluster).await;
    let load = Load::on(&cache);
    load.until_in_use(SOON).await;
    let before = cache.status().await.since;
    cluster.move_slots(0..300, 0, 1).await.expect("slots move");
    cluster
        .move_slots(5500..5700, 1, 2)
        .await
        .expect("slots move");
    load.until_in_use(BACK_IN_USE).await;
    had_no_outage(&cache, before, load).await;
    cluster.until_well().await.expect("the cluster is well");
    // With the new view nothing is redirected.
    eventually("nothing is redirected", SOON, async || {
        let before = moved(&cluster).await;
        for number in 0..500 {
            let _ = cache.get(&format!("tasker:{number}")).await;
        }
        moved(&cluster).await == before
    })
    .await;
}

/// Returns the number of redirections so far.
async fn moved(cluster: &RedisCluster) -> u64 {
    let mut sum = 0;
    for node in cluster.nodes() {
        let statistics: String = ask(&mut raw(node).await, "INFO errorstats").await;
        sum += statistics
            .lines()
            .filter_map(|line| line.strip_prefix("errorstat_MOVED:count="))
            .filter_map(|count| count.trim().parse::<u64>().ok())
            .sum::<u64>();
    }
    sum
}

#[tokio::test]
async fn a_key_is_found_while_its_slot_is_being_moved() {
    let cluster = three().await;
    let cache = provider(&with(config(&cluster))).await;
    // `foo` is in slot 12182, of the third node.
    cache.set("foo", "value", TTL).await.expect("a set");
    let id: String = ask(&mut raw(&cluster.nodes()[0]).await, "CLUSTER MYID").await;
    let source: String = ask(&mut raw(&cluster.nodes()[2]).await, "CLUSTER MYID").await;
    let mut target = raw(&cluster.nodes()[0]).await;
    let mut from = raw(&cluster.nodes()[2]).await;
    let () = ask(
        &mut target,
        &format!("CLUSTER SETSLOT 12182 IMPORTING {source}"),
    )
    .await;
    let () = ask(&mut from, &format!("CLUSTER SETSLOT 12182 MIGRATING {id}")).await;
    let port = cluster.nodes()[0].port();
    let () = ask(&mut from, &format!("MIGRATE 127.0.0.1 {port} foo 0 5000")).await;

    assert_eq!(
        cache.get("foo").await.expect("a get").as_deref(),
        Some("value")
    );
    // One that is new is written where the slot goes.
    cache.set("{foo}:new", "value", TTL).await.expect("a set");
    assert!(cache.get("{foo}:new").await.expect("a get").is_some());
    assert_eq!(ask::<u64>(&mut target, "DBSIZE").await, 2);
    assert!(cache.delete("foo").await.expect("a delete"));
}

#[tokio::test]
async fn a_sweep_finds_keys_whose_slots_moved() {
    let cluster = three().await;
    let cache = provider(&with(config(&cluster))).await;
    let key = |number: usize| keys::key("tasker", "task_template", &["ns", &number.to_string()]);
    for number in 0..500 {
        cache.set(&key(number), "value", TTL).await.expect("a set");
    }
    cluster.move_slots(0..200, 0, 2).await.expect("slots move");
    let pattern = keys::pattern("tasker", "task_template", &["ns"]);
    assert_eq!(cache.delete_pattern(&pattern).await.expect("a sweep"), 500);
}

#[tokio::test]
async fn a_sweep_finds_the_keys_of_a_new_primary() {
    let mut cluster = three().await;
    let cache = provider(&with(config(&cluster))).await;
    // `foo` is in slot 12182, of the third node.
    let key = |number: usize| keys::key("tasker", "{foo}", &["ns", &number.to_string()]);
    for number in 0..100 {
        cache.set(&key(number), "value", TTL).await.expect("a set");
    }
    cluster.add_primary().await.expect("a primary joins");
    cluster
        .move_slots(12182..12183, 2, 3)
        .await
        .expect("a slot moves");
    let mut joined = raw(&cluster.nodes()[3]).await;
    assert_eq!(ask::<u64>(&mut joined, "DBSIZE").await, 100);
    let pattern = keys::pattern("tasker", "{foo}", &["ns"]);
    assert_eq!(cache.delete_pattern(&pattern).await.expect("a sweep"), 100);
    assert_eq!(ask::<u64>(&mut joined, "DBSIZE").await, 0);
}

#[tokio::test]
async fn a_sweep_finds_the_keys_of_a_promoted_replica() {
    let cluster = six().await;
    let cache = provider(&with(config(&cluster))).await;
    let key = |number: usize| keys::key("tasker", "task_template", &["ns", &number.to_string()]);
    for number in 0..500 {
        cache.set(&key(number), "value", TTL).await.expect("a set");
    }
    promote(&cluster, 4).await;
    let pattern = keys::pattern("tasker", "task_template", &["ns"]);
    cache.delete_pattern(&pattern).await.expect("a sweep");
    let mut promoted = raw(&cluster.nodes()[4]).await;
    assert_eq!(ask::<u64>(&mut promoted, "DBSIZE").await, 0);
}
