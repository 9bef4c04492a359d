//! How long operations took in the last minute.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The minute is kept as this many windows, so that what is old falls out step by step.
const WINDOWS: usize = 6;
const WINDOW: Duration = Duration::from_secs(10);

/// Four buckets for each doubling, from one microsecond to over a minute: a bucket's upper end
/// is at most a fourth above what is in it.
const STEPS: u32 = 4;
const BUCKETS: usize = 27 * STEPS as usize;

/// Counts durations without locks. Samples of a window's first instants can be lost when two
/// threads open it together, which percentiles do not show.
pub(super) struct Latency {
    start: Instant,
    windows: [Window; WINDOWS],
}

struct Window {
    /// Which ten seconds since the start it counts, plus one; 0 is none yet.
    number: AtomicU64,
    counts: [AtomicU32; BUCKETS],
}

impl Latency {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            windows: std::array::from_fn(|_| Window {
                number: AtomicU64::new(0),
                counts: std::array::from_fn(|_| AtomicU32::new(0)),
            }),
        }
    }

    pub(super) fn record(&self, now: Instant, took: Duration, count: u32) {
        let number = self.number(now);
        let window = &self.windows[place(number)];
        let seen = window.number.load(Ordering::Relaxed);
        if seen != number
            && window
                .number
                .compare_exchange(seen, number, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            for count in &window.counts {
                count.store(0, Ordering::Relaxed);
            }
        }
        window.counts[bucket(took)].fetch_add(count, Ordering::Relaxed);
    }

    /// The durations, in milliseconds, that these shares of the last minute's operations did not
    /// exceed.
    pub(super) fn percentiles_ms<const N: usize>(
        &self,
        now: Instant,
        percents: [u64; N],
    ) -> [Option<f64>; N] {
        let newest = self.number(now);
        let mut counts = [0_u64; BUCKETS];
        for window in &self.windows {
            let number = window.number.load(Ordering::Relaxed);
            if number == 0 || number + (WINDOWS as u64) <= newest {
                continue;
            }
            for (sum, count) in counts.iter_mut().zip(&window.counts) {
                *sum += u64::from(count.load(Ordering::Relaxed));
            }
        }
        let total: u64 = counts.iter().sum();
        percents.map(|percent| {
            let rank = (total * percent).div_ceil(100);
            let mut seen = 0;
            counts
                .iter()
                .position(|count| {
                    seen += count;
                    total > 0 && seen >= rank
                })
                .map(upper_end_ms)
        })
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / WINDOW.as_secs() + 1
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % WINDOWS as u64).expect("a remainder of six fits")
}

/// The doubling by the highest bit, the step within it by the two bits below that.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = micros.ilog2();
    let step = match doubling {
        0 => 0,
        1 => (micros & 1) * 2,
        _ => (micros >> (doubling - 2)) & 3,
    };
    let step = usize::try_from(step).expect("two bits fit");
    ((doubling * STEPS) as usize + step).min(BUCKETS - 1)
}

fn upper_end_ms(bucket: usize) -> f64 {
    let bucket = u32::try_from(bucket).expect("there are few buckets");
    let steps = f64::from(STEPS + bucket % STEPS + 1) / f64::from(STEPS);
    f64::from(1_u32 << (bucket / STEPS)) * steps / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Latency;

    #[test]
    fn percentiles_are_close_above_the_truth() {
        let start = Instant::now();
        let latency = Latency::new(start);
        for millis in 1..=100 {
            latency.record(start, Duration::from_millis(millis), 1);
        }
        let [p50, p99] = latency.percentiles_ms(start, [50, 99]);
        let (p50, p99) = (p50.expect("samples"), p99.expect("samples"));
        assert!((50.0..=62.5).contains(&p50), "{p50}");
        assert!((99.0..=123.8).contains(&p99), "{p99}");
    }

    #[test]
    fn a_minute_later_nothing_is_left() {
        let start = Instant::now();
        let latency = Latency::new(start);
        assert_eq!(latency.percentiles_ms(start, [50]), [None]);
        latency.record(start, Duration::from_micros(3), 1);
        assert!(latency.percentiles_ms(start + Duration::from_secs(49), [50])[0].is_some());
        assert_eq!(
            latency.percentiles_ms(start + Duration::from_mins(1), [50]),
            [None]
        );
    }

    #[test]
    fn extreme_durations_have_a_bucket() {
        let start = Instant::now();
        let latency = Latency::new(start);
        latency.record(start, Duration::ZERO, 1);
        latency.record(start, Duration::MAX, 1);
        let [low, high] = latency.percentiles_ms(start, [1, 100]);
        assert!(low.expect("samples") < high.expect("samples"));
    }
}
