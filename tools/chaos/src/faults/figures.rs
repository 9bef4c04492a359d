//! The figures of a row, and the bars that they have to meet.
//!
//! - A *request* is one resolve. It belongs to the time before the fault if it ended before it, to
//!   the time after if it began after it, otherwise to the fault.
//! - The time *added* to a request is its duration, less the longest duration of any request of the
//!   control, which has no Redis, at the same time. So the cost of a busy machine or a slow
//!   PostgreSQL at that moment is not blamed on Redis, and everything else is.
//! - A request is *touched* if it spent over 10 ms in the cache layer, as the cache layer's metrics
//!   say. The share touched by a fault is the share beyond that of the time before it.

use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::report::Misses;
use crate::subject::load::Sample;
use crate::subject::observer::{Event, Observation, Observed};
use crate::subject::{IN_USE_LIMIT, Registration};

const TOUCHED_AFTER: Duration = Duration::from_millis(10);
/// Requests that are quicker than this are not compared with the control.
const SLOW: Duration = Duration::from_millis(5);
const ONSET: Duration = Duration::from_secs(1);

/// Everything that was measured in a row.
pub(super) struct Measured {
    /// The moment from which requests count, the begin of the fault, and its end.
    pub(super) times: [Instant; 3],
    pub(super) samples: Vec<Sample>,
    pub(super) control: Vec<Sample>,
    pub(super) observed: Observed,
    pub(super) registrations: Vec<Registration>,
    /// From the return of Redis until it was in use again, or from the loss if it heals itself.
    pub(super) back: Option<Duration>,
    /// The duration of the start beyond `connection_timeout_seconds`.
    pub(super) late: Duration,
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
        let rank = |percent: usize| (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        let at = |percent| sorted.get(rank(percent)).copied().unwrap_or_default();
        Self {
            count: sorted.len(),
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// The figures of a row. Those without a time in their name are from the fault on.
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
    /// The median duration of registrations with Redis, less that without.
    pub(super) slower: Duration,
    /// The longest wait of a registration for Redis.
    pub(super) delete: Duration,
    pub(super) back: Option<Duration>,
    pub(super) late: Duration,
}

impl Figures {
    pub(super) fn of(measured: &Measured) -> Self {
        let [began, fault, over] = measured.times;
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
        let slow = from_fault.iter().filter(|sample| sample.took > SLOW);

        let gets = observed.of(Event::Get).filter(|get| get.started >= began);
        let (gets_before, gets): (Vec<&Observation>, Vec<&Observation>) =
            gets.partition(|get| get.ended() < fault);
        let is_touched = |get: &&&Observation| get.took > TOUCHED_AFTER;
        let usual = ratio(gets_before.iter().filter(is_touched).count(), before.len());
        let touched: Vec<_> = gets.iter().filter(is_touched).collect();
        let share = |end: Instant| {
            let touched = touched.iter().filter(|get| get.started < end).count();
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
            let all = measured.registrations.iter();
            let registered =
                all.filter(|it| it.with_redis == with_redis && (fault..over).contains(&it.ended));
            Spread::of(registered.map(|it| it.took)).p50
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
            added: longest(
                slow.map(|sample| sample.took.saturating_sub(longest_beside(sample, control))),
            ),
            in_cache: longest(gets.iter().map(|get| get.took)),
            touched_at_onset: share(over.min(fault + ONSET)),
            touched: share(over),
            touched_while_open: touched
                .iter()
                .filter(|get| observed.open_at(get.started))
                .count(),
            openings: since(Event::BreakerOpened, fault).count(),
            gets_before: gets_before.len(),
            refused_after: since(Event::Refused, over).count(),
            outdated_for: longest(from_fault.iter().map(|sample| sample.outdated_for)),
            slower: registered(true).saturating_sub(registered(false)),
            delete: longest(since(Event::Delete, fault).map(|delete| delete.took)),
            back: measured.back,
            late: measured.late,
        }
    }

    /// Returns the columns of the table with their headings.
    pub(super) fn columns(&self) -> [(&'static str, String); 13] {
        let ms = |duration: Duration| format!("{:.1}", 1000.0 * duration.as_secs_f64());
        let spread = |spread: Spread| {
            format!(
                "{} / {} / {}",
                ms(spread.p50),
                ms(spread.p99),
                ms(spread.max)
            )
        };
        let (onset, all) = (100.0 * self.touched_at_onset, 100.0 * self.touched);
        let touched = format!("{onset:.1}% / {all:.1}% / {}", self.touched_while_open);
        let requests = self.before.count + self.during.count + self.after.count;
        [
            ("requests", requests.to_string()),
            ("failed", self.failed.to_string()),
            ("before", spread(self.before)),
            ("during", spread(self.during)),
            ("after", spread(self.after)),
            ("added", ms(self.added)),
            ("in cache", ms(self.in_cache)),
            ("touched: first second / all / open", touched),
            ("opened", self.openings.to_string()),
            ("start late", ms(self.late)),
            ("back", self.back.map_or_else(|| String::from("never"), ms)),
            (
                "registering: slower / wait",
                format!("{} / {}", ms(self.slower), ms(self.delete)),
            ),
            ("outdated for", ms(self.outdated_for)),
        ]
    }

    /// Returns the bars that a row misses. `bound` is `max_staleness_ms`.
    pub(super) fn misses(&self, fault: Fault, local_tier: bool, bound: Duration) -> Misses {
        let mut misses = Misses::default();
        let counts = self.during.count + self.after.count;
        // Without reads of Redis a row shows nothing, because they are all that it could delay.
        let reads_redis = !local_tier && !fault.is_at_boot();
        let never_met = fault == Fault::Kill && self.refused_after == 0;
        for (wrong, text) in [
            (self.failed > 0, "requests failed"),
            (
                self.during.count == 0 || self.after.count == 0,
                "there was no load",
            ),
            (
                self.outdated_for > bound,
                "an answer was outdated for longer than the bound",
            ),
            (
                reads_redis && self.gets_before == 0,
                "no read of Redis was observed before the fault",
            ),
            (
                reads_redis && never_met,
                "no outdated document was met in Redis after its return",
            ),
            (self.back.is_none(), "Redis was not in use again"),
        ] {
            misses.wrong(wrong, text);
        }
        let ms = |duration: Duration| 1000.0 * duration.as_secs_f64();
        let while_open = 100.0 * ratio(self.touched_while_open, counts);
        let back = if fault.heals_itself() { 5000.0 } else { 2000.0 };
        // Each with its bar and its ceiling. A busy machine explains no time past the ceiling, not
        // even in a row of one second: a request that hangs until the shortest fault is over takes
        // that.
        for (value, bar, ceiling, text) in [
            (ms(self.added), 60.0, 700.0, "ms were added to a request"),
            (
                100.0 * self.touched_at_onset,
                5.0,
                90.0,
                "% were touched in the first second",
            ),
            (100.0 * self.touched, 5.0, 90.0, "% were touched in all"),
            (
                while_open,
                0.0,
                25.0,
                "% were touched while the breaker was open",
            ),
            (
                ms(self.back.unwrap_or_default()),
                back,
                ms(IN_USE_LIMIT),
                "ms until in use again",
            ),
            (ms(self.late), 500.0, 5000.0, "ms late at the start"),
            (ms(self.slower), 30.0, 500.0, "ms slower registrations"),
            (
                ms(self.delete),
                30.0,
                500.0,
                "ms that a registration waited for Redis",
            ),
        ] {
            misses.above(value, bar, ceiling, text);
        }
        misses
    }
}

fn longest(durations: impl Iterator<Item = Duration>) -> Duration {
    durations.max().unwrap_or_default()
}

/// Returns the longest duration of a request of the control that was under way with `sample`.
fn longest_beside(sample: &Sample, control: &[Sample]) -> Duration {
    let is_beside =
        |other: &&Sample| other.started < sample.ended() && other.ended() > sample.started;
    longest(control.iter().filter(is_beside).map(|other| other.took))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are far fewer requests than 2^52"
)]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
