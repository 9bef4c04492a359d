//! Deleting many keys: named ones, and those that match a pattern.
//!
//! Redis serves one command at a time, so both go in steps that are short for the server; between
//! two of them it serves everybody else.

use std::time::{Duration, Instant};

use futures::future::try_join_all;

use super::commands;
use super::link::{Layout, Part, Request};
use super::operation::Core;
use crate::cache::{CacheError, ConnectionFault};

/// Keys in one `UNLINK`. In a cluster it is one, since a command may not be about several slots.
const KEYS_A_STEP: usize = 500;

/// Keys that one `SCAN` looks at: a fraction of a millisecond of the server's time.
const SCAN_COUNT: usize = 1000;

/// How long one step of a sweep may take.
const STEP_LIMIT: Duration = Duration::from_secs(1);

/// How long a whole sweep may take. A keyspace that needs longer is left to its TTLs, and the
/// caller is told.
const SWEEP_LIMIT: Duration = Duration::from_secs(30);

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
    let redis::Value::Array(counts) = answer else {
        return Ok(0);
    };
    counts.iter().try_fold(0, |sum, count| {
        commands::count(count)
            .map(|count| sum + count)
            .map_err(|bad| core.bad_answer(bad))
    })
}

/// Deletes every key that matches `pattern`. In a cluster all primaries are swept side by side, and
/// again if slots or primaries have changed meanwhile.
pub(super) async fn matching(core: &Core, pattern: &str) -> Result<u64, CacheError> {
    let started = Instant::now();
    let mut deleted = 0;
    loop {
        let layout = layout(core)?;
        let parts = layout.parts();
        let sweeps = parts
            .iter()
            .map(|part| part_of(core, part, pattern, started));
        let outcome = try_join_all(sweeps).await;
        let changed = self::layout(core)? != layout;
        match outcome {
            Ok(counts) => deleted += counts.iter().sum::<u64>(),
            // A primary that has left the cluster cannot be swept to its end.
            Err(CacheError::BackendError(_)) if changed => {}
            Err(error) => return Err(error),
        }
        if !changed {
            return Ok(deleted);
        }
    }
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
    started: Instant,
) -> Result<u64, CacheError> {
    let step_limit = STEP_LIMIT.max(core.budget);
    let mut cursor = b"0".to_vec();
    let mut deleted = 0;
    loop {
        if started.elapsed() > SWEEP_LIMIT {
            return Err(CacheError::Timeout { limit: SWEEP_LIMIT });
        }
        let mut scan = redis::cmd("SCAN");
        scan.arg(&cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(SCAN_COUNT);
        let answer = core.call(&Request::To(part, &scan), step_limit).await?;
        let (next, keys) = commands::page(answer).map_err(|bad| core.bad_answer(bad))?;
        for step in keys.chunks(KEYS_A_STEP) {
            deleted += named(core, step, step_limit).await?;
        }
        if next == b"0" {
            return Ok(deleted);
        }
        cursor = next;
    }
}
