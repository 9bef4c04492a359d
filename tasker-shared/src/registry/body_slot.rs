//! Where the local tier holds the body of an entry of the directory: at the entry itself, so that a
//! warm resolve finds both with one look-up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;

use crate::types::HandlerMetadata;

/// A body that is held.
pub(crate) struct Held {
    pub(crate) metadata: Arc<HandlerMetadata>,
    pub(crate) since: Instant,
    /// What it counts, in bytes.
    pub(crate) weight: u64,
    /// Where it is in the order of the local tier, which alone uses this, under its lock.
    pub(crate) index: AtomicUsize,
}

/// The slot of one entry. Reading takes no lock and allocates nothing; only the local tier writes,
/// under its lock.
#[derive(Default)]
pub(crate) struct BodySlot {
    held: ArcSwapOption<Held>,
    /// Whether the body was used since this was last asked.
    used: AtomicBool,
}

impl BodySlot {
    /// The body, if one is held. Counts as a use of it.
    pub(crate) fn use_body(&self) -> Option<Arc<HandlerMetadata>> {
        let held = self.held.load();
        let metadata = Arc::clone(&held.as_ref()?.metadata);
        // To write what is there already would have all cores wait for this piece of memory.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Some(metadata)
    }

    /// What is held, which does not count as a use.
    pub(crate) fn held(&self) -> Option<Arc<Held>> {
        self.held.load_full()
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.load().is_none()
    }

    /// Holds this instead of what was held, which it answers.
    pub(crate) fn replace(&self, held: Option<Arc<Held>>) -> Option<Arc<Held>> {
        self.used.store(false, Ordering::Relaxed);
        self.held.swap(held)
    }

    /// Whether the body was used since this was last asked.
    pub(crate) fn take_use(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

impl std::fmt::Debug for BodySlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodySlot")
            .field("is_empty", &self.is_empty())
            .finish_non_exhaustive()
    }
}
