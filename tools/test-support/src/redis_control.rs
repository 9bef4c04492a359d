//! Commands to servers of ours, each on a connection of its own, so that servers may come and go.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Value};

use crate::{RedisServer, TestkitError};

/// The client's own limit of half a second is one that a busy machine runs into.
const LIMIT: Duration = Duration::from_secs(30);
/// Among servers that belong together some may be gone, and the others are asked meanwhile.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// How long servers that belong together may take to agree, and how often they are asked.
const AGREE_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// A connection to the Redis at `url`, to look at it or to tell it something. It is made, and each
/// command answered, within 30 s, or fails.
pub async fn connection(url: &str) -> Result<MultiplexedConnection, RedisError> {
    connection_within(url, LIMIT).await
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

/// Sends one command to the server's port without TLS and waits for its answer, 5 s at most.
pub(crate) async fn ask(server: &RedisServer, words: &[&str]) -> Result<Value, TestkitError> {
    let mut connection = connection_within(&server.url(), ASK_LIMIT).await?;
    let mut command = redis::Cmd::new();
    command.arg(words);
    let answer: Result<Value, RedisError> = command.query_async(&mut connection).await;
    Ok(answer?)
}

/// An answer's text; of a list, the text of its first entry.
pub(crate) fn text(answer: Value) -> String {
    match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text,
        Value::Array(items) => items.into_iter().next().map(text).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Asks until servers that belong together, such as `server`, have `reached` what `action` names. One
/// that has just been lost or told something may refuse for a moment.
pub(crate) async fn until(
    server: &RedisServer,
    what: &'static str,
    action: &'static str,
    reached: impl AsyncFn() -> Result<bool, TestkitError>,
) -> Result<(), TestkitError> {
    let start = Instant::now();
    while !reached().await.unwrap_or(false) {
        if start.elapsed() > AGREE_DEADLINE {
            let log = server.log().await;
            return Err(TestkitError::too_slow(what, action, AGREE_DEADLINE, &log));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
