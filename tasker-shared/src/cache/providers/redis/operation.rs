//! One operation: a connection, a limit, and what its outcome tells the breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use redis::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::connect::Endpoint;
use super::latency::Latency;
use super::link::Request;
use super::log_limit::LogLimit;
use super::second_look::within;
use super::slots::{Live, Slots};
use crate::cache::{BadAnswer, CacheError, ConnectionFault, Refusal, RefusalKind};
use crate::metrics::{
    CACHE_BAD_ANSWERS, CACHE_OPERATION_DURATION, CACHE_OPERATIONS, CACHE_REFUSALS,
};

/// What is wrong with entries or with writes is logged at most so often.
const LOG_PERIOD: Duration = Duration::from_mins(1);

/// A connection that is younger is not replaced because its server is a replica. An older one is,
/// since after a failover the same name may lead to the new primary.
const REPLICA_PATIENCE: Duration = Duration::from_secs(5);

/// What requests, fills, sweeps and the supervisor share.
pub(super) struct Core {
    pub(super) endpoint: Endpoint,
    pub(super) slots: Slots,
    pub(super) breaker: Breaker,
    pub(super) latency: Latency,
    /// Wakes the supervisor when a place has become empty.
    pub(super) vacancy: Notify,
    /// The budget of one request.
    pub(super) budget: Duration,
    /// A key of ours that no template has.
    pub(super) probe_key: String,
    pub(super) stop: CancellationToken,
    writes_refused: AtomicBool,
    /// Whether it was said that this is a node of a cluster.
    cluster_told: AtomicBool,
    refusal_log: LogLimit,
    bad_answer_log: LogLimit,
}

impl Core {
    pub(super) fn new(
        endpoint: Endpoint,
        connections: usize,
        budget: Duration,
        probe_key: String,
        stop: CancellationToken,
    ) -> Self {
        Self {
            endpoint,
            slots: Slots::new(connections),
            breaker: Breaker::new(),
            latency: Latency::new(Instant::now()),
            vacancy: Notify::new(),
            budget,
            probe_key,
            stop,
            writes_refused: AtomicBool::new(false),
            cluster_told: AtomicBool::new(false),
            refusal_log: LogLimit::new(LOG_PERIOD),
            bad_answer_log: LogLimit::new(LOG_PERIOD),
        }
    }

    /// Refuses while the breaker is open.
    pub(super) fn admit(&self) -> Result<(), CacheError> {
        if self.breaker.is_open() {
            return Err(CacheError::ConnectionError(ConnectionFault::BreakerOpen));
        }
        Ok(())
    }

