//! The cache provider while its Redis dies, freezes, refuses or is absent.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::cache::{BreakerState, CacheProvider};
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::metrics::CACHE_BREAKER_TRANSITIONS;
use tasker_test_support::TcpProxy;

use crate::cache::{SOON, TTL, ask, config, eventually, provider, raw, server};
use crate::metrics_view::Metrics;
use crate::readers::Readers;
use crate::redis_kinds::logs::Logs;

/// The limit of one call in tests. The budget is 25 ms; the rest is for the scheduler of a busy
/// machine.
const FAR_ABOVE_BUDGET: Duration = Duration::from_secs(1);

/// The promise is two seconds; the rest is for a busy machine.
const BACK_IN_USE: Duration = Duration::from_secs(5);

fn strict(url: &str) -> CacheConfig {
    CacheConfig {
        operation_timeout_ms: 25,
        ..config(url)
    }
}

/// Sixteen readers of one key.
struct Load {
    cache: Arc<CacheProvider>,
    readers: Readers,
}

impl Load {
    fn on(cache: &Arc<CacheProvider>) -> Self {
        let asked = Arc::clone(cache);
        let readers = Readers::start(16, move |_, _| {
            let cache = Arc::clone(&asked);
            async move {
                let _ = cache.get("key").await;
                true
            }
        });
        Self {
            cache: Arc::clone(cache),
            readers,
        }
    }

    /// Waits until the breaker is open and requests continue without I/O.
    async fn until_open(&self) {
        eventually("the breaker is open", SOON, async || {
            self.cache.status().await.breaker == Some(BreakerState::Open)
        })
        .await;
        let asked = self.readers.counted();
        eventually("requests continue", SOON, async || {
            self.readers.counted() > asked + 100
        })
        .await;
        let status = self.cache.status().await;
        assert!(!status.healthy && status.enabled && status.last_error.is_some());
    }

    async fn until_in_use(&self) {
        eventually("Redis is in use again", BACK_IN_USE, async || {
            self.cache.set("key", "value", TTL).await.is_ok()
                && matches!(self.cache.get("key").await, Ok(Some(_)))
        })
        .await;
    }

