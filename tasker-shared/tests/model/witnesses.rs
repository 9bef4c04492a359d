//! What happened in a run, so that a run in which nothing of interest can happen is noticed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Something that a run must have seen to mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Served,
    NewVersionServed,
    /// A directory past its bound, or waiting for its own write, answered nothing.
    NotAllowed,
    Waits,
    /// The poll that a resolve waited for came back past the bound.
    WaitsAgain,
    ReplyPastBound,
    OtherHistory,
    PollOfBeforeWrite,
    RedisHit,
    OtherHashRefused,
    OtherNameRefused,
    OutdatedLoad,
    LateLoad,
    /// A body reached Redis after its name had come to point elsewhere.
    LateFill,
    Retired,
    Registered,
    RetryFindsOwnWork,
    CrashBetweenCommitAndDelete,
    QuietWithABodyInRedis,
}

const EVENTS: usize = Event::QuietWithABodyInRedis as usize + 1;

/// How often each event happened, over all transitions that the checker has computed.
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
