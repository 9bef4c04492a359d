//! The time of the template index: moments, its deadline, and its last use.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The time for which the index is kept current after a resolve, so that the next one need not wait.
const KEPT_FOR: Duration = Duration::from_secs(3);

/// The clock of [`Moment`]. `Instant` would stand still on Linux while the machine is suspended.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A moment on the machine's monotonic clock, which also advances while the process is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(CLOCK);
        // Nanoseconds fit in 64 bits for five hundred years. Moments start at one, because zero means
        // "never".
        let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
        Self(seconds * 1_000_000_000 + nanos + 1)
    }

    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The deadline until which the pointers may be used.
#[derive(Debug)]
pub(crate) struct Validity {
    max_staleness_nanos: u64,
    // The last moment at which the pointers may be used; zero when they may not be.
    until: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    // The time at which the newest successful poll was sent.
    sent: u64,
    // Polls sent before this do not count, because this process has written since.
    required: u64,
}

impl Validity {
    pub(crate) fn new(max_staleness: Duration) -> Self {
        Self {
            max_staleness_nanos: u64::try_from(max_staleness.as_nanos()).unwrap_or(u64::MAX),
            until: AtomicU64::new(0),
            inner: Mutex::new(Inner::default()),
        }
    }

    /// Returns true if the pointers may be used at `now`.
    pub(crate) fn holds_at(&self, now: Moment) -> bool {
        // Acquire, because a reader that sees the renewed deadline must also see the snapshot.
        now.0 <= self.until.load(Ordering::Acquire)
    }

    /// Extends the deadline after a successful poll that was sent at `sent`. Its snapshot must be
    /// stored already.
    pub(crate) fn renew(&self, sent: Moment) {
        self.update(|inner| inner.sent = inner.sent.max(sent.0));
    }

    /// Makes only polls count that are sent at `moment` or later.
    pub(crate) fn require(&self, moment: Moment) {
        self.update(|inner| inner.required = inner.required.max(moment.0));
    }

    /// Returns the earliest moment at which a poll may have been sent to be useful at `now`.
    pub(crate) fn not_before(&self, now: Moment) -> Moment {
        let required = self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .required;
        Moment(required.max(now.0.saturating_sub(self.max_staleness_nanos)))
    }

    /// Returns true if this process has written since the newest successful poll was sent.
    pub(crate) fn is_superseded(&self) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sent < inner.required
    }

    fn update(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut inner);
        let valid = inner.sent != 0 && inner.sent >= inner.required;
        let until = if valid {
            inner.sent.saturating_add(self.max_staleness_nanos)
        } else {
            0
        };
        self.until.store(until, Ordering::Release);
    }
}

/// The use of the index, which decides if it is kept current.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Set by resolves, and cleared when somebody asks.
    was_used: AtomicBool,
    last_seen: Mutex<Option<Instant>>,
}

impl Usage {
    /// Notes a resolve. Writes only if it must, because all cores resolve.
    pub(super) fn note(&self) {
        if !self.was_used.load(Ordering::Relaxed) {
            self.was_used.store(true, Ordering::Relaxed);
        }
    }

    /// Returns true if something was resolved since the last call, or shortly before it.
    pub(super) fn is_recent(&self) -> bool {
        let mut last_seen = self
            .last_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.was_used.swap(false, Ordering::Relaxed) {
            *last_seen = Some(Instant::now());
        }
        last_seen.is_some_and(|seen| seen.elapsed() < KEPT_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::{Moment, Validity};
    use std::time::Duration;

    const BOUND: Duration = Duration::from_nanos(100);

    #[cfg(target_os = "linux")]
    #[test]
    fn moments_count_the_time_for_which_the_machine_was_suspended() {
        let boot_time = || {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            Duration::new(now.tv_sec.unsigned_abs(), 0)
                + Duration::from_nanos(now.tv_nsec.unsigned_abs())
        };
        let before = boot_time();
        let now = Moment::now().since(Moment(1));
        assert!(before <= now && now <= boot_time());
    }

    #[test]
    fn pointers_are_valid_for_the_bound_after_the_poll_was_sent() {
        let validity = Validity::new(BOUND);
        assert!(!validity.holds_at(Moment(1)));
        validity.renew(Moment(50));
        assert!(validity.holds_at(Moment(150)));
        assert!(!validity.holds_at(Moment(151)));
    }

    #[test]
    fn a_late_report_of_an_earlier_poll_does_not_shorten_the_deadline() {
        let validity = Validity::new(BOUND);
        validity.renew(Moment(50));
        validity.renew(Moment(20));
        assert!(validity.holds_at(Moment(150)));
    }

    #[test]
    fn a_write_makes_polls_sent_before_it_useless() {
        let validity = Validity::new(BOUND);
        validity.renew(Moment(50));
        validity.require(Moment(60));
        assert!(!validity.holds_at(Moment(60)));
        validity.renew(Moment(55));
        assert!(!validity.holds_at(Moment(60)));
        assert!(validity.is_superseded());
        validity.renew(Moment(60));
        assert!(!validity.is_superseded());
        assert!(validity.holds_at(Moment(160)));
    }

    #[test]
    fn a_poll_is_useful_if_it_is_within_the_bound_and_after_the_last_write() {
        let validity = Validity::new(BOUND);
        assert_eq!(validity.not_before(Moment(500)), Moment(400));
        validity.require(Moment(450));
        assert_eq!(validity.not_before(Moment(500)), Moment(450));
    }
}
