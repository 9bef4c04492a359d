//! What the requests of a row add up to.
//!
//! - A *request* is one resolve. It belongs to the time before the fault if it ended before it,
//!   to the time after if it began after it, else to the fault.
//! - The wait that was *added* to a request is what it took, less the longest that any request of
//!   the [control](crate::control) took that was under way at the same time. So what the machine or
//!   PostgreSQL cost at that moment is not taken for Redis' fault, and all else is.
//! - A request is *touched* if it spent over 10 ms in the cache layer, as the cache layer itself
//!   measures; the budget is 25 ms. Each read of Redis is one request's: no two resolvers ask for
//!   the same template. The share of requests that a fault touched is the share beyond that of the
//!   time before it, which is none on a machine that has time for us. These figures are the cache
//!   layer's own, so that it told of any is a bar, too.

use std::time::{Duration, Instant};

use crate::load::Sample;
use crate::observer::{Observed, Operation};

const TOUCHED: Duration = Duration::from_millis(10);
/// What was added to requests that are quicker than this is not worth finding out.
const SLOW: Duration = Duration::from_millis(5);
const ONSET: Duration = Duration::from_secs(1);

/// When a row's time began, when the fault did, when it was over, and when all ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) began: Instant,
    pub(crate) fault: Instant,
    pub(crate) over: Instant,
    pub(crate) ended: Instant,
}

/// Percentiles of durations.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Spread {
    pub(crate) fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut sorted: Vec<Duration> = durations.collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            sorted
                .get((sorted.len() * percent).div_ceil(100).saturating_sub(1))
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

/// What a row shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) failed: usize,
    pub(crate) before: Spread,
    pub(crate) during: Spread,
    pub(crate) after: Spread,
    /// The longest wait added to any request, from the fault on.
    pub(crate) added: Duration,
    /// The longest that any request spent in the cache layer, from the fault on.
    pub(crate) in_cache: Duration,
    /// The share of requests touched in the fault's first second, and in all of it.
    pub(crate) touched_at_onset: f64,
    pub(crate) touched: f64,
    /// How many were touched that began while the breaker was open.
    pub(crate) touched_while_open: usize,
    /// How many reads of Redis the cache layer told of before the fault.
    pub(crate) gets_before: usize,
    /// How often the breaker opened before the fault, and from then on.
    pub(crate) openings_before: usize,
    pub(crate) openings: usize,
}

impl Figures {
    pub(crate) fn of(
        times: Times,
        samples: &[Sample],
        control: &[Sample],
        observed: &Observed,
    ) -> Self {
        let samples: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.started >= times.began)
            .collect();
        let before = |sample: &Sample| sample.ended() < times.fault;
        let after = |sample: &Sample| sample.started >= times.over;
        let spread = |of: &dyn Fn(&Sample) -> bool| {
            Spread::of(
                samples
                    .iter()
                    .filter(|sample| of(sample))
                    .map(|sample| sample.took),
            )
        };
        let spans = observed.open_spans(times.ended);
        let (touched, touched_before): (Vec<&Operation>, Vec<&Operation>) = observed
            .gets
            .iter()
            .filter(|get| get.took > TOUCHED && get.started >= times.began)
            .partition(|get| get.started + get.took >= times.fault);
        let usual = ratio(
            touched_before.len(),
            samples.iter().filter(|sample| before(sample)).count(),
        );
        let opened = |early: bool| {
            observed
                .transitions
                .iter()
                .filter(|(at, opened)| {
                    *opened && *at >= times.began && (*at < times.fault) == early
                })
                .count()
        };
        let share = |end: Instant| {
            let touched = touched.iter().filter(|get| get.started < end).count();
            let requests = samples
                .iter()
                .filter(|sample| !before(sample) && sample.started < end)
                .count();
            (ratio(touched, requests) - usual).max(0.0)
        };
        Self {
            failed: samples.iter().filter(|sample| sample.failed).count(),
            before: spread(&before),
            during: spread(&|sample| !before(sample) && !after(sample)),
            after: spread(&after),
            added: samples
                .iter()
                .filter(|sample| !before(sample) && sample.took > SLOW)
                .map(|sample| sample.took.saturating_sub(longest_beside(sample, control)))
                .max()
                .unwrap_or_default(),
            in_cache: observed
                .gets
                .iter()
                .filter(|get| get.started + get.took >= times.fault)
                .map(|get| get.took)
                .max()
                .unwrap_or_default(),
            touched_at_onset: share(times.over.min(times.fault + ONSET)),
            touched: share(times.over),
            touched_while_open: touched
                .iter()
                .filter(|get| {
                    spans
                        .iter()
                        .any(|(open, close)| get.started > *open && get.started < *close)
                })
                .count(),
            gets_before: observed
                .gets
                .iter()
                .filter(|get| get.started >= times.began && get.started + get.took < times.fault)
                .count(),
            openings_before: opened(true),
            openings: opened(false),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.before.count + self.during.count + self.after.count
    }

