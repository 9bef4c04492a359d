//! The directory: which body every registered name points to, in memory, no older than a bound.
//!
//! The directory is written by one task, the poller, and by nobody else; readers see an immutable
//! [`Snapshot`]. It knows nothing of bodies: the local tier holds them at its entries, in slots that
//! only that tier writes. A notification from PostgreSQL only wakes the poller
//! early: losing all of them makes news later, never wrong.
//!
//! Its age is counted from the moment at which the last successful poll was *sent*. What a poll
//! answers was true at some moment after it was sent, so a pointer that is used within the bound
//! was current within the bound.

mod clock;
mod listener;
mod poller;
mod queries;
mod snapshot;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use clock::Moment;
#[cfg(test)]
pub(crate) use snapshot::Change;
pub(crate) use snapshot::{Entry, Pointer, Snapshot, TemplateName};

use crate::database::HeldConnections;
use clock::Validity;

/// How long a resolve waits for a poll before it says that the directory is stale.
const WAIT_LIMIT: Duration = Duration::from_secs(3);

/// Why a poll was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollReason {
    Start,
    Timer,
    Notified,
    Stale,
    UnknownName,
    Written,
}

impl PollReason {
    const fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Timer => "timer",
            Self::Notified => "notified",
            Self::Stale => "stale",
            Self::UnknownName => "unknown_name",
            Self::Written => "written",
        }
    }
}

/// How far a pointer may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It was current within the bound.
    Fresh,
    /// It is older than the bound by so much, and the configuration allows it.
    StaleBy(Duration),
}

/// The directory cannot be used: it is older than its bound and no poll succeeded in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexStale;

/// What the last polls came to.
#[derive(Debug, Clone, Copy, Default)]
struct PollReport {
    /// When the last poll was sent, which may be under way.
    sent: Option<Moment>,
    /// When the last poll that succeeded was sent.
    succeeded: Option<Moment>,
    /// When the last poll that failed was sent.
    failed: Option<Moment>,
}

impl PollReport {
    /// Whether a poll is under way that was sent at `moment` or later.
    fn is_under_way_since(&self, moment: Moment) -> bool {
        self.sent.is_some_and(|sent| sent >= moment)
            && self.sent > self.succeeded
            && self.sent > self.failed
    }
}

/// Called when an entry has stopped being current.
type OnGone = Box<dyn Fn(&Arc<Entry>) + Send + Sync>;

struct Shared {
    pool: PgPool,
    // Of the same pool.
    connections: Arc<HeldConnections>,
    max_staleness: Duration,
    serve_stale: Duration,
    snapshot: ArcSwap<Snapshot>,
    validity: Validity,
    reports: watch::Sender<PollReport>,
    // One permit however many ask: they share the next poll.
    wanted: Notify,
    wanted_for_unknown_name: Notify,
    notified: Notify,
    // The latest place in the history that was told of and not looked at.
    announced: AtomicI64,
    // How many writes of this process are under way.
    own_writes: watch::Sender<usize>,
    on_gone: OnGone,
    cancel: CancellationToken,
}

impl Shared {
    /// Notes that the history has come to `place`.
    fn announce(&self, place: i64) {
        self.announced.fetch_max(place, Ordering::AcqRel);
        self.notified.notify_one();
    }
}

/// A write of this process that is under way, until it is dropped.
pub(crate) struct OwnWrite(Arc<Shared>);

impl Drop for OwnWrite {
    fn drop(&mut self) {
        self.0.own_writes.send_modify(|writes| *writes -= 1);
    }
}

/// The directory of one process. Cheap to share behind an `Arc`; its two background tasks start
/// with the first use and stop with [`TemplateIndex::shutdown`] or when it is dropped.
pub(crate) struct TemplateIndex {
    shared: Arc<Shared>,
    started: AtomicBool,
    tasks: TaskTracker,
}

