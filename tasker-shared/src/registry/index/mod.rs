//! The template index: an in-memory map from registered names to hashes, no older than a bound.
//!
//! One task, the poller, writes it; readers see an immutable [`Snapshot`]. It knows nothing of documents
//! and tiers. A notification from PostgreSQL only wakes the poller early: losing all of them makes
//! changes arrive later, never wrong.
//!
//! Its age counts from the moment at which the last successful poll was *sent*. The answer of a poll was
//! true at some moment after it was sent, so a pointer that is used within the bound was current within
//! the bound. A resolve may also use a poll that was sent after it arrived, however slow that was: its
//! pointers were current during the resolve. While nothing is resolved, nothing polls, and the first
//! resolve after that waits for a poll.

mod clock;
mod listener;
mod poll_reason;
mod poller;
mod queries;
mod snapshot;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use clock::Moment;
pub(crate) use poll_reason::PollReason;
#[cfg(test)]
pub(crate) use snapshot::Change;
pub(crate) use snapshot::{Entry, Pointer, Snapshot, TemplateName};

use crate::database::DatabaseError;
use clock::{Usage, Validity};

/// The longest time that a resolve waits for a poll.
const WAIT_LIMIT: Duration = Duration::from_secs(3);

/// The longest time that a report of the index' state waits for a poll.
const REPORT_LIMIT: Duration = Duration::from_secs(1);

/// The trust that a pointer deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It was current within the bound.
    Fresh,
    /// It is older than the bound by this much, and the configuration allows it.
    StaleBy(Duration),
}

/// The index cannot be used: it is older than its bound, and no poll succeeded in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexStale;

/// The moments of the last polls.
#[derive(Debug, Clone, Copy, Default)]
struct PollReport {
    /// The last poll was sent then. It may be under way.
    sent: Option<Moment>,
    /// The last successful poll was sent then.
    succeeded: Option<Moment>,
    /// The last failed poll was sent then.
    failed: Option<Moment>,
}

impl PollReport {
    /// Returns true if a poll is under way that was sent at `moment` or later.
    fn is_under_way_since(&self, moment: Moment) -> bool {
        self.sent.is_some_and(|sent| sent >= moment)
            && self.sent > self.succeeded
            && self.sent > self.failed
    }
}

struct Shared {
    pool: PgPool,
    max_staleness: Duration,
    serve_stale: Duration,
    snapshot: ArcSwap<Snapshot>,
    validity: Validity,
    usage: Usage,
    reports: watch::Sender<PollReport>,
    // One permit for all callers, because they share the next poll.
    wanted: Notify,
    wanted_for_unknown_name: Notify,
    notified: Notify,
    // The error of the last poll, if it failed.
    last_error: Mutex<Option<Arc<DatabaseError>>>,
    // The latest announced position, or 0 if no announcement is pending.
    announced: AtomicI64,
    cancel: CancellationToken,
}

impl Shared {
    fn note_error(&self, error: Option<Arc<DatabaseError>>) {
        let mut last = self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = error;
    }

    /// Wakes the poller for the commit at this position.
    fn announce(&self, sequence: i64) {
        self.announced.fetch_max(sequence, Ordering::AcqRel);
        self.notified.notify_one();
    }
}

/// The template index of one process. Its two background tasks start with the first use, and stop with
/// [`TemplateIndex::shutdown`] or when it is dropped.
pub(crate) struct TemplateIndex {
    shared: Arc<Shared>,
    started: AtomicBool,
    tasks: TaskTracker,
}

