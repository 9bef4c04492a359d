//! Everything that can happen to the servers under a service of Tasker.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{GuardedServers, TestkitError, ask_everything};

/// How long a service may take to notice what happened to it.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Takes the service at `base_url` through all failures of the servers that it uses, asks it for
/// everything during each, and returns everything that it answered when it is well again.
///
/// Redis must have been dead since before the service started: its late arrival is the first thing
/// to happen. `authorization` goes along with every request, see [`ask_everything`].
///
/// # Errors
/// When a server cannot be broken or mended, or when the service does not notice either within
/// 30 s.
pub async fn ordeal(
    servers: &GuardedServers,
    base_url: &str,
    authorization: &str,
) -> Result<String, TestkitError> {
    let GuardedServers {
        postgres, redis, ..
    } = servers;
    let mut told = String::new();
    let mut ask = async |expected: &str| {
        until(base_url, expected).await?;
        told.push_str(&ask_everything(base_url, authorization).await?);
        Ok::<_, TestkitError>(())
    };
    ask("degraded").await?;
    redis.restart().await?;
    ask("healthy").await?;

    servers.lock_redis(true).await?;
    ask("degraded").await?;
    servers.lock_redis(false).await?;
    ask("healthy").await?;

    redis.kill().await?;
    ask("degraded").await?;
    redis.restart().await?;
    ask("healthy").await?;

    redis.freeze().await?;
    ask("degraded").await?;
    redis.thaw().await?;
    ask("healthy").await?;

    servers.lock_postgres(true).await?;
    ask("unhealthy").await?;
    servers.lock_postgres(false).await?;
    ask("healthy").await?;

    postgres.kill().await?;
    ask("unhealthy").await?;
    postgres.restart().await?;
    ask("healthy").await?;
    Ok(told)
}

/// Waits until the service says of itself that it is `expected`.
async fn until(base_url: &str, expected: &str) -> Result<(), TestkitError> {
    let start = Instant::now();
    loop {
        let seen = match reqwest::get(format!("{base_url}/health/detailed")).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        let health: Value = serde_json::from_str(&seen).unwrap_or_default();
        if health["status"] == expected {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(TestkitError::too_slow(
                "the service",
                "notice",
                PATIENCE,
                &seen,
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}
