//! Finds out why PostgreSQL did not answer, and who holds locks that others wait for.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::pool::LOCK_TIMEOUT;
use super::{DatabaseCause, DatabaseError};

/// The longest time that a diagnosis may take.
const LIMIT: Duration = Duration::from_millis(500);
/// The time for which a server that accepted a connection is taken to accept others.
const TRUSTED: Duration = Duration::from_secs(1);
/// The diagnoses that may be under way at once, because each opens a connection.
static TURNS: Semaphore = Semaphore::const_new(2);
/// The sessions for whose locks this program waits, and when that was found.
static HOLDERS: Mutex<Option<(Instant, String)>> = Mutex::new(None);
/// The time after which they are looked for again.
const NOTED_AGAIN: Duration = Duration::from_secs(1);
/// When a diagnosis has last found that the server accepts connections.
static ACCEPTED: Mutex<Option<Instant>> = Mutex::new(None);

/// Returns the fault behind `error`, which came from `pool`, after half a second at most. The pool tries
/// again while nothing listens, and then reports only that it waited for too long.
pub async fn diagnose(pool: &PgPool, error: DatabaseError) -> DatabaseError {
    if !matches!(
        error.kind(),
        DatabaseCause::Late | DatabaseCause::PoolExhausted
    ) {
        return error;
    }
    let accepts = *ACCEPTED.lock().unwrap_or_else(PoisonError::into_inner);
    if is_exhausted(pool) && accepts.is_some_and(|at| at.elapsed() < TRUSTED) {
        return sqlx::Error::PoolTimedOut.into();
    }
    let options = pool.connect_options();
    let connect = async {
        let _turn = TURNS.acquire().await;
        PgConnection::connect_with(&options).await
    };
    match timeout(LIMIT, connect).await {
        Ok(Err(failure)) => failure.into(),
        Ok(Ok(_connection)) => {
            *ACCEPTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            // Not before: connections that the pool tries to open count as its own.
            if is_exhausted(pool) {
                sqlx::Error::PoolTimedOut.into()
            } else {
                late(error)
            }
        }
        Err(_elapsed) => late(error),
    }
}

/// Returns `error` if it says for how long was waited, and not that connections are in use.
fn late(error: DatabaseError) -> DatabaseError {
    match error {
        DatabaseError::Late(_) => error,
        _ => DatabaseError::Late(LIMIT),
    }
}

/// Notes the sessions for whose locks this program waits. If `log`, logs them.
pub(super) async fn note_lock_holders(pool: &PgPool, log: bool) {
    // Once in a while is enough for everybody who waits.
    if !log && holders_since(NOTED_AGAIN).is_some() {
        return;
    }
    let Ok(_turn) = TURNS.try_acquire() else {
        return;
    };
    let options = pool.connect_options();
    let waits = async {
        // Not from the pool: this may be dropped at any moment.
        let mut connection = PgConnection::connect_with(&options).await?;
        lock_waits(&mut connection).await
    };
    let waits: Vec<LockWait> = waits.await.unwrap_or_default();
    note(&waits);
    for wait in waits.iter().filter(|_| log) {
        tracing::warn!(
            pid = wait.pid, locked_by = ?wait.locked_by, seconds = wait.seconds,
            "a session of this program waits for a lock"
        );
    }
}

fn note(waits: &[LockWait]) {
    let waiting: BTreeSet<i32> = waits.iter().map(|wait| wait.pid).collect();
    let in_front: BTreeSet<i32> = waits
        .iter()
        .flat_map(|wait| wait.locked_by.clone())
        .collect();
    // Sessions in front of another may wait themselves.
    let holders: Vec<String> = in_front.difference(&waiting).map(i32::to_string).collect();
    if !holders.is_empty() {
        let noted = Some((Instant::now(), holders.join(", ")));
        *HOLDERS.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }
}

/// Returns the sessions for whose locks this program waits, if they were noted within `age`.
fn holders_since(age: Duration) -> Option<String> {
    let noted = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let (at, holders) = noted.as_ref()?;
    (at.elapsed() < age).then(|| holders.clone())
}

/// Returns the error of somebody who waited for others of this program that wait for a lock. `None` if none
/// has waited within the last seconds.
#[must_use]
pub fn locked_recently() -> Option<DatabaseError> {
    holders_since(LOCK_TIMEOUT * 2).map(|holders| DatabaseError::Locked { holders })
}

/// Returns true if all connections that `pool` may open are in use.
#[must_use]
pub fn is_exhausted(pool: &PgPool) -> bool {
    pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections()
}

/// A session of this program that waits for a lock.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct LockWait {
    /// The process id of the session.
    pub pid: i32,
    /// The process ids of the sessions that hold the lock or wait for it in front.
    pub locked_by: Vec<i32>,
    /// The time for which its statement has run.
    pub seconds: f64,
}

/// Returns the sessions of this program, in any process, that wait for locks; at most 20.
pub async fn lock_waits(connection: &mut PgConnection) -> Result<Vec<LockWait>, sqlx::Error> {
    sqlx::query_as(
        "SELECT a.pid, pg_blocking_pids(a.pid) AS locked_by,
                extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS seconds
         FROM pg_stat_activity a
         WHERE a.datname = current_database() AND a.wait_event_type = 'Lock'
             AND a.usename = current_user
         ORDER BY a.query_start LIMIT 20",
    )
    .fetch_all(connection)
    .await
}
