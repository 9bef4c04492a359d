//! The connections that are up, used in turn; requests at the same time share one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;

use super::link::Link;

/// How many requests may be under way on a connection before another one is taken. Those on one
/// connection are written and read in few system calls together, and share its troubles.
const SHARED_BY: usize = 16;

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
    under_way: AtomicUsize,
}

/// A connection that one request is under way on, until this is dropped.
pub(super) struct Lent(Arc<Live>);

impl Lent {
    fn new(live: Arc<Live>) -> Self {
        live.under_way.fetch_add(1, Ordering::Relaxed);
        Self(live)
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Live {
    fn new(link: Link, place: usize) -> Arc<Self> {
        Arc::new(Self {
            link,
            since: Instant::now(),
            place,
            under_way: AtomicUsize::new(0),
        })
    }
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

    /// The next connection that is up, and its turn.
    pub(super) fn pick(&self) -> Option<Arc<Live>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        (0..self.places.len())
            .find_map(|step| self.places[first.wrapping_add(step) % self.places.len()].load_full())
    }

    /// A connection for one request: the one whose turn it is while others are under way on it and
    /// they are not too many, else the next.
    pub(super) fn lend(&self) -> Option<Lent> {
        let place = self.turn.load(Ordering::Relaxed) % self.places.len();
        let shared = self.places[place]
            .load_full()
            .filter(|live| (1..SHARED_BY).contains(&live.under_way.load(Ordering::Relaxed)));
        shared.or_else(|| self.pick()).map(Lent::new)
    }

    /// All that are up.
    pub(super) fn lend_each(&self) -> Vec<Lent> {
        self.places
            .iter()
            .filter_map(ArcSwapOption::load_full)
            .map(Lent::new)
            .collect()
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
        self.places[place].store(Some(Live::new(link, place)));
    }

    /// Those whose cluster has changed.
    pub(super) fn outdated(&self) -> Vec<Arc<Live>> {
        self.places
            .iter()
            .filter_map(ArcSwapOption::load_full)
            .filter(|live| live.link.is_outdated())
            .collect()
    }

    /// Puts `link` in the place of this connection, if that is still there. Operations that are
    /// under way on it go on.
    pub(super) fn exchange(&self, live: Arc<Live>, link: Link) {
        let place = live.place;
        let newer = Live::new(link, place);
        self.places[place].compare_and_swap(&Some(live), Some(newer));
    }

    /// Takes this connection out of use, and says whether it was this call that did. Operations
    /// that are under way on it go on.
    pub(super) fn discard(&self, live: &Arc<Live>) -> bool {
        let place = &self.places[live.place];
        let current = Some(Arc::clone(live));
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
