//! One registration of this process as a worker: its claims, its handlers and its statements.

mod claims;
mod failures;

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tasker_shared::execution::{
    self, AttemptEnd, Bounds, EndState, ExecutionRow, Failures, WorkerRow,
};
use tasker_shared::metrics::{STEP_CLAIMS, STEPS_RUNNING, WORKER_LEASES_LOST};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::answer::Answer;
use super::claimed::{Claimed, Ended, Pending};
use super::execute::execute;
use super::heartbeat::{self, Lost, Running};
use super::link::{Link, is_too_slow, took_too_long};
use super::report::report;
use super::shared::Shared;
use super::unrecorded::Unrecorded;

/// The pauses between attempts at a statement that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// The interval at which the whole queue is read, because a claim may have been rolled back or an
/// announcement of late steps lost.
const SWEEP: Duration = Duration::from_secs(30);
/// The part of the time in which the whole queue is read, at most, if it takes long.
const SWEEP_SHARE: u32 = 20;
/// The pauses between attempts at the ends that were set aside. The short one holds while the worker drains,
/// and if there was no time for all.
const RETRY: Duration = Duration::from_secs(30);
const RETRY_SOON: Duration = Duration::from_secs(1);

/// The most retries whose times are kept. Later ones wait for a poll.
const MAX_DUE: usize = 1000;

/// The way in which a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// The worker stops.
    Drained,
    /// The lease was lost. The worker may go on under another id.
    Lost,
}

