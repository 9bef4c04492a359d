//! Metrics and log lines about operations.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};

use super::log_limit::LogLimit;
use crate::cache::{BadAnswer, CacheError, Refusal, RefusalKind};
use crate::config::tasker::RedisMode;
use crate::metrics::{
    CACHE_BAD_ANSWERS, CACHE_IN_USE, CACHE_OPERATION_DURATION, CACHE_OPERATIONS, CACHE_REFUSALS,
};

/// The shortest time between two lines about entries, or about writes.
const LOG_PERIOD: Duration = Duration::from_mins(1);

pub(super) struct Reports {
    mode: RedisMode,
    writes_refused: AtomicBool,
    cluster_reported: AtomicBool,
    refusal_log: LogLimit,
    bad_answer_log: LogLimit,
}

impl Reports {
    pub(super) fn new(mode: RedisMode) -> Self {
        Self {
            mode,
            writes_refused: AtomicBool::new(false),
            cluster_reported: AtomicBool::new(false),
            refusal_log: LogLimit::new(LOG_PERIOD),
            bad_answer_log: LogLimit::new(LOG_PERIOD),
        }
    }

    /// Counts an error that the server answered, and logs one that concerns all operations.
    pub(super) fn refusal(&self, refusal: &Refusal) {
        counter!(CACHE_REFUSALS.name, "code" => refusal.label()).increment(1);
        match refusal.kind() {
            RefusalKind::ReadOnly | RefusalKind::WritesRefused
                if !self.writes_refused.swap(true, Ordering::Relaxed)
                    && self.refusal_log.admit(Instant::now()).is_some() =>
            {
                tracing::warn!(
                    error = %refusal,
                    "the cache accepts no writes; its entries are still read"
                );
            }
            // Only nodes of a cluster send their clients elsewhere.
            _ if refusal.is_redirection()
                && self.mode != RedisMode::Cluster
                && !self.cluster_reported.swap(true, Ordering::Relaxed) =>
            {
                tracing::warn!(
                    "the cache is a node of a Redis Cluster, and only the keys of this node can be \
                     used: set `mode = \"cluster\"` in [common.cache.redis]"
                );
            }
            _ => {}
        }
    }

    /// Notes that a write was accepted.
    pub(super) fn write_accepted(&self) {
        if self.writes_refused.load(Ordering::Relaxed)
            && self.writes_refused.swap(false, Ordering::Relaxed)
        {
            tracing::info!("the cache accepts writes again");
        }
    }

    /// Counts an answer that cannot be used, logs one in a while, and returns the error for it.
    pub(super) fn bad_answer(&self, answer: BadAnswer) -> CacheError {
        counter!(CACHE_BAD_ANSWERS.name, "kind" => answer.kind()).increment(1);
        if let Some(held_back) = self.bad_answer_log.admit(Instant::now()) {
            tracing::warn!(
                error = %answer,
                earlier_ones_not_logged = held_back,
                "an entry of the cache cannot be used; it counts as a miss"
            );
        }
        CacheError::SerializationError(answer)
    }
}

/// Reports that Redis is used for the first time.
pub(super) fn first_use() {
    gauge!(CACHE_IN_USE.name).set(1.0);
    tracing::info!(provider = "redis", "the cache is in use");
}

/// Counts an operation and records its duration. `result` names its success.
pub(super) fn measure<T>(
    operation: &'static str,
    started: Instant,
    outcome: &Result<T, CacheError>,
    result: impl FnOnce(&T) -> &'static str,
) {
    let result = match outcome {
        Ok(value) => result(value),
        Err(error) => error.kind(),
    };
    counter!(CACHE_OPERATIONS.name, "operation" => operation, "result" => result).increment(1);
    if result != "rejected" {
        histogram!(CACHE_OPERATION_DURATION.name, "operation" => operation)
            .record(started.elapsed());
    }
}
