//! Where everybody notes what happens.

use std::sync::{Mutex, PoisonError};

use super::clock;
use super::history::{History, WriteKind};

/// A history in the making.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<History>);

impl Recorder {
    pub(super) fn with<T>(&self, note: impl FnOnce(&mut History) -> T) -> T {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A write that begins now.
    pub(super) fn write(&self, kind: WriteKind) -> u32 {
        self.with(|history| history.write(kind, clock::now()))
    }

    /// The commit is asked for no earlier than now.
    pub(super) fn committing(&self, number: u32) {
        let now = clock::now();
        self.with(|history| history.writes[number as usize].start = now);
    }

    pub(super) fn acknowledged(&self, number: u32, moment: u64) {
        self.with(|history| history.writes[number as usize].acknowledged = Some(moment));
    }

    pub(super) fn failed(&self, number: u32, moment: u64, code: &str) {
        self.with(|history| {
            let code = history.code(code);
            history.writes[number as usize].failed = Some((moment, code));
        });
    }

    pub(super) fn take(&self) -> History {
        self.with(std::mem::take)
    }
}
