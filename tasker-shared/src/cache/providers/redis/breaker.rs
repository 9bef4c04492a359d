//! The breaker: whether requests may use Redis.
//!
//! One rule holds for all operations:
//!
//! - **Each connection that times out counts one**, however many operations waited for it, and so
//!   does each answer that is an error and does not concern its key. Each good answer takes a
//!   twentieth off. At three the breaker opens: at once if nothing answers, and in the end if more
//!   than one answer in twenty-one fails, but never for less.
//! - **Losing the last connection opens it**, and so does an answer by which the server can serve
//!   nobody: it is loading, its cluster is down, it wants a password.
//! - An answer about one key (`WRONGTYPE`), or only about writes (`OOM`, `READONLY`), is an answer:
//!   reads continue.
//!
//! Only time that Redis may have spent counts; see `RedisClient::call`.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::{counter, gauge};
use tokio::sync::Notify;

use super::log_limit::LogLimit;
use crate::cache::errors::Chain;
use crate::cache::{BreakerState, CacheError};
use crate::metrics::{CACHE_BREAKER_OPEN, CACHE_BREAKER_TRANSITIONS};

/// The weight of a failure, if that of a good answer is one.
const FAILURE: u32 = 20;
const LIMIT: u32 = 3 * FAILURE;

/// A server that comes and goes causes one pair of lines in this time.
const LOG_PERIOD: Duration = Duration::from_secs(10);

pub(super) struct Breaker {
    open: AtomicBool,
    score: AtomicU32,
    opened: Notify,
    /// Wakes requests that wait for a connection.
    opened_for_requests: Notify,
    record: Mutex<Record>,
    log_limit: LogLimit,
}

struct Record {
    since: DateTime<Utc>,
    last_error: Option<CacheError>,
    /// True if the last opening was logged; none before the first.
    opening_logged: Option<bool>,
}

