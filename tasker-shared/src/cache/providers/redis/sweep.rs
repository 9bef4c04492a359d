//! Deleting many keys: named ones, and those that match a pattern.
//!
//! Redis executes one command at a time, so both proceed in short steps; between two of them it
//! serves everybody else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::time::Instant;

use super::client::{RedisClient, timeout_with_grace};
use super::commands::{self, Request};
use super::connection::Connection;
use super::supervisor::{Pauses, ask};
use crate::cache::CacheError;

/// Keys that one `SCAN` looks at. They take some 0.2 ms of the server's time, for which everybody
/// else may have to wait; a million keys take 4,000 round trips.
const SCAN_COUNT: usize = 250;

/// The limit of one step.
const STEP_LIMIT: Duration = Duration::from_secs(1);

/// The limit of a whole sweep. The keys of a server that needs longer expire.
pub(super) const SWEEP_LIMIT: Duration = Duration::from_secs(30);

/// The most sweeps of a cluster whose slots move meanwhile.
const SWEEPS: usize = 8;

/// Deletes exactly these keys, and returns the number of those that existed. All steps are sent
/// together and share `limit`.
pub(super) async fn named<K: AsRef<[u8]>>(
    client: &RedisClient,
    keys: &[K],
    limit: Duration,
) -> Result<u64, CacheError> {
    let Some(first) = keys.first() else {
        return Ok(0);
    };
    let pipeline = unlink(client, keys);
    let answer = client
        .call(first.as_ref(), Request::Many(&pipeline), limit)
        .await?;
    commands::count(&answer).map_err(|bad| client.reports.bad_answer(bad))
}

fn unlink<K: AsRef<[u8]>>(client: &RedisClient, keys: &[K]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for keys in keys.chunks(client.endpoint.keys_per_command()) {
        let command = pipeline.cmd("UNLINK");
        for key in keys {
            command.arg(key.as_ref());
        }
    }
    pipeline
}

/// Deletes every key that matches `pattern`, within `limit`, and returns their number. The primaries
/// of a cluster are swept side by side.
pub(super) async fn matching(
    client: &RedisClient,
    pattern: &str,
    limit: Duration,
) -> Result<u64, CacheError> {
    client.admit()?;
    let deleted = AtomicU64::new(0);
    let mut pauses = Pauses::new();
    let sweeping = async {
        for _ in 1..SWEEPS {
            if sweep(client, pattern, &deleted).await? {
                return Ok(());
            }
            tokio::time::sleep(pauses.next()).await;
        }
        sweep(client, pattern, &deleted).await.map(drop)
    };
    tokio::time::timeout(limit, sweeping)
        .await
        .unwrap_or(Err(CacheError::Timeout { limit }))?;
    Ok(deleted.into_inner())
}

/// Sweeps every server once, over connections of its own. Returns false if slots of a cluster have
/// moved, because then keys may have moved past the sweep.
async fn sweep(
    client: &RedisClient,
    pattern: &str,
    deleted: &AtomicU64,
) -> Result<bool, CacheError> {
    let mut servers = Connection::to(&client.endpoint).await?.servers();
    let connections = servers.connections.iter().cloned();
    let sweeps = connections.map(|server| sweep_server(client, server, pattern, deleted));
    match try_join_all(sweeps).await {
        Ok(_) => {}
        Err(CacheError::BackendError(refusal)) if refusal.is_redirection() => return Ok(false),
        Err(error) => return Err(error),
    }
    let deadline = Instant::now() + step_limit(client);
    Ok(timeout_with_grace(deadline, servers.are_complete())
        .await
        .unwrap_or(false))
}

async fn sweep_server(
    client: &RedisClient,
    server: MultiplexedConnection,
    pattern: &str,
    deleted: &AtomicU64,
) -> Result<(), CacheError> {
    let mut server = Connection::Server(server);
    let bad_answer = |bad| client.reports.bad_answer(bad);
    let mut cursor = b"0".to_vec();
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(&cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(SCAN_COUNT);
        let answer = ask_and_report(client, &mut server, Request::One(&scan)).await?;
        let (next, keys) = commands::page(answer).map_err(bad_answer)?;
        if !keys.is_empty() {
            let pipeline = unlink(client, &keys);
            let answer = ask_and_report(client, &mut server, Request::Many(&pipeline)).await?;
            let count = commands::count(&answer).map_err(bad_answer)?;
            deleted.fetch_add(count, Ordering::Relaxed);
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

async fn ask_and_report(
    client: &RedisClient,
    server: &mut Connection,
    request: Request<'_>,
) -> Result<Value, CacheError> {
    let answer = ask(server, request, step_limit(client)).await;
    match &answer {
        Ok(_) => client.reports.accepted(request.command()),
        Err(CacheError::BackendError(refusal)) => {
            client.reports.refusal(request.command(), refusal);
        }
        Err(_) => {}
    }
    answer
}

fn step_limit(client: &RedisClient) -> Duration {
    STEP_LIMIT.max(client.budget)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::Fake;
    use super::matching;
    use crate::cache::CacheError;

    #[tokio::test]
    async fn a_sweep_that_would_take_too_long_is_given_up_at_its_limit() {
        let endless = "*2\r\n$1\r\n7\r\n*0\r\n";
        let server = Fake::start(|words| (words[0] == "SCAN").then(|| endless.to_owned())).await;
        let client = server.client().await;
        let limit = Duration::from_millis(50);
        let outcome = matching(&client, "*", limit).await;
        assert!(
            matches!(outcome, Err(CacheError::Timeout { limit: named }) if named == limit),
            "{outcome:?}"
        );
    }
}