pub(super) struct Session {
    shared: Arc<Shared>,
    worker: Uuid,
    link: Link,
    running: Arc<Running>,
    /// Cancelled when the handlers of this session must stop.
    stopped: CancellationToken,
    /// The tasks that run handlers.
    handlers: TaskTracker,
    ends: mpsc::UnboundedSender<Ended>,
    ended: mpsc::UnboundedReceiver<Ended>,
    unrecorded: Unrecorded,
    /// When the ends that were set aside are tried again, if there are any.
    next_retry: Option<Instant>,
    /// Claimed steps that there is no room for yet.
    waiting: VecDeque<Claimed>,
    /// The most steps that a statement may claim, after one took too long.
    limit: Option<i32>,
    bounds: Bounds,
    /// The bounds to return to if the whole queue, which the next claim reads, takes too long.
    before_sweep: Option<Bounds>,
    next_sweep: Instant,
    /// Set if the queue may have steps to claim.
    scan: bool,
    /// When the steps run again that failed here, because a poll may come later.
    next_due: BTreeSet<Instant>,
    /// Until when claims may exist that this session does not know of, because an answer was lost.
    uncertain_until: Option<Instant>,
    /// Set if the lease is over.
    lost: Option<Lost>,
    pause: Duration,
    upkeep_failures: Failures,
    statement_failures: Failures,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (ends, ended) = mpsc::unbounded_channel();
        Self {
            link: Link::new(shared.pool.clone(), shared.statement_timeout),
            shared,
            worker: Uuid::now_v7(),
            running: Arc::new(Running::new()),
            stopped: CancellationToken::new(),
            handlers: TaskTracker::new(),
            ends,
            ended,
            unrecorded: Unrecorded::default(),
            next_retry: None,
            waiting: VecDeque::new(),
            limit: None,
            bounds: Bounds::default(),
            before_sweep: None,
            next_sweep: Instant::now() + SWEEP,
            scan: true,
            next_due: BTreeSet::new(),
            uncertain_until: None,
            lost: None,
            pause: FIRST_PAUSE,
            upkeep_failures: Failures::default(),
            statement_failures: Failures::default(),
        }
    }

    /// Runs steps until the worker drains or the lease is lost. Handlers of a session never outlive
    /// it.
    pub(super) async fn run(mut self) -> SessionEnd {
        let Some(registered) = self.register().await else {
            return SessionEnd::Drained;
        };
        let lease = Duration::from_secs(self.shared.config.lease_seconds.into());
        self.running.renewed(registered, lease);
        self.shared.registration.send_replace(Some(self.worker));
        let renewal = heartbeat::start(
            self.shared.pool.clone(),
            self.worker,
            lease,
            registered,
            Arc::clone(&self.running),
        );
        let lost = tokio::select! {
            lost = renewal => Some(lost.unwrap_or(Lost::Expired)),
            () = self.serve() => self.lost,
        };
        if let Some(lost) = lost {
            self.fence(lost);
            return SessionEnd::Lost;
        }
        self.leave().await;
        SessionEnd::Drained
    }

    /// Returns when the registration was sent, or nothing if the worker stops first.
    async fn register(&mut self) -> Option<Instant> {
        let config = &self.shared.config;
        let row = WorkerRow {
            worker_uuid: self.worker,
            name: self.shared.name.clone(),
            host: self.shared.host.clone(),
            capacity: i32::try_from(config.max_concurrent_steps).unwrap_or(i32::MAX),
            lease_seconds: i32::try_from(config.lease_seconds).unwrap_or(i32::MAX),
            max_lost_attempts: i32::try_from(config.max_lost_attempts).unwrap_or(i32::MAX),
        };
        let draining = self.shared.draining.clone();
        let scope = self.shared.scope.clone();
        let mut failures = Failures::default();
        let attempts = async {
            loop {
                let sent = Instant::now();
                let registered = self.link.run(async |connection| {
                    execution::register_worker(connection, &row, &scope).await
                });
                match registered.await {
                    Ok(()) => return sent,
                    // The registration is logged when it succeeds.
                    Err(error) if failures.begin() => {
                        tracing::warn!(%error, "the worker cannot register; trying again");
                    }
                    Err(error) => tracing::debug!(%error, "the worker still cannot register"),
                }
                sleep(LAST_PAUSE).await;
            }
        };
        draining.run_until_cancelled(attempts).await
    }

    /// Cancels all handlers.
    fn stop(&self) {
        self.running.cancel_all();
        self.stopped.cancel();
        metrics::gauge!(STEPS_RUNNING.name).set(0);
    }

    /// Reports the number of handlers that run.
    fn measure(&self) {
        let running = u32::try_from(self.started()).unwrap_or(u32::MAX);
        metrics::gauge!(STEPS_RUNNING.name).set(running);
    }

    /// Stops all handlers at once: others may run their steps any moment.
    fn fence(&self, lost: Lost) {
        self.stop();
        let (steps, results) = (self.running.len(), self.unrecorded.total());
        let reason = match lost {
            Lost::Declared => "declared",
            Lost::Expired => "expired",
        };
        metrics::counter!(WORKER_LEASES_LOST.name, "reason" => reason).increment(1);
        match lost {
            Lost::Declared => tracing::warn!(
                worker_uuid = %self.worker, steps, results,
                "another service found this worker's lease expired; its handlers were cancelled"
            ),
            Lost::Expired => tracing::warn!(
                worker_uuid = %self.worker, steps, results,
                "the lease could not be renewed in time; handlers were cancelled before it ends"
            ),
        }
    }

    /// Serves until the worker has drained or is lost.
    async fn serve(&mut self) {
        let draining = self.shared.draining.clone();
        let wake = Arc::clone(&self.shared.wake);
        let mut drained_by = None;
        let mut next_poll = Instant::now();
        loop {
            let next_due = self.next_due.first().copied();
            tokio::select! {
                // Branches that are always ready under load come last, so that they do not keep
                // the others from their turn.
                biased;
                () = draining.cancelled(), if drained_by.is_none() => {
                    let limit = self.shared.config.drain_timeout_seconds;
                    drained_by = Some(Instant::now() + Duration::from_secs(limit.into()));
                    for step in self.waiting.drain(..) {
                        self.running.remove(&step.id);
                    }
                    self.next_retry = self.next_retry.map(|_| Instant::now());
                }
                () = sleep_until(next_poll), if drained_by.is_none() => {
                    let interval = self.shared.config.poll_interval_ms;
                    let interval = Duration::from_millis(interval.into());
                    next_poll = Instant::now() + interval.mul_f64(rand::random_range(0.75..1.25));
                    self.scan = true;
                    self.bounds.reach_back();
                    if self.next_sweep <= Instant::now() && self.before_sweep.is_none() {
                        self.before_sweep = Some(std::mem::take(&mut self.bounds));
                        // A claim may be committed long after its connection was given up.
                        self.uncertain_until.get_or_insert_with(Instant::now);
                    }
                    self.upkeep().await;
                }
                () = sleep_until(drained_by.unwrap_or(next_poll)), if drained_by.is_some() => return,
                () = sleep_until(self.next_retry.unwrap_or(next_poll)), if self.next_retry.is_some() => {
                    self.next_retry = None;
                    let ends = self.unrecorded.take_parked(drained_by.is_some());
                    self.one_by_one(ends, drained_by).await;
                }
                () = sleep_until(next_due.unwrap_or(next_poll)), if next_due.is_some() => {
                    let now = Instant::now();
                    self.next_due.retain(|due| *due > now);
                    self.scan = true;
                }
                Some(end) = self.ended.recv() => self.accept(end),
                () = wake.wait(), if drained_by.is_none() => {}
            }
            let is_draining = drained_by.is_some();
            while self.work(drained_by).await.is_continue() {
                let is_due = draining.is_cancelled() || next_poll <= Instant::now();
                if !is_draining && is_due {
                    break;
                }
            }
            if self.lost.is_some() {
                return;
            }
            if is_draining && self.running.len() == 0 && self.unrecorded.are_refused() {
                return;
            }
        }
    }

    fn accept(&mut self, ended: Ended) {
        match ended {
            Ended::Record(pending) => {
                self.running.remove(&pending.end.id);
                self.unrecorded.push(pending);
            }
            Ended::Recorded(id) => self.running.remove(&id),
        }
        self.start_waiting();
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.shared.config.max_concurrent_steps).unwrap_or(1)
    }

    /// Returns the room for further claims. Ends that the next statement leaves take some of it, because they
    /// would pile up without limit if handlers are faster than their ends are recorded. Of those that were set
    /// aside only very many do: a few must not hold up claims.
    fn free(&self) -> i32 {
        let parked = self.unrecorded.parked();
        let parked = parked.saturating_sub(self.capacity());
        let taken = self.running.len() + self.unrecorded.left() + parked;
        i32::try_from(self.capacity().saturating_sub(taken)).unwrap_or(i32::MAX)
    }

    /// The number of steps that the next statement may claim.
    fn want(&self) -> i32 {
        // Without ends it would never learn that claims succeed again.
        let least = i32::from(self.unrecorded.is_empty());
        let limit = self.limit.map_or(i32::MAX, |limit| limit.max(least));
        self.free().min(limit)
    }

    /// Lets the next statement claim twice as many steps after one that was in time.
    fn widen(&mut self) {
        let capacity = i32::try_from(self.capacity()).unwrap_or(i32::MAX);
        let wider = self.limit.map(|limit| limit.saturating_mul(2).max(1));
        self.limit = wider.filter(|limit| *limit < capacity);
    }

    fn started(&self) -> usize {
        self.running.len() - self.waiting.len()
    }

    /// Sends one statement, if there is a reason to. Continues while there may be more to do.
    async fn work(&mut self, drained_by: Option<Instant>) -> ControlFlow<()> {
        if drained_by.is_some_and(|by| by <= Instant::now()) {
            return ControlFlow::Break(());
        }
        while let Ok(end) = self.ended.try_recv() {
            self.accept(end);
        }
        // The flag is cleared before the queue is read, so that no wake-up is lost.
        if let Some(woken) = self.shared.wake.take() {
            self.scan = true;
            if let Some(due_at) = woken.earliest {
                self.bounds.lower(due_at);
                if let Some(bounds) = &mut self.before_sweep {
                    bounds.lower(due_at);
                }
            }
        }
        let want = if drained_by.is_some() { 0 } else { self.want() };
        let scan = self.scan && want > 0;
        if self.lost.is_some() || (self.unrecorded.is_empty() && !scan) {
            return ControlFlow::Break(());
        }
        let sent = self.unrecorded.batch();
        let sent: Vec<&AttemptEnd> = sent.iter().map(|pending| &pending.end).collect();
        let batch = sent.len();
        let (worker, scope, bounds) = (self.worker, &self.shared.scope, &self.bounds);
        let started = Instant::now();
        let answer = self.link.run(async |connection| {
            if sent.is_empty() {
                execution::claim(connection, worker, want, scope, bounds).await
            } else {
                let bounds = scan.then_some(bounds);
                execution::complete(connection, worker, &sent, want, scope, bounds).await
            }
        });
        match answer.await {
            Ok(rows) => {
                self.pause = FIRST_PAUSE;
                self.widen();
                if self.statement_failures.end() {
                    tracing::info!("statements of the worker succeed again");
                }
                if scan {
                    self.scan = false;
                    if self.before_sweep.take().is_some() {
                        self.next_sweep = after_sweep(started);
                    }
                }
                let recorded = self.unrecorded.take(batch);
                self.receive(rows, &recorded, want, scan);
                ControlFlow::Continue(())
            }
            Err(error) => {
                if want > 0 && took_too_long(&error) {
                    // Ends must be recorded, however large the results are that the steps which they
                    // make ready depend on.
                    self.limit = Some(if batch > 0 { 0 } else { (want / 2).max(1) });
                }
                if scan && is_too_slow(&error) {
                    self.narrow(started, want);
                }
                self.failed(&error, batch, want, drained_by).await;
                ControlFlow::Continue(())
            }
        }
    }

    /// Starts the steps that an answer claims. `recorded` are the ends that the statement had.
    fn receive(&mut self, rows: Vec<ExecutionRow>, recorded: &[Pending], want: i32, scan: bool) {
        let answer = Answer::read(rows, recorded);
        report(recorded, &answer.refused, self.uncertain_until.is_none());
        self.next_due.extend(run_again(recorded));
        while self.next_due.len() > MAX_DUE {
            self.next_due.pop_last();
        }
        if answer.lost {
            self.lost = Some(Lost::Declared);
        } else if !self.running.has_lease() {
            // This process was frozen: others may run these steps already.
            self.lost = Some(Lost::Expired);
            return;
        }
        let claimed = i32::try_from(answer.claimed.len()).unwrap_or(i32::MAX);
        if let Some(scan) = answer.scanned {
            let removed = i32::try_from(scan.removed).unwrap_or(i32::MAX);
            let had_more = claimed.saturating_add(removed) >= want;
            self.scan |= had_more;
            self.bounds.raise(scan.found, scan.read_at, had_more);
        } else {
            // Steps that the ends made ready took all the room, so the queue was not read.
            self.scan |= scan || (want > 0 && claimed >= want);
        }
        for step in answer.claimed {
            self.running.insert(step.id, self.stopped.child_token());
            self.waiting.push_back(step);
        }
        self.start_waiting();
        metrics::counter!(STEP_CLAIMS.name).increment(claimed.unsigned_abs().into());
        self.measure();
    }

    /// Starts claimed steps while there is room. Only claims whose answers were lost can be too many.
    fn start_waiting(&mut self) {
        while self.started() < self.capacity()
            && let Some(step) = self.waiting.pop_front()
        {
            self.start(step);
        }
    }

    /// Starts a step, unless a heartbeat found its claim gone while it waited.
    fn start(&self, claimed: Claimed) {
        let Some(token) = self.running.token(&claimed.id) else {
            return;
        };
        if token.is_cancelled() {
            self.running.remove(&claimed.id);
            return;
        }
        let shared = Arc::clone(&self.shared);
        let (ends, worker) = (self.ends.clone(), self.worker);
        let (stopped, running) = (self.stopped.clone(), Arc::clone(&self.running));
        self.handlers.spawn(async move {
            let run = execute(shared, claimed, token, worker, &running);
            // Nobody hears of the end of a session that is over.
            if let Some(ended) = stopped.run_until_cancelled(run).await {
                ends.send(ended).ok();
            }
        });
    }
}

/// Returns when the steps run again that have just failed.
fn run_again(recorded: &[Pending]) -> impl Iterator<Item = Instant> {
    let now = Instant::now();
    let pauses = recorded
        .iter()
        .filter_map(|pending| match pending.end.state {
            EndState::Retry(pause_ms) => u64::try_from(pause_ms).ok(),
            EndState::Complete | EndState::Error => None,
        });
    pauses.map(move |pause_ms| now + Duration::from_millis(pause_ms))
}

/// Returns when to read the whole queue again after a read that began at `started`.
fn after_sweep(started: Instant) -> Instant {
    Instant::now() + SWEEP.max(started.elapsed() * SWEEP_SHARE)
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.registration.send_replace(None);
        self.stopped.cancel();
    }
}
