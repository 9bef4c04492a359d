//! The cache provider on a healthy Redis.

use std::future::Future;
use std::time::{Duration, Instant};

use tasker_shared::cache::{BadAnswer, CacheError, CacheProvider, MAX_VALUE_BYTES, keys};
use tasker_shared::config::tasker::{CacheConfig, RedisConfig};
use tasker_shared::metrics::{CACHE_BREAKER_OPEN, CACHE_IN_USE};
use tasker_test_support::{RedisServer, redis_connection};

use crate::metrics_view::Metrics;

pub(crate) const TTL: Duration = Duration::from_mins(1);

/// The longest time that a test waits for something that must happen soon. A busy machine needs it.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) async fn server() -> RedisServer {
    RedisServer::start().await.expect("a Redis server starts")
}

/// Returns a configuration with a long budget, so that a busy machine does not fail a test of
/// something else.
pub(crate) fn config(url: &str) -> CacheConfig {
    CacheConfig {
        enabled: true,
        operation_timeout_ms: 5000,
        redis: Some(RedisConfig {
            url: url.to_owned(),
            max_connections: 3,
            ..RedisConfig::default()
        }),
        ..CacheConfig::default()
    }
}

pub(crate) async fn provider(config: &CacheConfig) -> CacheProvider {
    let provider = CacheProvider::from_config_graceful(config).await;
    assert_eq!(provider.provider_name(), "redis");
    provider
}

/// Returns a connection for the test itself.
pub(crate) async fn raw(server: &RedisServer) -> redis::aio::MultiplexedConnection {
    redis_connection(&server.url()).await.expect("a connection")
}

/// Sends a command, such as `"CONFIG SET maxmemory 1"`.
pub(crate) async fn ask<T: redis::FromRedisValue>(
    connection: &mut redis::aio::MultiplexedConnection,
    command: &str,
) -> T {
    let mut words = command.split(' ');
    let mut redis_command = redis::cmd(words.next().expect("a command"));
    words.for_each(|word| {
        redis_command.arg(word);
    });
    redis_command
        .query_async(connection)
        .await
        .unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// Waits until `condition` holds; fails the test if that takes too long.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> F,
) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn values_are_stored_read_and_deleted() {
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    assert_eq!(cache.get("a").await.expect("a get"), None);
    cache.set("a", "one", TTL).await.expect("a set");
    cache.set("a", "two", TTL).await.expect("a set");
    assert_eq!(cache.get("a").await.expect("a get").as_deref(), Some("two"));
    assert!(cache.delete("a").await.expect("a delete"));
    assert!(!cache.delete("a").await.expect("a delete"));
    assert_eq!(cache.get("a").await.expect("a get"), None);
    assert!(cache.health_check().await.expect("a ping"));
}

#[tokio::test]
async fn each_of_many_concurrent_reads_gets_its_own_answer() {
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    for number in (0..100).step_by(2) {
        let value = format!("value {number}");
        cache
            .set(&number.to_string(), &value, TTL)
            .await
            .expect("a set");
    }
    let mut raw = raw(&server).await;
    ask::<u64>(&mut raw, "LPUSH 51 element").await;
    let sent = async |raw: &mut _| -> u64 {
        let stats: String = ask(raw, "INFO commandstats").await;
        let gets = stats.lines().find(|line| line.starts_with("cmdstat_get:"));
        let count = gets.and_then(|line| line.split(['=', ',']).nth(1)?.parse().ok());
        count.expect("probing has read already")
    };
    let before = sent(&mut raw).await;
    let keys: Vec<String> = (0..100).map(|number: u32| number.to_string()).collect();
    let answers = futures::future::join_all(keys.iter().map(|key| cache.get(key))).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match (number, answer) {
            (51, Err(CacheError::SerializationError(BadAnswer::WrongType))) => {}
            (51, other) => panic!("{other:?}"),
            (number, answer) => {
                let value = number.is_multiple_of(2).then(|| format!("value {number}"));
                assert_eq!(answer.expect("a get"), value, "{number}");
            }
        }
    }
    assert_eq!(sent(&mut raw).await - before, 100);
}

#[tokio::test]
async fn a_reader_that_goes_away_takes_no_answer_from_the_others() {
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    cache.set("a", "one", TTL).await.expect("a set");
    {
        let gone = cache.get("a");
        tokio::pin!(gone);
        assert!(futures::poll!(&mut gone).is_pending());
    }
    assert_eq!(cache.get("a").await.expect("a get").as_deref(), Some("one"));
}

