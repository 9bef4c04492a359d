//! Users with a password, and with no more rights than are needed.

use tasker_shared::config::tasker::{CacheConfig, RedisConfig};
use tasker_test_support::{RedisServer, redis_connection};

use super::{refusal, with, works};
use crate::cache::{ask, provider, raw};

/// The rights in `docs/operations.md`, for keys that begin with `tasker:` and one more that the tests
/// use.
const LEAST: &str = "+get +getrange +set +unlink +pttl +scan +ping +select ~tasker:* ~other";

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
    use tasker_shared::cache::{CacheError, CacheService};

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