    /// Ends the load, and returns the longest time that a request took.
    async fn end(self) -> Duration {
        self.readers.end().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_costs_the_budget_at_most_and_is_used_when_it_is_back() {
    let server = server().await;
    let cache = Arc::new(provider(&strict(&server.url())).await);
    let load = Load::on(&cache);
    load.until_in_use().await;
    server.kill().await.expect("the server is killed");
    load.until_open().await;
    server.restart().await.expect("the server is back");
    load.until_in_use().await;
    let longest = load.end().await;
    assert!(longest < FAR_ABOVE_BUDGET, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_costs_the_budget_at_most_and_is_used_when_it_thaws() {
    let server = server().await;
    let cache = Arc::new(provider(&strict(&server.url())).await);
    let load = Load::on(&cache);
    load.until_in_use().await;
    server.freeze().expect("the server freezes");
    load.until_open().await;
    server.thaw().expect("the server thaws");
    load.until_in_use().await;
    let longest = load.end().await;
    assert!(longest < FAR_ABOVE_BUDGET, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_are_replaced() {
    let server = server().await;
    let proxy = TcpProxy::before(&server.url()).await.expect("a proxy");
    let cache = Arc::new(provider(&strict(proxy.url())).await);
    let load = Load::on(&cache);
    for round in 0..3 {
        load.until_in_use().await;
        match round {
            0 => proxy.half_open().await,
            1 => {
                proxy.black_hole().await;
                proxy.cut().await;
            }
            _ => proxy.delay(Duration::from_millis(200)).await,
        }
        load.until_open().await;
        // Connections from before the fault may be lost for good.
        proxy.cut().await;
        proxy.forward().await;
    }
    load.until_in_use().await;
    let longest = load.end().await;
    assert!(longest < FAR_ABOVE_BUDGET, "{longest:?}");
}

#[tokio::test]
async fn an_answer_that_is_late_is_logged_once_although_the_cache_stays_in_use() {
    let logs = Logs::capture();
    let server = server().await;
    let proxy = TcpProxy::before(&server.url()).await.expect("a proxy");
    let cache = provider(&strict(proxy.url())).await;
    eventually("all connections are up", SOON, async || {
        cache.status().await.connections_up == 2
    })
    .await;
    proxy.delay(Duration::from_millis(200)).await;
    for _ in 0..2 {
        cache.get("key").await.expect_err("no answer in time");
    }
    let lines = logs.with("a command to the cache failed");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("GET") && lines[0].contains("25ms"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn an_idle_process_notices_that_redis_is_frozen() {
    let server = server().await;
    let cache = provider(&strict(&server.url())).await;
    server.freeze().expect("the server freezes");
    // Asking for the status would ask Redis; the provider's debug output does not.
    eventually("the breaker is open", Duration::from_secs(15), async || {
        format!("{cache:?}").contains("breaker_open: true")
    })
    .await;
    server.thaw().expect("the server thaws");
    eventually("Redis is in use again", BACK_IN_USE, async || {
        cache.status().await.healthy
    })
    .await;
}

#[tokio::test]
async fn connections_that_the_server_closes_are_replaced() {
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    let mut raw = raw(&server).await;
    for _ in 0..3 {
        eventually("all connections are up", SOON, async || {
            cache.status().await.connections_up == 2
        })
        .await;
        let killed: u64 = ask(&mut raw, "CLIENT KILL TYPE normal SKIPME yes").await;
        assert_eq!(killed, 2);
        eventually("Redis is in use again", BACK_IN_USE, async || {
            cache.set("a", "value", TTL).await.is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn one_connection_that_is_lost_is_not_noticed_by_requests() {
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    eventually("all connections are up", SOON, async || {
        cache.status().await.connections_up == 2
    })
    .await;
    let mut raw = raw(&server).await;
    let own: u64 = ask(&mut raw, "CLIENT ID").await;
    let clients: String = ask(&mut raw, "CLIENT LIST").await;
    let other = clients
        .lines()
        .filter_map(|line| {
            line.strip_prefix("id=")?
                .split(' ')
                .next()?
                .parse::<u64>()
                .ok()
        })
        .find(|id| *id != own)
        .expect("another client");
    let _: u64 = ask(&mut raw, &format!("CLIENT KILL ID {other}")).await;
    for _ in 0..9 {
        cache.get("a").await.expect("a get over another connection");
    }
    eventually("it is replaced", SOON, async || {
        cache.status().await.connections_up == 2
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_absent_at_start_is_used_when_it_arrives() {
    let server = server().await;
    server.kill().await.expect("the server is killed");
    let cache = CacheProvider::from_config_graceful(&config(&server.url())).await;
    assert_eq!(cache.provider_name(), "noop");
    assert!(!cache.is_enabled());
    assert!(matches!(cache.get("a").await, Ok(None)));
    assert!(cache.status().await.last_error.is_some());

    server.restart().await.expect("the server arrives");
    eventually("Redis is in use", BACK_IN_USE, async || cache.is_enabled()).await;
    assert_eq!(cache.provider_name(), "redis");
    cache.set("a", "value", TTL).await.expect("a set");
    assert!(cache.status().await.healthy);

    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    cache.shutdown().await;
    eventually("no task is left", SOON, async || tasks() == 0).await;
}

#[tokio::test]
async fn a_password_that_is_set_later_opens_the_breaker_for_new_connections() {
    let metrics = Metrics::of_this_thread();
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    let mut raw = raw(&server).await;
    let () = ask(&mut raw, "CONFIG SET requirepass secret").await;
    let _: u64 = ask(&mut raw, "CLIENT KILL TYPE normal SKIPME yes").await;
    eventually("the breaker is open", SOON, async || {
        cache.status().await.breaker == Some(BreakerState::Open)
    })
    .await;
    let error = cache.get("a").await.expect_err("nothing is asked");
    assert_eq!(error.kind(), "rejected");
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", ""])
        .query_async(&mut raw)
        .await
        .expect("the password is removed");
    eventually("Redis is in use again", BACK_IN_USE, async || {
        cache.status().await.healthy
    })
    .await;
    for to in ["to=\"open\"", "to=\"closed\""] {
        assert!(
            metrics.sum_of(&CACHE_BREAKER_TRANSITIONS, to) >= 1.0,
            "{to}"
        );
    }
}

#[tokio::test]
async fn a_proxy_that_hangs_up_on_client_setinfo_is_used() {
    let server = server().await;
    let proxy = TcpProxy::before(&server.url()).await.expect("a proxy");
    proxy.hang_up_on("SETINFO").await;
    assert!(
        tasker_test_support::redis_connection(proxy.url())
            .await
            .is_err(),
        "the client library sends it"
    );
    let cache = provider(&config(proxy.url())).await;
    cache.set("key", "value", TTL).await.expect("a set");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_were_closed_while_idle_are_replaced_without_a_failure() {
    let server = server().await;
    for (closed_after, pause) in [(1500, 2500), (300, 600)] {
        let (closed_after, pause) = (
            Duration::from_millis(closed_after),
            Duration::from_millis(pause),
        );
        let proxy = TcpProxy::before(&server.url()).await.expect("a proxy");
        proxy.close_idle(closed_after).await;
        let cache = provider(&config(proxy.url())).await;
        cache.set("key", "value", TTL).await.expect("a set");
        for _ in 0..4 {
            let connected = proxy.accepted();
            // Longer than the proxy's patience, and shorter than the pause between probes.
            tokio::time::sleep(pause).await;
            let read = cache.get("key").await;
            assert_eq!(read.expect("a read").as_deref(), Some("value"));
            assert!(proxy.accepted() > connected, "the connection was not idle");
            let status = cache.status().await;
            assert_eq!(status.breaker, Some(BreakerState::Closed), "{status:?}");
            assert_eq!(status.last_error, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_while_nobody_asks_it_costs_the_budget_at_most() {
    let server = server().await;
    let cache = provider(&strict(&server.url())).await;
    eventually("the key is there", SOON, async || {
        cache.set("key", "value", TTL).await.is_ok()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.kill().await.expect("the server is killed");
    let started = std::time::Instant::now();
    assert!(cache.get("key").await.is_err());
    assert!(started.elapsed() < FAR_ABOVE_BUDGET);
    eventually("the breaker is open", SOON, async || {
        cache.status().await.breaker == Some(BreakerState::Open)
    })
    .await;
}
