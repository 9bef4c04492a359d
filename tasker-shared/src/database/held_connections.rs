//! Connections that reads hand to each other without the pool.
//!
//! When a connection goes back to its pool, the pool asks it for a sign of life: a round trip, as
//! long as a short query. A connection that has just answered has given one. So it stays here for a
//! moment, and the next read has it at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::runtime::{Handle, Id};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::lease::Lease;
use super::query::Connections;

/// How long a connection waits for the next read.
const LINGER: Duration = Duration::from_millis(10);
/// How long a connection may be kept from its pool, which looks after its age.
const LONGEST: Duration = Duration::from_secs(1);
/// How long a shutdown waits for connections to be given back.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Up to half of a pool's connections, but at least one, for one short read after the other; and those of
/// reads that may not wait for them, as the directory's first.
///
/// After a read its connection goes back to the pool if the pool gave it more than 1 s ago, or has no
/// other that is free; else it waits for the next read, and goes back when none came for 10 to 20 ms.
/// Reads that find all turns taken wait, first come, first served. Dropping this gives everything back.
pub(crate) struct HeldConnections {
    pool: PgPool,
    turns: Semaphore,
    waiting: Arc<Waiting>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// The connections that wait for a read.
#[derive(Default)]
struct Waiting(Mutex<State>);

#[derive(Default)]
struct State {
    /// The one that was used last is at the end, and is used next.
    connections: Vec<Idle>,
    /// The runtime in which somebody gives back what waits for too long.
    attended_in: Option<Id>,
    closed: bool,
}

struct Idle {
    connection: PoolConnection<Postgres>,
    leased: Instant,
    since: Instant,
}

impl HeldConnections {
    pub(crate) fn new(pool: PgPool) -> Self {
        let half = pool.options().get_max_connections() / 2;
        Self {
            pool,
            turns: Semaphore::new(usize::try_from(half).unwrap_or(1).max(1)),
            waiting: Arc::default(),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// The same connections without waiting for a turn: where there is none, it is one more that the
    /// pool gives. For one read at a time.
    pub(crate) fn without_turns(&self) -> WithoutTurns<'_> {
        WithoutTurns(self)
    }

    async fn lease_in<'a>(
        &'a self,
        turn: Option<SemaphorePermit<'a>>,
    ) -> Result<Lease<'a>, sqlx::Error> {
        let (connection, leased) = match self.waiting.take(Handle::current().id()) {
            Some(idle) => (idle.connection, idle.leased),
            None => (self.pool.acquire().await?, Instant::now()),
        };
        Ok(Lease::of_held(connection, self, leased, turn))
    }

    /// Has the next read use `connection`, which the pool is without since `leased`; or gives it back.
    /// Must be called within a Tokio runtime.
    pub(super) fn hold(&self, connection: PoolConnection<Postgres>, leased: Instant) {
        let now = Instant::now();
        let is_exhausted = self.pool.num_idle() == 0
            && self.pool.size() >= self.pool.options().get_max_connections();
        if is_exhausted || self.pool.is_closed() || now.duration_since(leased) > LONGEST {
            return;
        }
        let runtime = Handle::current();
        let mut state = self.waiting.lock();
        let is_elsewhere = state.attended_in.is_some_and(|id| id != runtime.id());
        if state.closed || is_elsewhere {
            drop(state);
            return;
        }
        state.connections.push(Idle {
            connection,
            leased,
            since: now,
        });
        if state.attended_in.replace(runtime.id()).is_none() {
            let attendant = Attendant(Arc::clone(&self.waiting));
            let cancel = self.cancel.clone();
            let work = async move { cancel.run_until_cancelled(attendant.attend()).await };
            // Tracked before a shutdown can look; spawned later, as it may be dropped at once, which
            // takes the lock.
            let work = self.tasks.track_future(work);
            drop(state);
            runtime.spawn(work.instrument(tracing::info_span!(parent: None, "held_connections")));
        }
    }

    /// Gives everything back, and holds nothing from now on. Reads go on through the pool.
    pub(crate) async fn shutdown(&self) {
        self.waiting.lock().closed = true;
        // The attendant gives back what waits, in its runtime.
        self.cancel.cancel();
        self.tasks.close();
        timeout(STOP_LIMIT, self.tasks.wait()).await.ok();
    }
}

impl Connections for HeldConnections {
    async fn lease(&self) -> Result<Lease<'_>, sqlx::Error> {
        let turn = self
            .turns
            .acquire()
            .await
            .map_err(|_closed| sqlx::Error::PoolClosed)?;
        self.lease_in(Some(turn)).await
    }
}

/// The same connections, for one that may not wait behind others.
pub(crate) struct WithoutTurns<'a>(&'a HeldConnections);

impl Connections for WithoutTurns<'_> {
    async fn lease(&self) -> Result<Lease<'_>, sqlx::Error> {
        self.0.lease_in(None).await
    }
}

impl Drop for HeldConnections {
    fn drop(&mut self) {
        // The attendant gives back what waits: that needs its runtime.
        self.cancel.cancel();
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was used last, in this runtime. On a connection of another one that stands still, no
    /// answer would ever be noticed.
    fn take(&self, runtime: Id) -> Option<Idle> {
        let mut state = self.lock();
        let is_here = state.attended_in == Some(runtime);
        is_here.then(|| state.connections.pop()).flatten()
    }
}

/// Gives back what waits for too long, until nothing waits. However it ends, nothing waits then.
struct Attendant(Arc<Waiting>);

impl Attendant {
    async fn attend(self) {
        loop {
            sleep(LINGER).await;
            let overdue: Vec<Idle> = {
                let mut state = self.0.lock();
                let now = Instant::now();
                let overdue = state
                    .connections
                    .partition_point(|idle| now.duration_since(idle.since) >= LINGER);
                state.connections.drain(..overdue).collect()
            };
            drop(overdue);
            if self.0.lock().connections.is_empty() {
                return;
            }
        }
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        let rest = {
            let mut state = self.0.lock();
            state.attended_in = None;
            std::mem::take(&mut state.connections)
        };
        drop(rest);
    }
}
