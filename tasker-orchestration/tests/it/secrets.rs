//! A running program prints and answers no password, whatever fails.

mod at_start;
mod failures;
mod secret;
mod servers;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tasker_orchestration::service::INFO;
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::{CacheConfig, RedisConfig, TaskerConfig};
use tasker_test_support::{ServiceProcess, TestDatabase, until};
use tasker_web::causes;
use tasker_web::{AppParts, Lifecycle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use self::secret::Secret;
use self::servers::PasswordServers;

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_printed_or_answered_through_all_failures() {
    let told = failures::run_through().await.unwrap();
    for expected in [
        "\"level\":\"TRACE\"",
        "\"target\":\"sqlx::query\"",
        "the cache cannot be reached yet",
        "the cache is not used until it is well again",
        "polling the template index failed",
        "password authentication failed",
        "stopped",
    ] {
        assert!(told.log.contains(expected), "the log has no {expected}");
    }
    for expected in [
        "tasker_cache_in_use 0",
        "tasker_cache_in_use 1",
        "tasker_cache_breaker_open 0",
        "tasker_cache_breaker_open 1",
        "\"breaker\":\"open\"",
    ] {
        assert!(told.answered.contains(expected), "no answer has {expected}");
    }
    assert_eq!(told.leak(), None);
}

#[tokio::test]
async fn no_password_is_printed_when_redis_quotes_it() {
    let database = TestDatabase::create().await.unwrap();
    let secret = Secret::new();
    let redis = quoting_redis().await;
    let service = ServiceProcess::start(
        "tasker-orchestration",
        Path::new(env!("CARGO_BIN_EXE_tasker-orchestration")),
        &[
            ("DATABASE_URL", database.url()),
            (
                "REDIS_URL",
                &format!("redis://app:{}@{redis}", secret.in_url()),
            ),
            ("TASKER__COMMON__CACHE__ENABLED", "true"),
            ("TASKER__ORCHESTRATION__WEB__BIND_ADDRESS", "127.0.0.1:0"),
            ("TASKER_LOG", "trace"),
            ("TASKER_LOG_FORMAT", "json"),
        ],
    )
    .await
    .unwrap();
    // It logs the first failure, and then each retry.
    until("the service tries again", async || {
        service.check_alive().unwrap();
        let log = service.log();
        log.contains("the cache still cannot be used").then_some(())
    })
    .await;
    service.stop().await.unwrap();
    for line in service.log().lines() {
        assert!(!secret.is_in(line), "{line}");
    }
}

/// A server that answers each command as old versions answer an unknown one: with its arguments.
async fn quoting_redis() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                let told = String::from_utf8_lossy(&bytes[..read]).replace("\r\n", " ");
                let answer = format!("-ERR unknown command, with args: {told}\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn no_password_is_in_what_can_be_printed_in_the_process() {
    let servers = PasswordServers::start().await.unwrap();
    let mut config = TaskerConfig::default();
    config.common.database.url = servers.database_url();
    config.common.cache = Some(CacheConfig {
        enabled: true,
        redis: Some(RedisConfig {
            url: servers.redis_url(),
            ..RedisConfig::default()
        }),
        ..CacheConfig::default()
    });
    let context = Arc::new(SystemContext::connect(config.clone()).await.unwrap());
    assert!(context.cache_provider().is_enabled());
    let parts = AppParts::new(&INFO, Arc::clone(&context), Lifecycle::new());
    let registry = &context.task_handler_registry;
    servers.lock_postgres(true).await.unwrap();
    servers.lock_redis(true).await.unwrap();
    let listed = registry.list_templates(None).await.unwrap_err();
    let resolved = registry.get_template("a", "b", "1.0.0").await.unwrap_err();
    let deleted = context.cache_provider().delete("key").await.unwrap_err();
    let started = SystemContext::connect(config).await.unwrap_err();
    let errors: [&dyn std::error::Error; 4] = [&listed, &resolved, &deleted, &started];
    let told = errors.map(|error| format!("{error} {error:?} {error:#?} {}", causes(error)));
    let status = context.cache_provider().status().await;
    let pool = context.database_pool();
    let printed = format!("{parts:?} {parts:#?} {pool:?} {status:?}");
    for text in told.iter().chain([&printed]) {
        assert!(!servers.are_leaked_by(text), "{text}");
    }
    context.shutdown().await;
}