#[tokio::test]
async fn an_entry_is_gone_when_its_time_is_over() {
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    cache.set("long", "value", TTL).await.expect("a set");
    let left: u64 = ask(&mut raw(&server).await, "PTTL long").await;
    assert!((1..=60_000).contains(&left), "{left}");
    cache
        .set("short", "value", Duration::from_millis(20))
        .await
        .expect("a set");
    eventually("the entry is gone", SOON, async || {
        cache.get("short").await.expect("a get").is_none()
    })
    .await;
}

#[tokio::test]
async fn exactly_the_named_keys_are_deleted() {
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    let named: Vec<String> = (0..1234).map(|number| format!("k{number}")).collect();
    for key in named.iter().chain([&String::from("other")]) {
        cache.set(key, "value", TTL).await.expect("a set");
    }
    assert_eq!(cache.delete_many(&named).await.expect("a delete"), 1234);
    assert_eq!(cache.delete_many(&[]).await.expect("a delete"), 0);
    assert!(cache.get("other").await.expect("a get").is_some());
}

#[tokio::test]
async fn a_pattern_deletes_one_namespace_by_scanning() {
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    let mut raw = raw(&server).await;
    let key =
        |namespace: &str, name: &str| keys::key("tasker", "task_template", &[namespace, name]);
    for number in 0..3000 {
        let () = ask(
            &mut raw,
            &format!("SET {} v", key("payments", &number.to_string())),
        )
        .await;
    }
    let others = [
        key("pay", "a"),
        key("payments2", "a"),
        key("*", "a"),
        key("payments:0", "a"),
    ];
    for other in &others {
        cache.set(other, "v", TTL).await.expect("a set");
    }
    let pattern = keys::pattern("tasker", "task_template", &["payments"]);
    assert_eq!(cache.delete_pattern(&pattern).await.expect("a sweep"), 3000);
    let star = keys::pattern("tasker", "task_template", &["*"]);
    assert_eq!(cache.delete_pattern(&star).await.expect("a sweep"), 1);
    let left: u64 = ask(&mut raw, "DBSIZE").await;
    assert_eq!(left, 3);
    let statistics: String = ask(&mut raw, "INFO commandstats").await;
    assert!(statistics.contains("cmdstat_scan:"));
    assert!(!statistics.contains("cmdstat_keys:"));
}

#[tokio::test]
async fn the_configured_database_is_used() {
    let server = server().await;
    for (url, database) in [(server.url(), 5), (format!("{}/6", server.url()), 0)] {
        let mut config = config(&url);
        if let Some(redis) = &mut config.redis {
            redis.database = database;
        }
        let cache = provider(&config).await;
        // On every connection, not only the first.
        eventually("all connections are up", SOON, async || {
            cache.status().await.connections_up == 2
        })
        .await;
        for number in 0..20 {
            cache
                .set(&format!("k{number}"), "v", TTL)
                .await
                .expect("a set");
        }
    }
    let mut raw = raw(&server).await;
    assert_eq!(ask::<u64>(&mut raw, "DBSIZE").await, 0);
    for database in [5, 6] {
        let () = ask(&mut raw, &format!("SELECT {database}")).await;
        assert_eq!(ask::<u64>(&mut raw, "DBSIZE").await, 20);
    }
}

#[tokio::test]
async fn max_connections_is_the_limit_of_connections() {
    let server = server().await;
    let mut raw = raw(&server).await;
    // 0 is refused in files, but not in literals.
    for (max_connections, opened) in [(0, 1), (1, 1), (10, 2)] {
        let mut config = config(&server.url());
        if let Some(redis) = &mut config.redis {
            redis.max_connections = max_connections;
        }
        let cache = provider(&config).await;
        eventually("all connections are up", SOON, async || {
            cache.status().await.connections_up == opened
        })
        .await;
        for number in 0..100 {
            cache.get(&format!("k{number}")).await.expect("a get");
        }
        let clients: String = ask(&mut raw, "CLIENT LIST").await;
        let readers = clients.lines().filter(|line| line.contains(" cmd=get "));
        assert_eq!(readers.count(), opened as usize, "{clients}");
        cache.shutdown().await;
        eventually("its connections are closed", SOON, || {
            let mut raw = raw.clone();
            async move { ask::<String>(&mut raw, "CLIENT LIST").await.lines().count() == 1 }
        })
        .await;
    }
}

