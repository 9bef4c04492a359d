//! Shares the sessions of a server that has fewer than the pools of all processes may open.
//!
//! pgbouncer in session mode lets a connection wait until another one is closed, and PostgreSQL refuses it
//! once `max_connections` are open; the client library tries again then. A request that waits for a new
//! connection therefore takes one of this pool that comes back meanwhile. While that happens, one connection
//! after the other is closed, so that other processes get theirs. Connections that were not needed for a
//! while are closed as well.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgPool, Postgres};
use tokio::time::{sleep, timeout};

use super::pool::PING_LIMIT;
use super::query::Lease;

/// The time that a request leaves to a new connection before it looks for one that came back. Connecting
/// may take long because of TLS or distance, and a pool whose attempts are given up does not grow.
const PATIENCE: Duration = Duration::from_millis(500);
/// The interval at which it looks from then on, and from the start while sessions are scarce.
const LOOK: Duration = Duration::from_millis(50);
/// The time for which sessions count as scarce after a request has taken one that came back.
const SCARCE: Duration = Duration::from_secs(10);
/// The age from which connections are closed while sessions are scarce, and the least time between two of
/// them, because connecting may also take long for another reason.
const TURN: Duration = Duration::from_secs(1);
const BETWEEN_TURNS: Duration = Duration::from_millis(250);
/// The interval at which idle connections are counted, and the number of counts after which those that
/// were idle at each of them are closed.
const COUNT: Duration = Duration::from_millis(500);
const COUNTS: u32 = 10;

/// One for all pools, because a process uses one server.
static SCARCITY: Mutex<Scarcity> = Mutex::new(Scarcity {
    taken: None,
    given: None,
});

struct Scarcity {
    /// When a request took a connection that came back, although sessions did not count as scarce.
    taken: Option<Instant>,
    /// When a connection was last closed for others.
    given: Option<Instant>,
}

impl Scarcity {
    fn is_on(&self) -> bool {
        self.taken.is_some_and(|at| at.elapsed() < SCARCE)
    }
}

/// Acquires a connection. While a new one is waited for, takes one that comes back.
///
/// # Errors
/// Fails as [`PgPool::acquire`] does.
pub async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    tokio::select! {
        biased;
        acquired = pool.acquire() => acquired,
        returned = async { Box::pin(returned(pool)).await } => Ok(returned),
    }
}

/// Waits for a connection that comes back.
async fn returned(pool: &PgPool) -> PoolConnection<Postgres> {
    let is_scarce = scarcity().is_on();
    sleep(if is_scarce { LOOK } else { PATIENCE }).await;
    loop {
        // None while others wait for one that comes back, too: the pool has no more then.
        let Some(connection) = pool.try_acquire() else {
            sleep(LOOK).await;
            continue;
        };
        if !is_scarce {
            scarcity().taken = Some(Instant::now());
        }
        let mut lease = Lease::new(connection);
        let pong = timeout(PING_LIMIT, lease.connection().ping()).await;
        if matches!(pong, Ok(Ok(()))) {
            return lease.into_connection();
        }
    }
}

/// Returns true if a connection of this age has to be closed after its use, for other processes.
pub(super) fn has_had_its_turn(age: Duration) -> bool {
    let mut scarcity = scarcity();
    let is_next = scarcity
        .given
        .is_none_or(|at| at.elapsed() >= BETWEEN_TURNS);
    let has_had_it = scarcity.is_on() && is_next && age > TURN;
    if has_had_it {
        scarcity.given = Some(Instant::now());
    }
    has_had_it
}

fn scarcity() -> MutexGuard<'static, Scarcity> {
    SCARCITY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes connections of `pool` above `min_connections` that were not needed for a while, until the pool
/// is closed.
pub(crate) async fn close_unneeded(pool: PgPool) {
    let closed = pool.close_event();
    let closing = async {
        loop {
            let mut unneeded = usize::MAX;
            for _ in 0..COUNTS {
                sleep(COUNT).await;
                unneeded = unneeded.min(spare(&pool));
            }
            for _ in 0..unneeded {
                if let Some(connection) = pool.try_acquire() {
                    close(connection).await;
                }
            }
        }
    };
    tokio::select! {
        () = closed => {}
        () = closing => {}
    }
}

/// Returns the number of idle connections that `pool` may be without.
fn spare(pool: &PgPool) -> usize {
    let kept = usize::try_from(pool.options().get_min_connections()).unwrap_or(usize::MAX);
    pool.num_idle().saturating_sub(kept)
}

async fn close(connection: PoolConnection<Postgres>) {
    // A server that is silent does not hear a farewell.
    timeout(PING_LIMIT, connection.close()).await.ok();
}
