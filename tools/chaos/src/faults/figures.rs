//! The figures of a row, and the bars that they have to meet.
//!
//! - A *request* is one resolve. It belongs to the time before the fault if it ended before it, to
//!   the time after if it began after it, otherwise to the fault.
//! - The time *added* to a request is its duration, less the longest duration of any request of the
//!   control, which has no Redis, at the same time. So the cost of a busy machine or a slow
//!   PostgreSQL at that moment is not blamed on Redis, and everything else is.

use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::report::Misses;
use crate::subject::load::Sample;
use crate::subject::{IN_USE_LIMIT, Registration};

/// Requests that are quicker than this are not compared with the control.
const SLOW: Duration = Duration::from_millis(5);

/// Everything that was measured in a row.
pub(super) struct Measured {
    /// The moment from which requests count, the begin of the fault, and its end.
    pub(super) times: [Instant; 3],
    pub(super) samples: Vec<Sample>,
    pub(super) control: Vec<Sample>,
    pub(super) registrations: Vec<Registration>,
    /// From the return of Redis until it was in use again, or from the loss if it heals itself.
    pub(super) back: Option<Duration>,
    /// The duration of the start beyond `connection_timeout_seconds`.
    pub(super) late: Duration,
}

/// The figures of a row. Those without a time in their name are from the fault on.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) failed: usize,
    /// Requests.
    pub(super) before: usize,
    pub(super) during: usize,
    pub(super) after: usize,
    pub(super) added: Duration,
    /// Answers of Redis before the fault.
    pub(super) from_redis_before: usize,
    /// There were registrations during the fault, with Redis and without.
    pub(super) registered: bool,
    /// The median duration of registrations with Redis, less that without.
    pub(super) slower: Duration,
    /// The longest registration with Redis, less the longest without.
    pub(super) longer: Duration,
    pub(super) back: Option<Duration>,
    pub(super) late: Duration,
}

impl Figures {
    pub(super) fn of(measured: &Measured) -> Self {
        let [began, fault, over] = measured.times;
        let control = &measured.control;
        let samples = measured.samples.iter();
        let failed = samples.clone().filter(|sample| sample.failed).count();
        let all = samples.filter(|sample| sample.started >= began);
        let (before, from_fault): (Vec<&Sample>, Vec<&Sample>) =
            all.partition(|sample| sample.ended() < fault);
        let after = from_fault.iter().filter(|it| it.started >= over).count();
        let slow = from_fault.iter().filter(|sample| sample.took > SLOW);

        let registered = |with_redis: bool| {
            let all = measured.registrations.iter();
            let during = all.filter_map(|it| {
                let took = it.took.unwrap_or_else(|| it.started.elapsed());
                let is_during = it.started < over && it.started + took > fault;
                (it.with_redis == with_redis && is_during).then_some(took)
            });
            let mut took: Vec<_> = during.collect();
            took.sort_unstable();
            let median = took.get(took.len().saturating_sub(1) / 2)?;
            Some([*median, *took.last()?])
        };
        let compared = registered(true).zip(registered(false));
        let (with_redis, without) = compared.unwrap_or_default();
        let [slower, longer] = [0, 1].map(|it| with_redis[it].saturating_sub(without[it]));
        Self {
            failed,
            before: before.len(),
            during: from_fault.len() - after,
            after,
            added: longest(
                slow.map(|sample| sample.took.saturating_sub(longest_beside(sample, control))),
            ),
            from_redis_before: before.iter().filter(|sample| sample.from_redis).count(),
            registered: compared.is_some(),
            slower,
            longer,
            back: measured.back,
            late: measured.late,
        }
    }

    /// Returns the columns of the table with their headings.
    pub(super) fn columns(&self) -> [(&'static str, String); 6] {
        let ms = |duration: Duration| format!("{:.1}", 1000.0 * duration.as_secs_f64());
        let requests = self.before + self.during + self.after;
        [
            ("requests", requests.to_string()),
            ("failed", self.failed.to_string()),
            ("added", ms(self.added)),
            ("start late", ms(self.late)),
            ("back", self.back.map_or_else(|| String::from("never"), ms)),
            (
                "registering: slower / longer",
                format!("{} / {}", ms(self.slower), ms(self.longer)),
            ),
        ]
    }

    /// Returns the bars that a row misses.
    pub(super) fn misses(&self, fault: Fault, local_tier: bool) -> Misses {
        let mut misses = Misses::default();
        // Without reads of Redis a row shows nothing, because they are all that it could delay.
        let reads_redis = !local_tier && !fault.is_at_boot();
        for (wrong, text) in [
            (self.failed > 0, "requests failed"),
            (self.during == 0 || self.after == 0, "there was no load"),
            (
                reads_redis && self.from_redis_before == 0,
                "nothing was read from Redis before the fault",
            ),
            (self.back.is_none(), "Redis was not in use again"),
            (
                !self.registered && fault != Fault::PostgresSlow,
                "no registrations can be compared",
            ),
        ] {
            misses.wrong(wrong, text);
        }
        let ms = |duration: Duration| 1000.0 * duration.as_secs_f64();
        let back = if fault.heals_itself() { 5000.0 } else { 2000.0 };
        // Each with its bar and its ceiling. A busy machine explains no time past the ceiling, not
        // even in a row of one second: a request that hangs until the shortest fault is over takes
        // that.
        for (value, bar, ceiling, text) in [
            (self.added, 60.0, 700.0, "ms were added to a request"),
            (
                self.back.unwrap_or_default(),
                back,
                ms(IN_USE_LIMIT),
                "ms until in use again",
            ),
            (self.late, 500.0, 5000.0, "ms late at the start"),
            (self.slower, 30.0, 500.0, "ms slower registrations"),
            (self.longer, 60.0, 700.0, "ms were added to a registration"),
        ] {
            misses.above(ms(value), bar, ceiling, text);
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
