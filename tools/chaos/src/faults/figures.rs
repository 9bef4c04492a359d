//! The figures of a row, and the bars that they have to meet.
//!
//! - A *request* is one resolve. It belongs to the time before the fault if it ended before it, to
//!   the time after if it began after it, otherwise to the fault.
//! - The time *added* to a request is its duration, less the longest duration of any request of the
//!   [control](super::control) that was under way at the same time. So the cost of a busy machine
//!   or a slow PostgreSQL at that moment is not blamed on Redis, and everything else is.
//! - A request is *touched* if it spent over 10 ms in the cache layer, as the cache layer's metrics
//!   say. The share touched by a fault is the share beyond that of the time before it.

use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::report::Misses;
use crate::subject::load::Sample;
use crate::subject::observer::{Event, Observation, Observed};
use crate::subject::{LocalTier, Registration};

const TOUCHED_AFTER: Duration = Duration::from_millis(10);
/// Requests that are quicker than this are not compared with the control.
const SLOW: Duration = Duration::from_millis(5);
const ONSET: Duration = Duration::from_secs(1);

/// The budget of 25 ms, and scheduling.
pub(super) const ADDED: Duration = Duration::from_millis(60);
/// The share of requests that may be touched, in the first second and in all.
pub(super) const TOUCHED: f64 = 0.05;
/// From the return of Redis until it is in use.
pub(super) const BACK: Duration = Duration::from_secs(2);
/// From the loss of a primary until its successor is in use.
pub(super) const BACK_BY_ITSELF: Duration = Duration::from_secs(5);
/// Beyond `connection_timeout_seconds`.
const CONNECTED_LATE: Duration = Duration::from_millis(500);
/// How much slower a registration may be, and how long it may wait for Redis.
const REGISTRATION: Duration = Duration::from_millis(30);

/// A busy machine explains no time past its ceiling, not even in a row of one second. A request that
/// hangs until the shortest fault is over takes a second.
const ADDED_CEILING: Duration = Duration::from_millis(700);
const TOUCHED_CEILING: f64 = 0.9;
/// Of the requests from the fault on.
const TOUCHED_WHILE_OPEN_CEILING: f64 = 0.25;
/// Also the limit for waiting until a Redis is in use again.
pub(crate) const BACK_CEILING: Duration = Duration::from_secs(15);
const CONNECTED_CEILING: Duration = Duration::from_secs(5);
const REGISTRATION_CEILING: Duration = Duration::from_millis(500);

/// The moments of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) began: Instant,
    pub(super) fault: Instant,
    pub(super) over: Instant,
}

/// Everything that was measured in a row.
pub(super) struct Measured {
    pub(super) times: Times,
    pub(super) samples: Vec<Sample>,
    pub(super) control: Vec<Sample>,
    pub(super) observed: Observed,
    pub(super) registrations: Vec<Registration>,
    /// From the return of Redis until it was in use again, or from the loss if it heals itself.
    pub(super) back: Option<Duration>,
    pub(super) connected_in: Duration,
}

/// Percentiles of durations.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Spread {
    pub(super) count: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

impl Spread {
    pub(super) fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut sorted: Vec<Duration> = durations.collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Self {
            count: sorted.len(),
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// The figures of a row. Those without a time are from the fault on.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) failed: usize,
    pub(super) before: Spread,
    pub(super) during: Spread,
    pub(super) after: Spread,
    pub(super) added: Duration,
    /// The longest time of a request in the cache layer.
    pub(super) in_cache: Duration,
    pub(super) touched_at_onset: f64,
    pub(super) touched: f64,
    pub(super) touched_while_open: usize,
    pub(super) openings: usize,
    pub(super) gets_before: usize,
    /// Outdated documents of Redis that were refused after its return.
    pub(super) refused_after: usize,
    /// The longest time for which an answer had been outdated when its request began.
    pub(super) outdated_for: Duration,
    /// How much slower registrations are with Redis than without, in the median.
    pub(super) slower: Duration,
    /// The longest wait of a registration for Redis.
    pub(super) delete: Duration,
    pub(super) back: Option<Duration>,
    pub(super) connected_in: Duration,
}

impl Figures {
    pub(super) fn of(measured: &Measured) -> Self {
        let Times { began, fault, over } = measured.times;
        let Measured {
            control, observed, ..
        } = measured;
        let all = measured
            .samples
            .iter()
            .filter(|sample| sample.started >= began);
        let (before, from_fault): (Vec<&Sample>, Vec<&Sample>) =
            all.partition(|sample| sample.ended() < fault);
        let (after, during): (Vec<&Sample>, Vec<&Sample>) =
            from_fault.iter().partition(|sample| sample.started >= over);
        let spread = |samples: &[&Sample]| Spread::of(samples.iter().map(|sample| sample.took));
        let longest = |of: &dyn Fn(&Sample) -> Duration| {
            from_fault
                .iter()
                .map(|sample| of(sample))
                .max()
                .unwrap_or_default()
        };

        let gets = observed.of(Event::Get).filter(|get| get.started >= began);
        let (gets_before, gets): (Vec<&Observation>, Vec<&Observation>) =
            gets.partition(|get| get.ended() < fault);
        let is_touched = |get: &&&Observation| get.took > TOUCHED_AFTER;
        let usual = ratio(gets_before.iter().filter(is_touched).count(), before.len());
        let touched = gets.iter().filter(is_touched);
        let share = |end: Instant| {
            let touched = touched.clone().filter(|get| get.started < end).count();
            let requests = from_fault
                .iter()
                .filter(|sample| sample.started < end)
                .count();
            (ratio(touched, requests) - usual).max(0.0)
        };
        let since = |event, moment| {
            observed
                .of(event)
                .filter(move |seen| seen.ended() >= moment)
        };
        let registered = |with_redis: bool| {
            let registered = measured.registrations.iter().filter(|registration| {
                registration.with_redis == with_redis && (fault..over).contains(&registration.ended)
            });
            Spread::of(registered.map(|registration| registration.took)).p50
        };
        Self {
            failed: measured
                .samples
                .iter()
                .filter(|sample| sample.failed)
                .count(),
            before: spread(&before),
            during: spread(&during),
            after: spread(&after),
            added: longest(&|sample| {
                if sample.took <= SLOW {
                    return Duration::ZERO;
                }
                sample.took.saturating_sub(longest_beside(sample, control))
            }),
            in_cache: gets.iter().map(|get| get.took).max().unwrap_or_default(),
            touched_at_onset: share(over.min(fault + ONSET)),
            touched: share(over),
            touched_while_open: touched
                .clone()
                .filter(|get| observed.open_at(get.started))
                .count(),
            openings: since(Event::BreakerOpened, fault).count(),
            gets_before: gets_before.len(),
            refused_after: since(Event::Refused, over).count(),
            outdated_for: longest(&|sample| sample.outdated_for),
            slower: registered(true).saturating_sub(registered(false)),
            delete: since(Event::Delete, fault)
                .map(|delete| delete.took)
                .max()
                .unwrap_or_default(),
            back: measured.back,
            connected_in: measured.connected_in,
        }
    }