#[tokio::test]
async fn the_gauges_are_those_of_the_table_of_states() {
    let metrics = Metrics::of_this_thread();
    let gauges = || {
        (
            metrics.gauge(&CACHE_IN_USE),
            metrics.gauge(&CACHE_BREAKER_OPEN),
        )
    };
    for without in [
        CacheConfig {
            enabled: false,
            ..config("redis://127.0.0.1:1")
        },
        CacheConfig {
            redis: None,
            ..config("")
        },
    ] {
        let _none = CacheProvider::from_config_graceful(&without).await;
        assert_eq!(gauges(), (None, None));
    }
    let _waiting = CacheProvider::from_config_graceful(&config("redis://127.0.0.1:1")).await;
    assert_eq!(gauges(), (Some(0.0), None));
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    assert_eq!(gauges(), (Some(1.0), Some(0.0)));
    server.kill().await.expect("Redis is killed");
    eventually("the breaker is open", SOON, async || {
        cache.get("a").await.ok();
        gauges() == (Some(1.0), Some(1.0))
    })
    .await;
}

#[tokio::test]
async fn connecting_leaves_no_key_behind() {
    let server = server().await;
    let _cache = provider(&config(&server.url())).await;
    let mut raw = raw(&server).await;
    assert_eq!(ask::<u64>(&mut raw, "DBSIZE").await, 0);
    let statistics: String = ask(&mut raw, "INFO commandstats").await;
    assert!(statistics.contains("cmdstat_set:"), "it has tried to write");
}

#[tokio::test]
async fn a_scope_adds_prefix_and_kind_and_deletes_below_its_parts() {
    let server = server().await;
    let cache = provider(&CacheConfig {
        key_prefix: String::from("blue"),
        ..config(&server.url())
    })
    .await;
    let analytics = cache.scoped("analytics");
    let parts = ["payments", "slowest:steps"];
    analytics.set(&parts, "[]", TTL).await.expect("a set");
    let other = ["shipping", "slowest:steps"];
    analytics.set(&other, "[]", TTL).await.expect("a set");
    assert_eq!(
        ask::<String>(
            &mut raw(&server).await,
            "GET blue:analytics:payments:slowest%3Asteps"
        )
        .await,
        "[]"
    );
    let found = analytics.get(&parts).await.expect("a get");
    assert_eq!(found.as_deref(), Some("[]"));
    let deleted = analytics.delete_below(&["payments"]).await;
    assert_eq!(deleted.expect("a sweep"), 1);
    assert_eq!(analytics.get(&parts).await.expect("a get"), None);
    assert!(analytics.delete(&other).await.expect("a delete"));
}

#[tokio::test]
async fn a_value_that_is_no_text_is_a_bad_answer_and_can_be_overwritten() {
    let server = server().await;
    let cache = provider(&config(&server.url())).await;
    let mut raw = raw(&server).await;
    let () = ask(&mut raw, "RPUSH list a b").await;
    let () = redis::cmd("SET")
        .arg("binary")
        .arg(&[0xff_u8, 0xfe][..])
        .query_async(&mut raw)
        .await
        .expect("a set");
    let () = redis::cmd("SET")
        .arg("large")
        .arg("x".repeat(MAX_VALUE_BYTES + 1))
        .query_async(&mut raw)
        .await
        .expect("a set");
    for (key, expected) in [
        ("list", BadAnswer::WrongType),
        ("binary", BadAnswer::Garbage),
        (
            "large",
            BadAnswer::TooLarge {
                bytes: MAX_VALUE_BYTES + 1,
            },
        ),
    ] {
        match cache.get(key).await {
            Err(CacheError::SerializationError(bad)) => assert_eq!(bad, expected),
            other => panic!("{key}: {other:?}"),
        }
        cache.set(key, "good", TTL).await.expect("a set");
        assert_eq!(
            cache.get(key).await.expect("a get").as_deref(),
            Some("good")
        );
    }
    let large = "x".repeat(MAX_VALUE_BYTES + 1);
    assert!(matches!(
        cache.set("large", &large, TTL).await,
        Err(CacheError::SerializationError(BadAnswer::TooLarge { .. }))
    ));
    assert!(cache.status().await.healthy);
}

#[tokio::test]
async fn shutting_down_or_dropping_leaves_no_task_and_no_connection() {
    let server = server().await;
    let raw = raw(&server).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();

    let shut_down = provider(&config(&server.url())).await;
    let dropped = provider(&config(&server.url())).await;
    assert!(tasks() > before);
    shut_down.shutdown().await;
    shut_down.shutdown().await;
    drop(dropped);

    eventually("the tasks have ended", SOON, async || tasks() == before).await;
    eventually("their connections are closed", SOON, || {
        let mut raw = raw.clone();
        async move { ask::<String>(&mut raw, "CLIENT LIST").await.lines().count() == 1 }
    })
    .await;
    assert!(matches!(
        shut_down.get("a").await,
        Err(CacheError::ConnectionError(_))
    ));
}
