//! The connections that are up, used in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;

use super::link::Link;

/// A fixed number of places, each with a connection or waiting for one. Nothing here waits.
pub(super) struct Slots {
    places: Box<[ArcSwapOption<Live>]>,
    turn: AtomicUsize,
}

/// A connection in its place.
pub(super) struct Live {
    pub(super) link: Link,
    /// When it was made.
    pub(super) since: Instant,
    place: usize,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self {
            places: (0..count).map(|_| ArcSwapOption::empty()).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The next connection that is up.
    pub(super) fn pick(&self) -> Option<Arc<Live>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..self.places.len())
            .find_map(|step| self.places[first.wrapping_add(step) % self.places.len()].load_full())
    }

    /// How many are up.
    pub(super) fn up(&self) -> usize {
        self.places
            .iter()
            .filter(|place| place.load().is_some())
            .count()
    }

    /// The places without a connection.
    pub(super) fn empty(&self) -> Vec<usize> {
        (0..self.places.len())
            .filter(|place| self.places[*place].load().is_none())
            .collect()
    }

    pub(super) fn install(&self, place: usize, link: Link) {
        self.places[place].store(Some(Arc::new(Live {
            link,
            since: Instant::now(),
            place,
        })));
    }

    /// Those that are up.
    pub(super) fn live(&self) -> Vec<Arc<Live>> {
        self.places
            .iter()
            .filter_map(ArcSwapOption::load_full)
            .collect()
    }

    /// Puts `link` in the place of this connection, if that is still there. Operations that are
    /// under way on it go on.
    pub(super) fn exchange(&self, live: Arc<Live>, link: Link) {
        let place = live.place;
        let newer = Arc::new(Live {
            link,
            since: Instant::now(),
            place,
        });
        self.places[place].compare_and_swap(&Some(live), Some(newer));
    }

    /// Takes this connection out of use, and says whether it was this call that did. Operations
    /// that are under way on it go on.
    pub(super) fn discard(&self, live: Arc<Live>) -> bool {
        let place = &self.places[live.place];
        let current = Some(live);
        let previous = place.compare_and_swap(&current, None);
        match (&*previous, &current) {
            (Some(previous), Some(discarded)) => Arc::ptr_eq(previous, discarded),
            _ => false,
        }
    }

    /// Takes all connections out of use.
    pub(super) fn clear(&self) {
        for place in &self.places {
            place.store(None);
        }
    }
}
