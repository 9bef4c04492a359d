//! Metrics and log lines about operations.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};

use super::log_limit::LogLimit;
use crate::cache::{BadAnswer, CacheError, Refusal};
use crate::config::tasker::RedisMode;
use crate::metrics::{
    CACHE_BAD_ANSWERS, CACHE_IN_USE, CACHE_OPERATION_DURATION, CACHE_OPERATIONS, CACHE_REFUSALS,
};

/// The shortest time between two lines about entries, or about one refused command.
const LOG_PERIOD: Duration = Duration::from_mins(1);

pub(super) struct Reports {
    mode: RedisMode,
    cluster_reported: AtomicBool,
    /// True while a command is refused, so that the lock is not needed for each success.
    any_refused: AtomicBool,
    refused: Mutex<BTreeMap<&'static str, Refused>>,
    bad_answer_log: LogLimit,
}

/// A command that the server refuses, or did.
struct Refused {
    /// The error code; none once the command was accepted again.
    code: Option<String>,
    log: LogLimit,
    logged: bool,
}

impl Reports {
    pub(super) fn new(mode: RedisMode) -> Self {
        Self {
            mode,
            cluster_reported: AtomicBool::new(false),
            any_refused: AtomicBool::new(false),
            refused: Mutex::default(),
            bad_answer_log: LogLimit::new(LOG_PERIOD),
        }
    }

    /// Counts an error that the server answered to `command`. Logs when the command begins to be
    /// refused whatever its key is.
    pub(super) fn refusal(&self, command: &'static str, refusal: &Refusal) {
        counter!(CACHE_REFUSALS.name, "code" => refusal.label()).increment(1);
        if refusal.is_standing() {
            self.note_refused(command, refusal);
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

    fn note_refused(&self, command: &'static str, refusal: &Refusal) {
        let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = all.entry(command).or_insert_with(|| Refused {
            code: None,
            log: LogLimit::new(LOG_PERIOD),
            logged: false,
        });
        let begins = entry.code.is_none();
        entry.code = Some(refusal.code().to_owned());
        self.any_refused.store(true, Ordering::Relaxed);
        // A server that comes and goes does not fill the log.
        if begins && entry.log.admit(Instant::now()).is_some() {
            entry.logged = true;
            tracing::warn!(
                command,
                error = %refusal,
                "the cache refuses a command; requests continue without it"
            );
        }
    }

    /// Notes that `command` was accepted.
    pub(super) fn accepted(&self, command: &'static str) {
        if !self.any_refused.load(Ordering::Relaxed) {
            return;
        }
        let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.get_mut(command)
            && entry.code.take().is_some()
            && std::mem::take(&mut entry.logged)
        {
            tracing::warn!(command, "the cache accepts the command again");
        }
        let any = all.values().any(|entry| entry.code.is_some());
        self.any_refused.store(any, Ordering::Relaxed);
    }

    /// Returns the commands that are refused now, with their error codes.
    pub(super) fn refused(&self) -> Vec<(&'static str, String)> {
        let all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = all.iter();
        refused
            .filter_map(|(command, entry)| Some((*command, entry.code.clone()?)))
            .collect()
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
