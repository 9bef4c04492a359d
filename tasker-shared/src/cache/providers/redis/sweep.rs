//! Deleting many keys: named ones, and those that match a pattern.
//!
//! Redis serves one command at a time, so both go in steps that are short for the server; between
//! two of them it serves everybody else.

use std::time::{Duration, Instant};

use super::commands;
use super::connect::Request;
use super::operation::Core;
use crate::cache::CacheError;

/// Keys in one `UNLINK`.
const KEYS_A_STEP: usize = 500;

/// Keys that one `SCAN` looks at: some 0.2 ms of the server's time, which is how long everybody
/// else may have to wait. A million keys take 4,000 round trips.
const SCAN_COUNT: usize = 250;

/// How long one step of a sweep may take.
const STEP_LIMIT: Duration = Duration::from_secs(1);

/// How long a whole sweep may take. A keyspace that needs longer is left to its TTLs, and the
/// caller is told.
const SWEEP_LIMIT: Duration = Duration::from_secs(30);

/// Deletes exactly these keys. All steps are sent together and share one limit, the budget of a
/// request: a registration waits for this.
pub(super) async fn named(core: &Core, keys: &[String]) -> Result<u64, CacheError> {
    let mut pipeline = redis::Pipeline::new();
    for step in keys.chunks(KEYS_A_STEP) {
        pipeline.cmd("UNLINK").arg(step);
    }
    if pipeline.is_empty() {
        return Ok(0);
    }
    let answer = core.call(&Request::Many(&pipeline), core.budget).await?;
    let redis::Value::Array(counts) = answer else {
        return Ok(0);
    };
    counts.iter().try_fold(0, |sum, count| {
        commands::count(count)
            .map(|count| sum + count)
            .map_err(|bad| core.bad_answer(bad))
    })
}

/// Deletes every key that matches `pattern`.
pub(super) async fn matching(core: &Core, pattern: &str) -> Result<u64, CacheError> {
    let started = Instant::now();
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
        let answer = core.call(&Request::One(&scan), step_limit).await?;
        let (next, keys) = commands::page(answer).map_err(|bad| core.bad_answer(bad))?;
        for step in keys.chunks(KEYS_A_STEP) {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(step);
            let answer = core.call(&Request::One(&unlink), step_limit).await?;
            deleted += commands::count(&answer).map_err(|bad| core.bad_answer(bad))?;
        }
        if next == b"0" {
            return Ok(deleted);
        }
        cursor = next;
    }
}