impl Breaker {
    /// Returns an open breaker, because nothing is known of Redis yet. The gauge begins with the first
    /// use, because a Redis that has not been reached yet is reported by another gauge.
    pub(super) fn new() -> Self {
        Self {
            open: AtomicBool::new(true),
            score: AtomicU32::new(0),
            opened: Notify::new(),
            opened_for_requests: Notify::new(),
            record: Mutex::new(Record {
                since: Utc::now(),
                last_error: None,
                opening_logged: None,
            }),
            log_limit: LogLimit::new(LOG_PERIOD),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until the breaker is open.
    pub(super) async fn until_open(&self) {
        while !self.is_open() {
            self.opened.notified().await;
        }
    }

    /// Waits until the breaker is open. Any number may wait.
    pub(super) async fn is_opened(&self) {
        let mut opened = std::pin::pin!(self.opened_for_requests.notified());
        opened.as_mut().enable();
        if !self.is_open() {
            opened.await;
        }
    }

    /// Counts good answers.
    pub(super) fn succeeded(&self, answers: u32) {
        if self.score.load(Ordering::Relaxed) > 0 {
            let _ = self
                .score
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |score| {
                    Some(score.saturating_sub(answers))
                });
        }
    }

    /// Counts a failure, and returns whether that opened the breaker.
    pub(super) fn failed(&self, error: &CacheError) -> bool {
        let score = self.score.fetch_add(FAILURE, Ordering::Relaxed) + FAILURE;
        score >= LIMIT && self.open(error)
    }

    /// Opens the breaker, and returns false if it was open.
    pub(super) fn open(&self, error: &CacheError) -> bool {
        if self.open.swap(true, Ordering::AcqRel) {
            return false;
        }
        gauge!(CACHE_BREAKER_OPEN.name).set(1.0);
        counter!(CACHE_BREAKER_TRANSITIONS.name, "to" => "open").increment(1);
        {
            let mut record = self.record();
            record.since = Utc::now();
            record.last_error = Some(error.clone());
            record.opening_logged = Some(self.log_opening(error));
        }
        self.opened.notify_one();
        self.opened_for_requests.notify_waiters();
        true
    }

    /// Closes the breaker, because Redis was found well.
    pub(super) fn close(&self) {
        self.score.store(0, Ordering::Relaxed);
        let logged = {
            let mut record = self.record();
            record.since = Utc::now();
            record.opening_logged == Some(true)
        };
        if !self.open.swap(false, Ordering::AcqRel) {
            return;
        }
        gauge!(CACHE_BREAKER_OPEN.name).set(0.0);
        counter!(CACHE_BREAKER_TRANSITIONS.name, "to" => "closed").increment(1);
        if logged {
            tracing::info!("the cache is in use again");
        }
    }

    /// Keeps the error of a failed probe. Logs the opening if that was held back, because the breaker must
    /// not stay open for long without a line.
    pub(super) fn still_open(&self, error: &CacheError) {
        let mut record = self.record();
        record.last_error = Some(error.clone());
        if record.opening_logged == Some(false) && self.is_open() {
            record.opening_logged = Some(self.log_opening(error));
        }
    }

    /// Returns false if it is too early for another line.
    fn log_opening(&self, error: &CacheError) -> bool {
        let admitted = self.log_limit.admit(Instant::now()).is_some();
        if admitted {
            tracing::warn!(
                error = %Chain(error),
                "the cache is not used until it is well again; requests continue without it"
            );
        }
        admitted
    }

    /// Returns the state, its beginning, and the last error that mattered.
    pub(super) fn report(&self) -> (BreakerState, DateTime<Utc>, Option<CacheError>) {
        let state = if self.is_open() {
            BreakerState::Open
        } else {
            BreakerState::Closed
        };
        let record = self.record();
        (state, record.since, record.last_error.clone())
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Breaker, LogLimit};
    use crate::cache::{BreakerState, CacheError};

    const TIMEOUT: CacheError = CacheError::Timeout {
        limit: Duration::from_millis(25),
    };

    fn closed() -> Breaker {
        let breaker = Breaker::new();
        breaker.close();
        breaker
    }

    #[test]
    fn it_is_open_until_redis_is_found_well() {
        let breaker = Breaker::new();
        assert_eq!(breaker.report().0, BreakerState::Open);
        breaker.close();
        assert_eq!(breaker.report().0, BreakerState::Closed);
    }

    #[test]
    fn three_failures_in_a_row_open_it() {
        let breaker = closed();
        assert!(!breaker.failed(&TIMEOUT));
        assert!(!breaker.failed(&TIMEOUT));
        assert!(breaker.failed(&TIMEOUT));
        assert!(breaker.is_open());
        assert!(!breaker.failed(&TIMEOUT), "it opens once");
    }

    #[test]
    fn a_failure_in_thirty_never_opens_it() {
        let breaker = closed();
        for _ in 0..1000 {
            breaker.failed(&TIMEOUT);
            (0..29).for_each(|_| breaker.succeeded(1));
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_failure_in_ten_opens_it_soon() {
        let breaker = closed();
        let rounds = (1..100)
            .find(|_| {
                (0..9).for_each(|_| breaker.succeeded(1));
                breaker.failed(&TIMEOUT)
            })
            .expect("it opens");
        assert!(rounds <= 5, "{rounds}");
    }

    #[test]
    fn closing_forgets_earlier_failures() {
        let breaker = closed();
        assert!(breaker.open(&TIMEOUT));
        breaker.close();
        assert!(!breaker.failed(&TIMEOUT));
        assert!(!breaker.failed(&TIMEOUT));
        assert!(!breaker.is_open());
    }

    #[test]
    fn an_opening_that_was_not_logged_is_logged_later_if_it_lasts() {
        let mut breaker = closed();
        breaker.open(&TIMEOUT);
        breaker.close();
        breaker.open(&TIMEOUT);
        breaker.still_open(&TIMEOUT);
        assert_eq!(breaker.record().opening_logged, Some(false));
        breaker.log_limit = LogLimit::new(Duration::ZERO);
        breaker.still_open(&TIMEOUT);
        assert_eq!(breaker.record().opening_logged, Some(true));
    }

    #[test]
    fn a_redis_that_was_not_in_use_yet_is_not_reported_as_lost() {
        let breaker = Breaker::new();
        breaker.still_open(&TIMEOUT);
        assert_eq!(breaker.record().opening_logged, None);
    }

    #[tokio::test]
    async fn a_waiter_is_woken_when_it_opens() {
        let breaker = closed();
        tokio::join!(breaker.until_open(), async {
            assert!(breaker.open(&TIMEOUT));
        });
    }
}
