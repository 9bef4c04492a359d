//! A primary that sentinels watch.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::config::tasker::{CacheConfig, RedisConfig};
use tasker_test_support::{RedisSentinel, TcpProxy};

use super::load::Load;
use super::{refusal, with, works};
use crate::cache::{SOON, ask, eventually, provider, raw};

/// The promise is two seconds; the rest is for a busy machine.
const BACK_IN_USE: Duration = Duration::from_secs(5);

/// The rights that the page for operators names.
const LEAST: &str = "+get +set +del +scan +ping +select +role ~tasker:* ~other";
const LEAST_OF_SENTINELS: &str = "+sentinel|masters";

fn config(watched: &RedisSentinel) -> RedisConfig {
    let sentinels = watched.sentinels();
    RedisConfig {
        url: sentinels[0].url(),
        nodes: sentinels[1..]
            .iter()
            .map(tasker_test_support::RedisServer::address)
            .collect(),
        mode: String::from("sentinel"),
        sentinel_master_name: watched.primary_name().to_owned(),
        ..RedisConfig::default()
    }
}

async fn start() -> RedisSentinel {
    RedisSentinel::start()
        .await
        .expect("servers and sentinels start")
}

#[tokio::test]
async fn the_primary_is_found_and_used_in_the_configured_database() {
    let watched = start().await;
    let redis = RedisConfig {
        database: 2,
        ..config(&watched)
    };
    let cache = provider(&with(redis)).await;
    works(&cache).await;
    cache
        .set("a", "value", crate::cache::TTL)
        .await
        .expect("a set");
    let mut primary = raw(&watched.servers()[0]).await;
    let () = ask(&mut primary, "SELECT 2").await;
    assert_eq!(ask::<u64>(&mut primary, "DBSIZE").await, 1);
}

#[tokio::test]
async fn proxies_that_hang_up_on_client_setinfo_may_stand_before_sentinels_and_servers() {
    let watched = start().await;
    let before = async |url: String| {
        let proxy = TcpProxy::before(&url).await.expect("a proxy");
        proxy.hang_up_on("SETINFO").await;
        proxy
    };
    let server = before(watched.servers()[0].url()).await;
    let sentinel = before(watched.sentinels()[0].url()).await;
    let (name, port) = (watched.primary_name(), server.port());
    let mut raw = raw(&watched.sentinels()[0]).await;
    let () = ask(&mut raw, &format!("SENTINEL REMOVE {name}")).await;
    let () = ask(
        &mut raw,
        &format!("SENTINEL MONITOR {name} 127.0.0.1 {port} 1"),
    )
    .await;
    let cache = provider(&with(RedisConfig {
        url: sentinel.url().to_owned(),
        nodes: Vec::new(),
        ..config(&watched)
    }))
    .await;
    works(&cache).await;
    assert!(server.accepted() > 0 && sentinel.accepted() > 0);
}

