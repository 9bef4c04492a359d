//! Counts the events of a run, so that a run without interesting events fails.

use std::sync::atomic::{AtomicU64, Ordering};

/// An event without which a run proves little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Served,
    NewVersionServed,
    /// An index past its bound, or waiting for its own write, answered nothing.
    NotAllowed,
    Waits,
    /// A poll that was sent before the resolve arrived that waits came back past the bound.
    WaitsAgain,
    ReplyPastBound,
    OtherHistory,
    PollOfBeforeWrite,
    RedisHit,
    OtherHashRefused,
    OutdatedLoad,
    LateLoad,
    /// A document reached Redis after it had been replaced.
    LateFill,
    Registered,
    RetryFindsOwnWork,
    CrashBetweenCommitAndDelete,
}

const EVENTS: usize = Event::CrashBetweenCommitAndDelete as usize + 1;

/// Counts of the events, over all transitions that the checker has computed.
#[derive(Debug, Default)]
pub(crate) struct Witnesses([AtomicU64; EVENTS]);

impl Witnesses {
    pub(crate) fn note(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, event: Event) -> u64 {
        self.0[event as usize].load(Ordering::Relaxed)
    }
}
