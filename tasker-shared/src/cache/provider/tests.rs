use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::CacheProvider;
use crate::config::tasker::{CacheConfig, RedisConfig};

fn enabled(url: &str) -> CacheConfig {
    CacheConfig {
        enabled: true,
        redis: Some(RedisConfig {
            url: url.to_owned(),
            connection_timeout_seconds: 1,
            ..RedisConfig::default()
        }),
        ..CacheConfig::default()
    }
}

/// A listener on a free loopback port, and its URL with this scheme.
fn listener(scheme: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    (listener, format!("{scheme}://127.0.0.1:{port}"))
}

/// Asserts that the provider has no backend, and whether one is configured.
async fn assert_without_backend(provider: &CacheProvider, wanted: bool) {
    assert!(matches!(provider, CacheProvider::NoOp(_)));
    assert!(!provider.is_enabled());
    assert_eq!(provider.provider_name(), "noop");
    assert!(matches!(provider.get("key").await, Ok(None)));
    let set = provider.set("key", "value", Duration::from_secs(1)).await;
    assert!(set.is_ok());
    let status = provider.status().await;
    assert_eq!(status.healthy, !wanted);
    assert_eq!(status.last_error.is_some(), wanted);
    assert!(!status.enabled);
}

#[tokio::test]
async fn a_provider_without_a_backend_holds_nothing() {
    let provider = CacheProvider::noop();
    assert_without_backend(&provider, false).await;
    provider.shutdown().await;
    provider.shutdown().await;
}

#[tokio::test]
async fn a_disabled_cache_connects_to_nothing() {
    let (listener, url) = listener("redis");
    listener.set_nonblocking(true).expect("a socket option");
    let config = CacheConfig {
        enabled: false,
        ..enabled(&url)
    };
    let provider = CacheProvider::from_config_graceful(&config).await;
    assert_without_backend(&provider, false).await;
    let nobody = listener.accept().expect_err("nothing has connected");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn an_enabled_cache_without_a_redis_connects_to_nothing_and_is_well() {
    let config = CacheConfig {
        redis: None,
        ..enabled("redis://localhost")
    };
    let provider = CacheProvider::from_config_graceful(&config).await;
    assert_without_backend(&provider, false).await;
}

#[tokio::test]
async fn a_refused_connection_falls_back_to_noop() {
    let (listener, url) = listener("redis");
    drop(listener);
    let provider = CacheProvider::from_config_graceful(&enabled(&url)).await;
    assert_without_backend(&provider, true).await;
    provider.shutdown().await;
}

#[tokio::test]
async fn a_black_hole_falls_back_to_noop_within_the_connection_timeout() {
    // The kernel accepts for the listener; nobody ever answers.
    let (_listener, url) = listener("redis");
    let mut config = enabled(&url);
    config
        .redis
        .as_mut()
        .expect("a section")
        .connection_timeout_seconds = 2;
    let started = Instant::now();
    let provider = CacheProvider::from_config_graceful(&config).await;
    let waited = started.elapsed();
    // Once, not twice.
    let expected = Duration::from_secs(2)..Duration::from_secs(4);
    assert!(expected.contains(&waited), "{waited:?}");
    assert_without_backend(&provider, true).await;
    provider.shutdown().await;
}

#[tokio::test]
async fn a_configuration_that_can_never_work_falls_back_to_noop() {
    for config in [
        enabled("http://localhost"),
        enabled("redis://localhost/x"),
        CacheConfig {
            backend: String::from("memcached"),
            ..enabled("redis://localhost")
        },
    ] {
        let provider = CacheProvider::from_config_graceful(&config).await;
        assert_without_backend(&provider, true).await;
        let status = provider.status().await;
        assert_eq!(status.refused, status.last_error);
    }
}

#[cfg(feature = "cache-redis")]
#[tokio::test]
async fn tls_to_a_port_without_tls_falls_back_to_noop() {
    use std::io::Write;

    let (listener, url) = listener("rediss");
    std::thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            // The client may have closed the connection.
            let _ = stream.write_all(b"-ERR this is no TLS\r\n");
        }
    });
    let provider = CacheProvider::from_config_graceful(&enabled(&url)).await;
    assert_without_backend(&provider, true).await;
    provider.shutdown().await;
}

#[tokio::test]
async fn a_failed_start_shows_no_password() {
    let (listener, url) = listener("redis");
    drop(listener);
    let url = url.replace("://", "://user:hunter2@");
    let provider = CacheProvider::from_config_graceful(&enabled(&url)).await;
    let shown = format!("{provider:?} {:?}", provider.status().await);
    assert!(!shown.contains("hunter2"), "{shown}");
    provider.shutdown().await;
}
