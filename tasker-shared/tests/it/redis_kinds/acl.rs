//! Users with a password, and with no more rights than are needed.

use tasker_shared::config::tasker::{CacheConfig, RedisConfig};
use tasker_test_support::{RedisServer, redis_connection};

use super::logs::Logs;
use super::{refusal, with, works};
use crate::cache::{SOON, TTL, ask, eventually, provider, raw, server};

/// The rights in `docs/operations.md`, for keys that begin with `tasker:` and one more that the tests
/// use.
const LEAST: &str = "+get +set +del +scan +ping +select ~tasker:* ~other";

async fn with_user(rights: &str) -> RedisServer {
    let server = RedisServer::start_with(&["--requirepass", "for-the-default-user"])
        .await
        .expect("a Redis server starts");
    let url = server.url().replace("://", "://:for-the-default-user@");
    let mut connection = redis_connection(&url).await.expect("a connection");
    let () = ask(
        &mut connection,
        &format!("ACL SETUSER ann on >pa:ss@word {rights}"),
    )
    .await;
    server
}

fn as_user(server: &RedisServer, user: &str, password: &str) -> CacheConfig {
    with(RedisConfig {
        url: server.url(),
        username: user.to_owned(),
        password: password.into(),
        ..RedisConfig::default()
    })
}

#[tokio::test]
async fn the_documented_rights_suffice() {
    let server = with_user(LEAST).await;
    works(&provider(&as_user(&server, "ann", "pa:ss@word")).await).await;
    let in_url = with(RedisConfig {
        url: server.url().replace("://", "://ann:pa%3Ass%40word@"),
        ..RedisConfig::default()
    });
    works(&provider(&in_url).await).await;
    let in_database = with(RedisConfig {
        url: server.url().replace("://", "://ann@"),
        password: "pa:ss@word".into(),
        database: 3,
        ..RedisConfig::default()
    });
    works(&provider(&in_database).await).await;
}

#[tokio::test]
async fn the_default_user_needs_only_a_password() {
    let server = with_user(LEAST).await;
    works(&provider(&as_user(&server, "", "for-the-default-user")).await).await;
}

#[tokio::test]
async fn a_refused_login_is_reported_without_the_password() {
    let server = with_user(LEAST).await;
    for (user, password) in [("ann", "hunter2"), ("bob", "hunter2"), ("", "hunter2")] {
        let reason = refusal(&as_user(&server, user, password)).await;
        assert!(
            reason.contains("does not accept the configured user"),
            "{reason}"
        );
        assert!(!reason.contains("hunter2"), "{reason}");
    }
    let reason = refusal(&with(RedisConfig {
        url: server.url(),
        ..RedisConfig::default()
    }))
    .await;
    assert!(reason.contains("NOAUTH"), "{reason}");
}

#[tokio::test]
async fn a_user_who_may_only_read_reads() {
    use tasker_shared::cache::CacheError;

    let server = RedisServer::start().await.expect("a Redis server starts");
    let mut connection = raw(&server).await;
    let () = ask(&mut connection, "ACL SETUSER ann on >secret +get ~*").await;
    let () = ask(&mut connection, "SET tasker:a value").await;
    let cache = provider(&as_user(&server, "ann", "secret")).await;
    let found = cache.get("tasker:a").await.expect("a get");
    assert_eq!(found.as_deref(), Some("value"));
    match cache.delete("tasker:a").await {
        Err(CacheError::BackendError(refusal)) => assert_eq!(refusal.code(), "NOPERM"),
        other => panic!("{other:?}"),
    }
    assert!(cache.get("tasker:a").await.expect("a get").is_some());
}

#[tokio::test]
async fn a_user_who_may_not_delete_reads_and_writes() {
    let server = RedisServer::start().await.expect("a Redis server starts");
    let mut connection = raw(&server).await;
    let () = ask(
        &mut connection,
        "ACL SETUSER ann on >secret +get +set +ping ~*",
    )
    .await;
    let cache = provider(&as_user(&server, "ann", "secret")).await;
    cache.set("tasker:a", "value", TTL).await.expect("a set");
    let found = cache.get("tasker:a").await.expect("a get");
    assert_eq!(found.as_deref(), Some("value"));
    assert_eq!(cache.status().await.refused_commands, ["DEL: NOPERM"]);
}

/// Breaks a server and mends it by commands, and expects these commands to be refused between.
async fn begins_and_ends(make: &[&str], mend: &[&str], refused: &[&str]) {
    use tasker_shared::cache::BreakerState;

    let logs = Logs::capture();
    let server = server().await;
    let mut connection = raw(&server).await;
    let () = ask(&mut connection, "SET tasker:a value").await;
    let config = with(RedisConfig {
        url: server.url(),
        ..RedisConfig::default()
    });
    let cache = provider(&config).await;
    let refused_now = async || cache.status().await.refused_commands;
    assert_eq!(refused_now().await, Vec::<String>::new());
    for command in make {
        let () = ask(&mut connection, command).await;
    }
    for _ in 0..3 {
        cache.get("tasker:a").await.ok();
        cache.set("tasker:b", "value", TTL).await.ok();
        cache.delete("tasker:c").await.ok();
    }
    assert_eq!(refused_now().await, refused);
    let begun = logs.with("the cache refuses a command; requests continue without it");
    assert_eq!(begun.len(), refused.len(), "{begun:?}");
    assert!(logs.with("accepts the command again").is_empty());
    if !refused.contains(&"GET: NOPERM") {
        for cache in [&cache, &provider(&config).await] {
            let found = cache.get("tasker:a").await.expect("a get");
            assert_eq!(found.as_deref(), Some("value"));
        }
    }
    assert_eq!(cache.status().await.breaker, Some(BreakerState::Closed));
    for command in mend {
        let () = ask(&mut connection, command).await;
    }
    eventually("all commands are accepted", SOON, async || {
        refused_now().await.is_empty()
    })
    .await;
    let ended = logs.with("the cache accepts the command again");
    assert_eq!(ended.len(), refused.len(), "{ended:?}");
    cache.shutdown().await;
}

#[tokio::test]
async fn an_account_without_our_keys_is_warned_of_when_it_begins_and_when_it_ends() {
    begins_and_ends(
        &["ACL SETUSER default resetkeys ~other:*"],
        &["ACL SETUSER default allkeys"],
        &["DEL: NOPERM", "GET: NOPERM", "SET: NOPERM"],
    )
    .await;
}

#[tokio::test]
async fn a_redis_without_memory_is_warned_of_when_it_begins_and_when_it_ends() {
    begins_and_ends(
        &["CONFIG SET maxmemory 1"],
        &["CONFIG SET maxmemory 0"],
        &["SET: OOM"],
    )
    .await;
}

#[tokio::test]
async fn a_read_only_redis_is_warned_of_when_it_begins_and_when_it_ends() {
    begins_and_ends(
        &["REPLICAOF 127.0.0.1 1"],
        &["REPLICAOF NO ONE"],
        &["DEL: READONLY", "SET: READONLY"],
    )
    .await;
}
