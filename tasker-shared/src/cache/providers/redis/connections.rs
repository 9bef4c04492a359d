//! The connections that are up.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::connection::Connection;

/// A connection without an answer for so long is idle. Its server, or a proxy, may have closed it for
/// that reason alone. Short, because a wrong guess only costs an attempt to connect.
const IDLE: Duration = Duration::from_millis(100);

/// A fixed number of seats, each with a connection or waiting for one. Nothing here waits.
pub(super) struct Connections {
    seats: Box<[ArcSwapOption<Live>]>,
    /// Wakes those who wait for a connection.
    installed: Notify,
}

/// A connection in its seat.
pub(super) struct Live {
    pub(super) connection: Connection,
    /// The time at which it was made.
    pub(super) since: Instant,
    /// The time of the last answer, in milliseconds after `since`.
    answered: AtomicU64,
    seat: usize,
}

impl Live {
    fn new(connection: Connection, seat: usize) -> Arc<Self> {
        Arc::new(Self {
            connection,
            since: Instant::now(),
            answered: AtomicU64::new(0),
            seat,
        })
    }

    /// Notes an answer.
    pub(super) fn answered(&self) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered.store(millis, Ordering::Relaxed);
    }

    /// Returns true if it has had no answer for a while.
    pub(super) fn is_idle(&self) -> bool {
        let answered = Duration::from_millis(self.answered.load(Ordering::Relaxed));
        self.since.elapsed() >= answered + IDLE
    }
}

impl Connections {
    pub(super) fn new(count: usize) -> Self {
        Self {
            seats: (0..count).map(|_| ArcSwapOption::empty()).collect(),
            installed: Notify::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// Returns the connection for `key`, or the next one that is up.
    ///
    /// A key sticks to its connection, because the client library writes the commands together that
    /// come together on one connection.
    pub(super) fn pick(&self, key: &[u8]) -> Option<Arc<Live>> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        let first = usize::try_from(hash % self.seats.len() as u64).unwrap_or_default();
        (first..self.seats.len())
            .chain(0..first)
            .find_map(|seat| self.seats[seat].load_full())
    }

    /// Returns all that are up.
    pub(super) fn all(&self) -> Vec<Arc<Live>> {
        self.seats
            .iter()
            .filter_map(ArcSwapOption::load_full)
            .collect()
    }

    pub(super) fn up(&self) -> usize {
        self.len() - self.empty().count()
    }

    /// Returns the seats without a connection.
    pub(super) fn empty(&self) -> impl Iterator<Item = usize> {
        (0..self.seats.len()).filter(|seat| self.seats[*seat].load().is_none())
    }

    pub(super) fn install(&self, seat: usize, connection: Connection) {
        self.seats[seat].store(Some(Live::new(connection, seat)));
        self.installed.notify_waiters();
    }

    /// Waits until a connection is up.
    pub(super) async fn any_up(&self) {
        let mut installed = std::pin::pin!(self.installed.notified());
        loop {
            // Registered first, so that no connection is missed in between.
            installed.as_mut().enable();
            if self.up() > 0 {
                return;
            }
            installed.as_mut().await;
            installed.set(self.installed.notified());
        }
    }

    /// Replaces a connection, if it is still in use. Operations that are under way on it continue.
    pub(super) fn exchange(&self, live: Arc<Live>, connection: Connection) {
        let seat = live.seat;
        let newer = Live::new(connection, seat);
        self.seats[seat].compare_and_swap(&Some(live), Some(newer));
    }

    /// Takes a connection out of use, and returns whether this call did. Operations that are under
    /// way on it continue.
    pub(super) fn discard(&self, live: Arc<Live>) -> bool {
        let seat = &self.seats[live.seat];
        let current = Some(live);
        let previous = seat.compare_and_swap(&current, None);
        match (&*previous, &current) {
            (Some(previous), Some(discarded)) => Arc::ptr_eq(previous, discarded),
            _ => false,
        }
    }

    /// Takes all connections out of use.
    pub(super) fn clear(&self) {
        for seat in &self.seats {
            seat.store(None);
        }
    }
}
