//! The clock that all processes of this machine share.

use rustix::time::{ClockId, clock_gettime};

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;

/// Nanoseconds of the monotonic clock. It goes on while a process is frozen.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * SECOND + time.tv_nsec.cast_unsigned()
}
