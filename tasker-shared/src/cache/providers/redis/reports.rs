//! Metrics and log lines about operations.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};

use super::log_limit::LogLimit;
use super::refusals::Refusals;
use crate::cache::errors::Chain;
use crate::cache::{BadAnswer, CacheError, Refusal};
use crate::config::tasker::RedisMode;
use crate::metrics::{
    CACHE_BAD_ANSWERS, CACHE_IN_USE, CACHE_OPERATION_DURATION, CACHE_OPERATIONS, CACHE_REFUSALS,
};

/// The shortest time between two lines about entries, about failures, or about one refused command.
pub(super) const LOG_PERIOD: Duration = Duration::from_mins(1);

pub(super) struct Reports {
    mode: RedisMode,
    cluster_reported: AtomicBool,
    pub(super) refusals: Refusals,
    bad_answer_log: LogLimit,
    failure_log: LogLimit,
}

impl Reports {
    pub(super) fn new(mode: RedisMode) -> Self {
        Self {
            mode,
            cluster_reported: AtomicBool::new(false),
            refusals: Refusals::default(),
            bad_answer_log: LogLimit::new(LOG_PERIOD),
            failure_log: LogLimit::new(LOG_PERIOD),
        }
    }

    /// Counts an error that the server answered to `command`. Logs when the command begins to be
    /// refused whatever its key is.
    pub(super) fn refusal(&self, command: &'static str, refusal: &Refusal) {
        counter!(CACHE_REFUSALS.name, "code" => refusal.label()).increment(1);
        if refusal.is_standing() {
            self.refusals.refused(command, refusal);
        } else if refusal.is_redirection()
            // Only nodes of a cluster send their clients elsewhere.
            && self.mode != RedisMode::Cluster
            && !self.cluster_reported.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "the cache is a node of a Redis Cluster, and only the keys of this node can be \
                 used: set `mode = \"cluster\"` in [common.cache.redis]"
            );
        }
    }

    /// Logs a failure of `command`, one in a while. Refusals that last and entries that cannot be used have
    /// lines of their own.
    pub(super) fn failed(&self, command: &'static str, error: &CacheError) {
        let has_another_line = matches!(
            error,
            CacheError::BackendError(refusal)
                if refusal.is_standing() || refusal.code() == "WRONGTYPE"
        );
        if !has_another_line && let Some(held_back) = self.failure_log.admit(Instant::now()) {
            tracing::warn!(
                command,
                error = %Chain(error),
                earlier_ones_not_logged = held_back,
                "a command to the cache failed; requests continue without its answer"
            );
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