    /// The share of the requests from the fault on that were touched while the breaker was open.
    pub(crate) fn share_touched_while_open(&self) -> f64 {
        ratio(
            self.touched_while_open,
            self.during.count + self.after.count,
        )
    }
}

/// The longest that a request of the control took that was under way while `sample` was.
fn longest_beside(sample: &Sample, control: &[Sample]) -> Duration {
    control
        .iter()
        .filter(|other| other.started < sample.ended() && other.ended() > sample.started)
        .map(|other| other.took)
        .max()
        .unwrap_or_default()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are far fewer requests than 2^52"
)]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Figures, Spread, Times};
    use crate::load::Sample;
    use crate::observer::{Observed, Operation};

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn times(start: Instant) -> Times {
        Times {
            began: start,
            fault: start + ms(1000),
            over: start + ms(3000),
            ended: start + ms(4000),
        }
    }

    fn sample(started: Instant, took: Duration) -> Sample {
        Sample {
            started,
            took,
            failed: false,
        }
    }

    #[test]
    fn what_the_control_took_at_the_same_time_is_not_added() {
        let start = Instant::now();
        let samples = [
            sample(start + ms(1100), ms(90)),
            sample(start + ms(2000), ms(50)),
        ];
        let control = [
            sample(start + ms(1150), ms(80)),
            sample(start + ms(500), ms(300)),
        ];
        let figures = Figures::of(times(start), &samples, &control, &Observed::default());
        assert_eq!(figures.added, ms(50));
    }

    #[test]
    fn requests_are_touched_by_what_they_spent_in_the_cache() {
        let start = Instant::now();
        let samples: Vec<Sample> = (0..40)
            .map(|number| sample(start + ms(number * 100), ms(1)))
            .collect();
        let get = |at, took| Operation {
            started: start + ms(at),
            took,
        };
        let observed = Observed {
            gets: vec![
                get(500, ms(5)),
                get(1010, ms(25)),
                get(1500, ms(25)),
                get(1600, ms(1)),
            ],
            transitions: vec![(start + ms(1400), true), (start + ms(3100), false)],
            ..Observed::default()
        };
        let figures = Figures::of(times(start), &samples, &[], &observed);
        assert!((figures.touched_at_onset - 0.2).abs() < 1e-9, "{figures:?}");
        assert!((figures.touched - 0.1).abs() < 1e-9, "{figures:?}");
        assert_eq!(figures.touched_while_open, 1);
        assert_eq!((figures.openings_before, figures.openings), (0, 1));
        assert_eq!(figures.gets_before, 1);
        assert_eq!(figures.in_cache, ms(25));
        assert_eq!(
            [figures.before, figures.during, figures.after].map(|spread| spread.count),
            [10, 20, 10]
        );
    }

    #[test]
    fn what_is_touched_without_a_fault_is_not_the_faults() {
        let start = Instant::now();
        let samples: Vec<Sample> = (0..40)
            .map(|number| sample(start + ms(number * 100), ms(1)))
            .collect();
        let gets = (0..40)
            .step_by(2)
            .map(|number| Operation {
                started: start + ms(number * 100),
                took: ms(11),
            })
            .collect();
        let observed = Observed {
            gets,
            ..Observed::default()
        };
        let figures = Figures::of(times(start), &samples, &[], &observed);
        assert!(figures.touched.abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let spread = Spread::of((1..=100).map(ms));
        assert_eq!(
            (spread.p50, spread.p99, spread.max),
            (ms(50), ms(99), ms(100))
        );
        assert_eq!(Spread::of(std::iter::empty()), Spread::default());
    }
}