impl TemplateIndex {
    /// Creates an index that is not loaded yet.
    pub(crate) fn new(pool: PgPool, max_staleness: Duration, serve_stale: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool,
                max_staleness,
                serve_stale,
                snapshot: ArcSwap::from_pointee(Snapshot::empty()),
                validity: Validity::new(max_staleness),
                usage: Usage::default(),
                reports: watch::Sender::new(PollReport::default()),
                wanted: Notify::new(),
                wanted_for_unknown_name: Notify::new(),
                notified: Notify::new(),
                last_error: Mutex::default(),
                announced: AtomicI64::new(0),
                cancel: CancellationToken::new(),
            }),
            started: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        }
    }

    /// Returns the current snapshot.
    pub(crate) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// Returns the current snapshot, for use across waits.
    pub(crate) fn snapshot_now(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Returns the bound.
    pub(crate) fn max_staleness(&self) -> Duration {
        self.shared.max_staleness
    }

    /// Returns true if each resolve waits for a poll that was sent after it arrived.
    pub(crate) fn is_linearizable(&self) -> bool {
        self.shared.max_staleness.is_zero()
    }

    /// Returns true if `entry` is current in this snapshot.
    pub(crate) fn is_current(&self, entry: &Entry) -> bool {
        self.snapshot()
            .get(entry.name())
            .is_some_and(|current| current.id == entry.id)
    }

    /// Notes that a name is resolved, so that the pointers are kept current for a while.
    pub(crate) fn use_it(&self) {
        self.shared.usage.note();
    }

    /// Returns true if a name was resolved in the last seconds.
    pub(crate) fn is_in_use(&self) -> bool {
        self.shared.usage.is_recent()
    }

    /// Polls if the pointers are older than the bound, and waits for that for a bounded time.
    pub(crate) async fn refresh(&self) {
        if !self.is_fresh() && !self.is_linearizable() {
            let since = self.shared.validity.not_before(Moment::now());
            let poll = self.poll_sent_after(since, PollReason::Stale);
            // A report of an older index is right if PostgreSQL does not answer.
            tokio::time::timeout(REPORT_LIMIT, poll).await.ok();
        }
    }

    /// Returns true if the pointers are within the bound now.
    pub(crate) fn is_fresh(&self) -> bool {
        self.shared.validity.holds_at(Moment::now())
    }

    /// Returns the time since the last successful poll was sent; `None` before the first.
    pub(crate) fn age(&self) -> Option<Duration> {
        let succeeded = self.shared.reports.borrow().succeeded?;
        Some(Moment::now().since(succeeded))
    }

    /// Returns true if a resolve that `arrived` then may use the pointers: they are within the bound, or
    /// from a poll that was sent after it arrived, however long that poll took.
    pub(crate) fn may_be_used(&self, arrived: Moment) -> bool {
        self.is_fresh() || self.shared.reports.borrow().succeeded >= Some(arrived)
    }

    /// Waits, if necessary, until a resolve that `arrived` then may use the pointers.
    ///
    /// All waiters share polls. Cancelling a waiter cancels nothing else.
    pub(crate) async fn ensure_fresh(&self, arrived: Moment) -> Result<Freshness, IndexStale> {
        while !self.may_be_used(arrived) {
            // The database is known to be lost, so waiting would not help.
            if let Some(stale_by) = self.allowed_staleness().filter(|_| self.last_poll_failed()) {
                return Ok(Freshness::StaleBy(stale_by));
            }
            // A poll that was sent before the resolve arrived is shared, although it may be too old when
            // it is answered. The next one is sent after the arrival.
            let useful = self.shared.validity.not_before(Moment::now());
            let polled = self.poll_sent_after(useful.min(arrived), PollReason::Stale);
            if let Err(stale) = polled.await {
                return self
                    .allowed_staleness()
                    .map(Freshness::StaleBy)
                    .ok_or(stale);
            }
        }
        Ok(Freshness::Fresh)
    }

    /// Waits for a successful poll that was sent at `moment` or later.
    pub(crate) async fn poll_sent_after(
        &self,
        moment: Moment,
        reason: PollReason,
    ) -> Result<(), IndexStale> {
        let mut reports = self.shared.reports.subscribe();
        if reports
            .borrow_and_update()
            .succeeded
            .is_some_and(|sent| sent >= moment)
        {
            return Ok(());
        }
        self.start();
        let report = *reports.borrow();
        if !report.is_under_way_since(moment) {
            match reason {
                PollReason::UnknownName => self.shared.wanted_for_unknown_name.notify_one(),
                _ => self.shared.wanted.notify_one(),
            }
        }
        let settled = |report: &PollReport| {
            report.succeeded.is_some_and(|sent| sent >= moment)
                || report.failed.is_some_and(|sent| sent >= moment)
        };
        let waited = tokio::select! {
            waited = tokio::time::timeout(WAIT_LIMIT, reports.wait_for(settled)) => waited,
            () = self.shared.cancel.cancelled() => return Err(IndexStale),
        };
        match waited {
            Ok(Ok(report)) if report.succeeded.is_some_and(|sent| sent >= moment) => Ok(()),
            _ => Err(IndexStale),
        }
    }

    /// Returns a snapshot that was polled at `moment` or later; none if no such poll succeeds in time.
    pub(crate) async fn snapshot_since(&self, moment: Moment) -> Option<Arc<Snapshot>> {
        let polled = self.poll_sent_after(moment, PollReason::Stale).await;
        polled.ok().map(|()| self.snapshot_now())
    }

    /// Waits, at most as long as a resolve would, until the pointers include a write of this process
    /// that was committed before the call. No resolve that begins after the call uses older ones.
    pub(crate) async fn wrote(&self) -> Result<(), IndexStale> {
        let now = Moment::now();
        self.shared.validity.require(now);
        self.poll_sent_after(now, PollReason::Written).await
    }

    /// Returns the error of the last poll, if it failed.
    pub(crate) fn last_error(&self) -> Option<Arc<DatabaseError>> {
        let error = self.shared.last_error.lock();
        error.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true after [`shutdown`](Self::shutdown).
    pub(crate) fn is_shut_down(&self) -> bool {
        self.shared.cancel.is_cancelled()
    }

    /// Stops the background tasks and waits for them.
    pub(crate) async fn shutdown(&self) {
        self.shared.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn last_poll_failed(&self) -> bool {
        let report = self.shared.reports.borrow();
        report.failed > report.succeeded
    }

    // Returns the time past the bound if the configuration allows such pointers.
    fn allowed_staleness(&self) -> Option<Duration> {
        // A process must not lose sight of its own writes.
        if self.shared.serve_stale.is_zero() || self.shared.validity.is_superseded() {
            return None;
        }
        let stale_by = self.age()?.saturating_sub(self.shared.max_staleness);
        (stale_by <= self.shared.serve_stale).then_some(stale_by)
    }
}

impl Drop for TemplateIndex {
    fn drop(&mut self) {
        self.shared.cancel.cancel();
    }
}

impl std::fmt::Debug for TemplateIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TemplateIndex")
            .field("max_staleness", &self.shared.max_staleness)
            .field("templates", &self.snapshot().len())
            .finish_non_exhaustive()
    }
}
