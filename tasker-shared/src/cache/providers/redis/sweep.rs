//! Deleting many keys: named ones, and those that match a pattern.
//!
//! Redis serves one command at a time, so both go in steps that are short for the server; between
//! two of them it serves everybody else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;

use super::cluster::topology::Topology;
use super::link::{Layout, Part, Request};
use super::operation::Core;
use super::{cluster, commands};
use crate::cache::persist::Pauses;
use crate::cache::{CacheError, ConnectionFault, Refusal};

/// Keys in one `UNLINK`. In a cluster it is one, since a command may not be about several slots.
const KEYS_A_STEP: usize = 500;

/// Keys that one `SCAN` looks at: some 0.2 ms of the server's time, which is how long everybody
/// else may have to wait. A million keys take 4,000 round trips.
const SCAN_COUNT: usize = 250;

/// How long one step of a sweep may take.
const STEP_LIMIT: Duration = Duration::from_secs(1);

/// How often a cluster is swept whose nodes do not agree. With the pauses between it has a few seconds.
const SWEEPS: usize = 8;

/// How long a whole sweep may take. A keyspace that needs longer is left to its TTLs, and the
/// caller is told.
pub(super) const SWEEP_LIMIT: Duration = Duration::from_secs(30);

/// Deletes exactly these keys. All steps are sent together and share `limit`.
pub(super) async fn named<K: AsRef<[u8]>>(
    core: &Core,
    keys: &[K],
    limit: Duration,
) -> Result<u64, CacheError> {
    let step = match core.endpoint.cluster() {
        Some(_) => 1,
        None => KEYS_A_STEP,
    };
    let mut pipeline = redis::Pipeline::new();
    for keys in keys.chunks(step) {
        let command = pipeline.cmd("UNLINK");
        for key in keys {
            command.arg(key.as_ref());
        }
    }
    if pipeline.is_empty() {
        return Ok(0);
    }
    let answer = core.call(&Request::Many(&pipeline), limit).await?;
    commands::sum(&answer).map_err(|bad| core.bad_answer(bad))
}

/// Deletes every key that matches `pattern`, within `limit`. In a cluster all primaries are swept
/// side by side, and again if they turn out to see it otherwise than we did. What was deleted in a
/// step that was redirected in part is not counted.
pub(super) async fn matching(
    core: &Core,
    pattern: &str,
    limit: Duration,
) -> Result<u64, CacheError> {
    let deleted = AtomicU64::new(0);
    tokio::time::timeout(limit, until_swept(core, pattern, &deleted))
        .await
        .unwrap_or(Err(CacheError::Timeout { limit }))?;
    Ok(deleted.into_inner())
}

async fn until_swept(core: &Core, pattern: &str, deleted: &AtomicU64) -> Result<(), CacheError> {
    let mut pauses = Pauses::new();
    for _ in 1..SWEEPS {
        match sweep(core, pattern, deleted).await {
            // The task that replaces old views of the cluster has heard of it, too.
            Err(CacheError::BackendError(refusal))
                if core.endpoint.cluster().is_some() && refusal.is_redirection() =>
            {
                tokio::time::sleep(pauses.next()).await;
            }
            outcome => return outcome,
        }
    }
    sweep(core, pattern, deleted).await
}

/// Sweeps all parts of the cache once. If these were not all, the error is the one that a node
/// answers who does not have what it is asked for.
async fn sweep(core: &Core, pattern: &str, deleted: &AtomicU64) -> Result<(), CacheError> {
    let layout = layout(core)?;
    let parts = layout.parts();
    try_join_all(
        parts
            .iter()
            .map(|part| part_of(core, part, pattern, deleted)),
    )
    .await?;
    if let (Layout::Cluster(topology), Some(cluster)) = (&layout, core.endpoint.cluster())
        && !is_right(core, topology, &parts).await?
    {
        cluster.note_change();
        return Err(CacheError::BackendError(Refusal::new("MOVED")));
    }
    Ok(())
}

/// Whether all primaries of the topology agree with it. A node that has slots which it does not have
/// there got them from one of these, which knows: nobody is redirected who only scans.
async fn is_right(core: &Core, topology: &Topology, parts: &[Part]) -> Result<bool, CacheError> {
    let question = cluster::question();
    let limit = step_limit(core);
    let answers = try_join_all(parts.iter().map(async |part| {
        let request = Request::To(part, &question);
        core.call(&request, limit).await
    }))
    .await?;
    let mut views = answers.iter().zip(topology.primaries());
    Ok(views
        .all(|(answer, asked)| Topology::read(answer, asked).is_ok_and(|view| view == *topology)))
}

fn step_limit(core: &Core) -> Duration {
    STEP_LIMIT.max(core.budget)
}

fn layout(core: &Core) -> Result<Layout, CacheError> {
    match core.slots.pick() {
        Some(live) => Ok(live.link.layout()),
        None => Err(CacheError::ConnectionError(if core.breaker.is_open() {
            ConnectionFault::BreakerOpen
        } else {
            ConnectionFault::NoneUp
        })),
    }
}

async fn part_of(
    core: &Core,
    part: &Part,
    pattern: &str,
    deleted: &AtomicU64,
) -> Result<(), CacheError> {
    let step_limit = step_limit(core);
    let mut cursor = b"0".to_vec();
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(&cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(SCAN_COUNT);
        let answer = core.call(&Request::To(part, &scan), step_limit).await?;
        let (next, keys) = commands::page(answer).map_err(|bad| core.bad_answer(bad))?;
        for step in keys.chunks(KEYS_A_STEP) {
            let count = named(core, step, step_limit).await?;
            deleted.fetch_add(count, Ordering::Relaxed);
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fake::Fake;
    use super::matching;
    use crate::cache::CacheError;

    #[tokio::test]
    async fn a_sweep_that_would_take_too_long_is_given_up_at_its_limit() {
        let endless = "*2\r\n$1\r\n7\r\n*0\r\n";
        let server = Fake::start(|_, words| (words[0] == "SCAN").then(|| endless.to_owned())).await;
        let core = server.core("single", 1);
        let link = core.endpoint.connect().await.expect("a connection");
        core.slots.install(0, link);
        let limit = Duration::from_millis(50);
        let outcome = matching(&core, "*", limit).await;
        assert!(
            matches!(outcome, Err(CacheError::Timeout { limit: told }) if told == limit),
            "{outcome:?}"
        );
    }
}