    pub(super) fn requests(&self) -> usize {
        self.before.count + self.during.count + self.after.count
    }

    /// Returns the bars that a row misses. `bound` is `max_staleness_ms`, `connecting` is
    /// `connection_timeout_seconds`.
    pub(super) fn misses(
        &self,
        fault: Fault,
        local_tier: LocalTier,
        connecting: u32,
        bound: Duration,
    ) -> Misses {
        let mut misses = Misses::default();
        let none = self.during.count == 0 || self.after.count == 0;
        misses.wrong(self.failed > 0, format!("{} requests failed", self.failed));
        misses.wrong(none, "there was no load");
        misses.wrong(
            self.outdated_for > bound,
            format!("an answer had been outdated for {:?}", self.outdated_for),
        );
        // Without these a row shows nothing, because a cache layer that reads nothing delays nothing.
        let reads_redis = local_tier == LocalTier::Off && !fault.is_at_boot();
        misses.wrong(
            reads_redis && self.gets_before == 0,
            "no read of Redis was observed before the fault",
        );
        misses.wrong(
            reads_redis && fault == Fault::Kill && self.refused_after == 0,
            "no outdated document was met in Redis after its return",
        );
        misses.above(
            self.added,
            ADDED,
            ADDED_CEILING,
            format!("{:?} were added", self.added),
        );
        for (share, when) in [
            (self.touched_at_onset, "in the first second"),
            (self.touched, "in all"),
        ] {
            let text = format!("{:.1}% of requests were touched {when}", share * 100.0);
            misses.above(share, TOUCHED, TOUCHED_CEILING, text);
        }
        let while_open = ratio(
            self.touched_while_open,
            self.during.count + self.after.count,
        );
        let text = format!(
            "{} requests were touched while the breaker was open",
            self.touched_while_open
        );
        misses.above(while_open, 0.0, TOUCHED_WHILE_OPEN_CEILING, text);
        let limit = if fault.heals_itself() {
            BACK_BY_ITSELF
        } else {
            BACK
        };
        misses.wrong(self.back.is_none(), "not in use again");
        let back = self.back.unwrap_or_default();
        misses.above(
            back,
            limit,
            BACK_CEILING,
            format!("in use again after {back:?}"),
        );
        let late = self
            .connected_in
            .saturating_sub(Duration::from_secs(connecting.into()));
        let text = format!("starting took {:?}", self.connected_in);
        misses.above(late, CONNECTED_LATE, CONNECTED_CEILING, text);
        for (time, text) in [
            (
                self.slower,
                format!("registrations are {:?} slower", self.slower),
            ),
            (
                self.delete,
                format!("a registration waited {:?} for Redis", self.delete),
            ),
        ] {
            misses.above(time, REGISTRATION, REGISTRATION_CEILING, text);
        }
        misses
    }
}

/// Returns the longest duration of a request of the control that was under way with `sample`.
fn longest_beside(sample: &Sample, control: &[Sample]) -> Duration {
    let beside = control
        .iter()
        .filter(|other| other.started < sample.ended() && other.ended() > sample.started);
    beside.map(|other| other.took).max().unwrap_or_default()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are far fewer requests than 2^52"
)]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
