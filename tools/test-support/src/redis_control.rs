//! Commands to servers, each on a new connection, because servers stop and restart.

use std::collections::HashSet;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, FromRedisValue, RedisError};

use crate::{RedisServer, Result};

/// The client's default of half a second is too short for a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
/// Shorter, because some servers of a cluster may be down while the others are asked.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// The limit for servers of a cluster to agree.
const AGREE_DEADLINE: Duration = Duration::from_secs(30);

/// Returns a connection to the Redis at `url`. Connecting and each command fail after 30 s.
pub async fn connection(url: &str) -> Result<MultiplexedConnection, RedisError> {
    connection_within(url, LIMIT).await
}

/// Returns the keys of the Redis at `url` that match a pattern.
pub async fn keys(url: &str, pattern: &str) -> Result<HashSet<String>> {
    let mut connection = connection(url).await?;
    let mut found = connection.scan_match::<_, String>(pattern).await?;
    let mut keys = HashSet::new();
    while let Some(key) = found.next_item().await {
        keys.insert(key?);
    }
    Ok(keys)
}

/// Deletes the keys of the Redis at `url` that match a pattern.
pub async fn delete_keys(url: &str, pattern: &str) -> Result {
    let mut connection = connection(url).await?;
    for key in keys(url, pattern).await? {
        let () = connection.unlink(key).await?;
    }
    Ok(())
}

async fn connection_within(
    url: &str,
    limit: Duration,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(Some(limit));
    Client::open(url)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Sends one command to the server's port without TLS and returns the answer. Fails after 5 s.
pub(crate) async fn ask<T: FromRedisValue>(server: &RedisServer, words: &[&str]) -> Result<T> {
    let mut connection = connection_within(&server.url(), ASK_LIMIT).await?;
    let mut command = redis::Cmd::new();
    command.arg(words);
    Ok(command.query_async(&mut connection).await?)
}

/// Waits until servers agree. Errors count as disagreement, because servers of a cluster refuse commands
/// for a moment after a change. `action` names what `reached` asks, for the error.
pub(crate) async fn until(
    server: &RedisServer,
    action: &'static str,
    reached: impl AsyncFn() -> Result<bool>,
) -> Result {
    let agreed = async || Ok(reached().await.unwrap_or(false));
    server.wait_until(action, AGREE_DEADLINE, agreed).await
}
