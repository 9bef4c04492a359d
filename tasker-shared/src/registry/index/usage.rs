//! The use of the index, which decides if it is kept current.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time for which the index is kept current after a resolve, so that the next one need not wait.
const KEPT_FOR: Duration = Duration::from_secs(3);

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