#[tokio::test]
async fn any_sentinel_will_do() {
    let watched = start().await;
    watched.sentinels()[0]
        .kill()
        .await
        .expect("a sentinel is killed");
    watched.sentinels()[1].freeze().expect("a sentinel freezes");
    works(&provider(&with(config(&watched))).await).await;
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_reported() {
    let watched = start().await;
    let reason = refusal(&with(RedisConfig {
        sentinel_master_name: String::from("nobody"),
        ..config(&watched)
    }))
    .await;
    assert!(reason.contains("`redis.sentinel_master_name`"), "{reason}");
    let reason = refusal(&with(RedisConfig {
        url: watched.servers()[0].url(),
        nodes: Vec::new(),
        ..config(&watched)
    }))
    .await;
    assert!(reason.contains("are not sentinels"), "{reason}");
}

#[tokio::test]
async fn a_sentinel_that_names_a_replica_is_not_believed() {
    let watched = start().await;
    // The sentinel has not noticed a failover.
    let mut replica = raw(&watched.servers()[0]).await;
    let port = watched.servers()[1].port();
    let () = ask(&mut raw(&watched.servers()[1]).await, "REPLICAOF NO ONE").await;
    let () = ask(&mut replica, &format!("REPLICAOF 127.0.0.1 {port}")).await;
    for sentinel in watched.sentinels() {
        sentinel.freeze().expect("a sentinel freezes");
    }
    watched.sentinels()[0].thaw().expect("a sentinel thaws");
    let reason = refusal(&with(RedisConfig {
        nodes: Vec::new(),
        ..config(&watched)
    }))
    .await;
    assert!(reason.contains("know no running primary"), "{reason}");
}

#[tokio::test]
async fn servers_and_sentinels_may_want_passwords_of_their_own() {
    let watched = RedisSentinel::start()
        .await
        .expect("servers and sentinels start");
    for server in watched.servers() {
        let mut connection = raw(server).await;
        let () = ask(
            &mut connection,
            &format!("ACL SETUSER ann on >for-data {LEAST}"),
        )
        .await;
    }
    for sentinel in watched.sentinels() {
        let mut connection = raw(sentinel).await;
        let () = ask(
            &mut connection,
            &format!("ACL SETUSER bob on >for-sentinels {LEAST_OF_SENTINELS}"),
        )
        .await;
        let () = ask(&mut connection, "ACL SETUSER default -@all +auth").await;
    }
    let good = || RedisConfig {
        username: String::from("ann"),
        password: "for-data".into(),
        sentinel_username: String::from("bob"),
        sentinel_password: "for-sentinels".into(),
        ..config(&watched)
    };
    works(&provider(&with(good())).await).await;
    for wrong in [
        RedisConfig {
            password: "hunter2".into(),
            ..good()
        },
        RedisConfig {
            sentinel_password: "hunter2".into(),
            ..good()
        },
        RedisConfig {
            sentinel_username: String::new(),
            sentinel_password: "".into(),
            ..good()
        },
    ] {
        let reason = refusal(&with(wrong)).await;
        assert!(
            reason.contains("does not accept") || reason.contains("NOPERM"),
            "{reason}"
        );
        assert!(!reason.contains("hunter2"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_load_fails_nothing_and_the_new_primary_is_used() {
    let watched = start().await;
    let cache = Arc::new(
        provider(&CacheConfig {
            operation_timeout_ms: 100,
            ..with(config(&watched))
        })
        .await,
    );
    let load = Load::on(&cache);
    load.until_in_use(SOON).await;
    watched.servers()[0]
        .kill()
        .await
        .expect("the primary is killed");
    watched.until_primary(1).await.expect("a failover");
    load.until_in_use(BACK_IN_USE).await;
    let longest = load.end().await;
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    let mut heir = raw(&watched.servers()[1]).await;
    assert!(ask::<u64>(&mut heir, "DBSIZE").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_demoted_and_stays_up_is_left() {
    let watched = start().await;
    let cache = Arc::new(provider(&with(config(&watched))).await);
    let load = Load::on(&cache);
    load.until_in_use(SOON).await;
    let name = watched.primary_name();
    let mut sentinel = raw(&watched.sentinels()[0]).await;
    let () = ask(&mut sentinel, &format!("SENTINEL FAILOVER {name}")).await;
    watched.until_primary(1).await.expect("a failover");
    // Writes go to the new primary: the old one would refuse them.
    eventually("writes are accepted", Duration::from_secs(15), async || {
        cache.set("a", "value", crate::cache::TTL).await.is_ok()
    })
    .await;
    load.until_in_use(BACK_IN_USE).await;
    load.end().await;
}

#[tokio::test]
async fn a_primary_behind_a_silent_network_is_given_up_in_time() {
    let watched = start().await;
    let proxy = TcpProxy::before(&watched.sentinels()[0].url())
        .await
        .expect("a proxy");
    proxy.black_hole().await;
    let started = std::time::Instant::now();
    refusal(&with(RedisConfig {
        url: proxy.url().to_owned(),
        nodes: Vec::new(),
        connection_timeout_seconds: 1,
        ..config(&watched)
    }))
    .await;
    assert!(started.elapsed() < Duration::from_secs(3));
}
