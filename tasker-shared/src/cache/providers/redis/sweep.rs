//! Deleting many keys: named ones, and those that match a pattern.
//!
//! Redis executes one command at a time, so both proceed in short steps; between two of them it
//! serves everybody else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use redis::Pipeline;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

use super::client::{RedisClient, timeout_with_grace};
use super::commands::{self, Request};
use super::connection::Connection;
use super::supervisor::{Pauses, ask_and_report};
use crate::cache::CacheError;

/// The most keys of one request, so that its answer comes within the limit of a request.
const KEYS_PER_REQUEST: usize = 1000;

/// Keys that one `SCAN` looks at. They take some 0.2 ms of the server's time, for which everybody
/// else may have to wait; a million keys take 4,000 round trips.
const SCAN_COUNT: usize = 250;

/// The limit of one step.
const STEP_LIMIT: Duration = Duration::from_secs(1);

/// The most sweeps of a cluster whose slots move meanwhile.
const SWEEPS: usize = 8;

/// Deletes exactly these keys, and returns the number of those that existed. Each request has `limit`.
pub(super) async fn named<K: AsRef<[u8]>>(
    client: &RedisClient,
    keys: &[K],
    limit: Duration,
) -> Result<u64, CacheError> {
    let mut deleted = 0;
    for keys in keys.chunks(KEYS_PER_REQUEST) {
        let pipeline = delete(client, keys);
        let request = Request::Many(&pipeline);
        let answer = client.call(keys[0].as_ref(), request, limit).await?;
        deleted += commands::count(&answer).map_err(|bad| client.reports.bad_answer(bad))?;
    }
    Ok(deleted)
}

fn delete<K: AsRef<[u8]>>(client: &RedisClient, keys: &[K]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for keys in keys.chunks(client.endpoint.keys_per_command()) {
        let command = pipeline.cmd("DEL");
        for key in keys {
            command.arg(key.as_ref());
        }
    }
    pipeline
}

/// Deletes every key that matches `pattern`, within `limit`, and returns the number of deleted ones, also
/// if it fails. The primaries of a cluster are swept side by side.
pub(super) async fn matching(
    client: &RedisClient,
    pattern: &str,
    limit: Duration,
) -> (u64, Result<(), CacheError>) {
    let deleted = AtomicU64::new(0);
    let mut pauses = Pauses::new();
    let sweeping = async {
        client.admit()?;
        for _ in 1..SWEEPS {
            if sweep(client, pattern, &deleted).await? {
                return Ok(());
            }
            tokio::time::sleep(pauses.next()).await;
        }
        sweep(client, pattern, &deleted).await.map(drop)
    };
    let outcome = tokio::time::timeout(limit, sweeping)
        .await
        .unwrap_or(Err(CacheError::Timeout { limit }));
    if let Err(error) = &outcome {
        client.note_failure("SCAN", error);
    }
    (deleted.into_inner(), outcome)
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
    let limit = step_limit(client);
    let bad_answer = |bad| client.reports.bad_answer(bad);
    let mut cursor = b"0".to_vec();
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(&cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(SCAN_COUNT);
        let answer = ask_and_report(client, &mut server, Request::One(&scan), limit).await?;
        let (next, keys) = commands::page(answer).map_err(bad_answer)?;
        if !keys.is_empty() {
            let pipeline = delete(client, &keys);
            let request = Request::Many(&pipeline);
            let answer = ask_and_report(client, &mut server, request, limit).await?;
            let count = commands::count(&answer).map_err(bad_answer)?;
            deleted.fetch_add(count, Ordering::Relaxed);
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

fn step_limit(client: &RedisClient) -> Duration {
    STEP_LIMIT.max(client.budget)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::Fake;
    use super::{matching, named};
    use crate::cache::CacheError;

    #[tokio::test]
    async fn a_sweep_that_would_take_too_long_ends_at_its_limit_and_reports_what_it_deleted() {
        let server = Fake::start(|words| match words[0].as_str() {
            "SCAN" => Some(String::from("*2\r\n$1\r\n7\r\n*1\r\n$1\r\nk\r\n")),
            _ => Some(String::from(":1\r\n")),
        })
        .await;
        let client = server.client().await;
        let mut limit = Duration::from_millis(50);
        loop {
            let (deleted, outcome) = matching(&client, "*", limit).await;
            assert!(
                matches!(outcome, Err(CacheError::Timeout { limit: named }) if named == limit),
                "{outcome:?}"
            );
            if deleted > 0 {
                return;
            }
            // A busy machine.
            limit *= 2;
            assert!(limit < Duration::from_secs(10), "nothing is deleted");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_request_of_a_long_deletion_has_the_whole_limit() {
        const PAUSE: Duration = Duration::from_millis(20);
        let server = Fake::start(|words| {
            std::thread::sleep(PAUSE);
            Some(format!(":{}\r\n", words.len() - 1))
        })
        .await;
        let client = server.client().await;
        let keys: Vec<String> = (0..10_000).map(|key| key.to_string()).collect();
        let deleted = named(&client, &keys, PAUSE * 15).await;
        assert_eq!(deleted.expect("no request takes too long"), 10_000);
    }
}