    /// Sends `request` over the next connection, for at most `limit` in all.
    ///
    /// A connection that turns out to be closed costs no time, so the next one is tried; every
    /// request of ours may be sent twice. A connection on which the limit passed is replaced.
    /// When the limit was noticed much too late, it was this process that had no time, or that
    /// was stopped, and nothing is known of Redis: then it does not count.
    pub(super) async fn call(
        &self,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<Value, CacheError> {
        self.admit()?;
        let started = tokio::time::Instant::now();
        for _ in 0..self.slots.len() {
            let Some(live) = self.slots.pick() else { break };
            let mut link = live.link.clone();
            match within(started + limit, link.send(request)).await {
                Some(Ok(value)) => {
                    self.breaker.succeeded(request.good_answers(&value));
                    return Ok(value);
                }
                Some(Err(error @ CacheError::ConnectionError(_))) => {
                    if self.lost(live, &error) {
                        return Err(error);
                    }
                }
                Some(Err(error)) => {
                    self.answered_with(Some(live), &error);
                    return Err(error);
                }
                None => {
                    let error = CacheError::Timeout { limit };
                    self.timed_out(live, &error, started.elapsed() > limit * 2);
                    return Err(error);
                }
            }
        }
        Err(CacheError::ConnectionError(if self.stop.is_cancelled() {
            ConnectionFault::ShutDown
        } else {
            ConnectionFault::NoneUp
        }))
    }

    /// Takes a broken connection out of use; says whether it was the last.
    fn lost(&self, live: Arc<Live>, error: &CacheError) -> bool {
        self.replace(live);
        let last = self.slots.up() == 0;
        if last {
            self.open(error);
        }
        last
    }

    fn timed_out(&self, live: Arc<Live>, error: &CacheError, noticed_late: bool) {
        if !self.replace(live) || noticed_late {
            return;
        }
        if self.slots.up() == 0 {
            self.open(error);
        } else if self.breaker.failed(error) {
            self.slots.clear();
        }
    }

    /// What an error that was answered means for all operations. `live` answered it, if that is
    /// known: an answer among others does not tell.
    pub(super) fn answered_with(&self, live: Option<Arc<Live>>, error: &CacheError) {
        let CacheError::BackendError(refusal) = error else {
            return;
        };
        counter!(CACHE_REFUSALS.name, "code" => refusal.label()).increment(1);
        match refusal.kind() {
            RefusalKind::Unusable => self.open(error),
            RefusalKind::ReadOnly => {
                self.breaker.succeeded(1);
                self.note_writes_refused(refusal);
                if let Some(live) = live.filter(|live| live.since.elapsed() > REPLICA_PATIENCE) {
                    self.replace(live);
                }
            }
            RefusalKind::WritesRefused => {
                self.breaker.succeeded(1);
                self.note_writes_refused(refusal);
            }
            RefusalKind::Operation => {
                self.breaker.succeeded(1);
                self.note_redirection(refusal);
            }
            RefusalKind::Other => {
                if self.breaker.failed(error) {
                    self.slots.clear();
                }
            }
        }
    }

    /// Opens the breaker. Connections that are still up are as suspect as the one that failed.
    pub(super) fn open(&self, error: &CacheError) {
        if !self.stop.is_cancelled() && self.breaker.open(error) {
            self.slots.clear();
        }
    }

    fn replace(&self, live: Arc<Live>) -> bool {
        let replaced = self.slots.discard(live);
        if replaced {
            self.vacancy.notify_one();
        }
        replaced
    }

    /// A server that sends its clients elsewhere is a node of a cluster.
    fn note_redirection(&self, refusal: &Refusal) {
        if refusal.is_redirection()
            && self.endpoint.cluster().is_none()
            && !self.cluster_told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "the cache is a node of a Redis Cluster, and only the keys of this node can be used: \
                 set `mode = \"cluster\"` in [common.cache.redis]"
            );
        }
    }

    fn note_writes_refused(&self, refusal: &Refusal) {
        if !self.writes_refused.swap(true, Ordering::Relaxed)
            && self.refusal_log.admit(Instant::now()).is_some()
        {
            tracing::warn!(
                error = %refusal,
                "the cache accepts no writes; what it holds is still read"
            );
        }
    }

    /// A write was accepted.
    pub(super) fn note_write(&self) {
        if self.writes_refused.load(Ordering::Relaxed)
            && self.writes_refused.swap(false, Ordering::Relaxed)
        {
            tracing::info!("the cache accepts writes again");
        }
    }

    /// An answer that cannot be used, counted by kind and logged now and then.
    pub(super) fn bad_answer(&self, answer: BadAnswer) -> CacheError {
        counter!(CACHE_BAD_ANSWERS.name, "kind" => answer.kind()).increment(1);
        if let Some(held_back) = self.bad_answer_log.admit(Instant::now()) {
            tracing::warn!(
                error = %answer,
                earlier_ones_not_logged = held_back,
                "an entry of the cache cannot be used; it is taken for a miss"
            );
        }
        CacheError::SerializationError(answer)
    }

    /// Counts an operation and its duration. `result` names its success.
    pub(super) fn measure<T>(
        &self,
        operation: &'static str,
        started: Instant,
        outcome: &Result<T, CacheError>,
        result: impl FnOnce(&T) -> &'static str,
    ) {
        let label = match outcome {
            Ok(value) => result(value),
            Err(error) => error.kind(),
        };
        self.measure_many(operation, started, label, 1);
    }

    /// Counts operations that began and ended together, in the same way.
    pub(super) fn measure_many(
        &self,
        operation: &'static str,
        started: Instant,
        result: &'static str,
        count: u32,
    ) {
        counter!(CACHE_OPERATIONS.name, "operation" => operation, "result" => result)
            .increment(count.into());
        if result == "rejected" {
            return;
        }
        let took = started.elapsed();
        histogram!(CACHE_OPERATION_DURATION.name, "operation" => operation)
            .record_many(took, count as usize);
        // A sweep's duration is that of the whole keyspace, and would hide the others.
        if operation != "delete_pattern" {
            self.latency.record(started, took, count);
        }
    }
}