impl TemplateIndex {
    /// A directory that has not been read yet.
    pub(crate) fn new(
        pool: PgPool,
        connections: Arc<HeldConnections>,
        max_staleness: Duration,
        serve_stale: Duration,
        on_gone: OnGone,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool,
                connections,
                max_staleness,
                serve_stale,
                snapshot: ArcSwap::from_pointee(Snapshot::empty()),
                validity: Validity::new(max_staleness),
                reports: watch::Sender::new(PollReport::default()),
                wanted: Notify::new(),
                wanted_for_unknown_name: Notify::new(),
                notified: Notify::new(),
                announced: AtomicI64::new(0),
                own_writes: watch::Sender::new(0),
                on_gone,
                cancel: CancellationToken::new(),
            }),
            started: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        }
    }

    /// Starts polling and listening. Does nothing the second time. Must be called within a
    /// Tokio runtime.
    pub(crate) fn start(&self) {
        if self.started.load(Ordering::Relaxed) || self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        self.tasks.spawn(poller::run(Arc::clone(&self.shared)));
        self.tasks.spawn(listener::run(Arc::clone(&self.shared)));
        self.tasks.close();
    }

    /// The picture of this moment.
    pub(crate) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// The picture of this moment, to be kept across waits.
    pub(crate) fn snapshot_now(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// How old the pointers may be.
    pub(crate) fn max_staleness(&self) -> Duration {
        self.shared.max_staleness
    }

    /// Whether each resolve waits for a poll that was sent after it arrived.
    pub(crate) fn is_linearizable(&self) -> bool {
        self.shared.max_staleness.is_zero()
    }

    /// Whether `entry` is what its name points to now.
    pub(crate) fn is_current(&self, entry: &Entry) -> bool {
        self.snapshot()
            .get(entry.name())
            .is_some_and(|current| current.id == entry.id)
    }

    /// Whether the pointers are within the bound at this moment. Costs a look at the clock.
    pub(crate) fn is_fresh(&self) -> bool {
        self.shared.validity.holds_at(Moment::now())
    }

    /// Time since the last successful poll was sent; `None` before the first.
    pub(crate) fn age(&self) -> Option<Duration> {
        let succeeded = self.shared.reports.borrow().succeeded?;
        Some(Moment::now().since(succeeded))
    }

    /// Waits, where it must, until the pointers may be used by a resolve that `arrived` then.
    ///
    /// All waiters share polls. Cancelling a waiter cancels nothing else.
    pub(crate) async fn ensure_fresh(&self, arrived: Moment) -> Result<Freshness, IndexStale> {
        let validity = &self.shared.validity;
        loop {
            let now = Moment::now();
            let since = if self.is_linearizable() {
                arrived
            } else if validity.holds_at(now) {
                return Ok(Freshness::Fresh);
            } else {
                validity.not_before(now)
            };
            // With the database known to be lost there is nothing to wait for.
            if let Some(stale_by) = self.allowed_staleness().filter(|_| self.last_poll_failed()) {
                return Ok(Freshness::StaleBy(stale_by));
            }
            match self.poll_sent_after(since, PollReason::Stale).await {
                Ok(()) if self.is_linearizable() => return Ok(Freshness::Fresh),
                // The poll that came may have been sent so long ago that it is too old by now.
                Ok(()) if now.since(arrived) <= WAIT_LIMIT => {}
                Ok(()) => return Err(IndexStale),
                Err(stale) => {
                    return self
                        .allowed_staleness()
                        .map(Freshness::StaleBy)
                        .ok_or(stale);
                }
            }
        }
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

    /// The picture of a poll that was sent at `moment` or later; none if there is no such poll in
    /// time.
    pub(crate) async fn snapshot_since(&self, moment: Moment) -> Option<Arc<Snapshot>> {
        let polled = self.poll_sent_after(moment, PollReason::Stale).await;
        polled.ok().map(|()| self.snapshot_now())
    }

    /// While this is held, notifications cause no poll: most tell of what this process writes, which
    /// [`TemplateIndex::wrote`] reads once it is all there. What others write waits with them, but not
    /// past the next poll by the interval, hence not past the bound.
    pub(crate) fn begin_own_write(&self) -> OwnWrite {
        self.shared.own_writes.send_modify(|writes| *writes += 1);
        OwnWrite(Arc::clone(&self.shared))
    }

    /// After a write by this process: no resolve uses pointers of before it. Waits until they
    /// have been read, at most as long as a resolve would.
    pub(crate) async fn wrote(&self) -> Result<(), IndexStale> {
        let committed = self.require_now();
        self.poll_sent_after(committed, PollReason::Written).await
    }

    /// From this moment, which it answers, no resolve uses pointers that were read before it: the next
    /// one waits for a poll, unless one comes first.
    pub(crate) fn require_now(&self) -> Moment {
        let now = Moment::now();
        self.shared.validity.require(now);
        now
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

    // How far past the bound the pointers are, if the configuration lets them be used.
    fn allowed_staleness(&self) -> Option<Duration> {
        // What this process has written since is not forgotten for the sake of an answer.
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
