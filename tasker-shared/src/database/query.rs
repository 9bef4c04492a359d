//! Queries with deadlines. A cancelled query leaves no unusable connection in the pool.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::time::{Instant, sleep, timeout_at};

use super::diagnosis::{locked_recently, note_lock_holders};
use super::errors::is_outdated;
use super::pool::LOCK_TIMEOUT;
use super::{DatabaseError, acquire, addresses, diagnose, expiry, pooler};

/// The pause before another connection is tried; random, so that callers spread.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(1)..Duration::from_millis(20);

/// The time for which a statement runs before the holder of the lock is looked for that it may wait for.
const HOLDER_PAUSE: Duration = Duration::from_secs(1);

/// Runs `query` within `limit`. Runs it again if the connection turns out to be lost, because the
/// pool holds lost connections only after a restart of PostgreSQL; if PostgreSQL chose the query
/// as the victim of a deadlock; or if it waited for a lock for too long, and the limit allows that again.
/// The holder of that lock is logged, and named in the error.
///
/// Runs it on a new connection if this one leads to a demoted server, or was made before tables or
/// types were replaced. All connections of this process are then replaced before they are used again.
///
/// `query` must be idempotent: a first run may have been committed although its answer was lost.
/// Cancelling the future closes the connection that it used.
///
/// # Errors
/// [`DatabaseError::Late`] after `limit`; [`DatabaseError::Failed`] if the query fails for another
/// reason. If no connection came in time, the reason is looked for, for half a second at most.
pub async fn run_idempotent<T>(
    pool: &PgPool,
    limit: Duration,
    mut query: impl for<'c> FnMut(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
) -> Result<T, DatabaseError> {
    let deadline = Instant::now() + limit;
    let mut outdated = Outdated::default();
    let mut locked = None;
    loop {
        let mut is_connected = false;
        let repeats = locked.is_some();
        let run = async {
            let mut lease = Lease::new(acquire(pool).await?);
            is_connected = true;
            let answer = tokio::select! {
                biased;
                answer = query_on(pool, lease.connection(), &mut query) => answer,
                never = async { Box::pin(watch_locks(pool, repeats)).await } => match never {},
            };
            if !answer.as_ref().is_err_and(is_outdated) {
                lease.give_back();
            }
            answer
        };
        let answer = match timeout_at(deadline, run).await {
            Err(_elapsed) => {
                addresses::note(&DatabaseError::Late(limit));
                if is_connected {
                    return Err(locked.map_or(DatabaseError::Late(limit), with_holders));
                }
                return Err(Box::pin(diagnose(pool, DatabaseError::Late(limit))).await);
            }
            Ok(Err(error)) if is_outdated(&error) && outdated.may_be_replaced(pool) => {
                expiry::expire_connections();
                continue;
            }
            Ok(answer) => answer.map_err(DatabaseError::from),
        };
        if let Err(error) = &answer {
            addresses::note(error);
        }
        match answer {
            Err(error) if error.is_lock_timeout() && Instant::now() + LOCK_TIMEOUT < deadline => {
                tracing::warn!(%error, "a statement waits for a lock that another session holds; trying again");
                locked = Some(error);
            }
            Err(error)
                if (error.is_connection_lost() || error.is_deadlock())
                    && Instant::now() + PAUSE.end < deadline =>
            {
                sleep(rand::random_range(PAUSE)).await;
            }
            Err(error) if !is_connected => return Err(Box::pin(diagnose(pool, error)).await),
            Err(error) if error.is_lock_timeout() => return Err(with_holders(error)),
            answer => return answer,
        }
    }
}

/// The connections of a pool that may be outdated like the one that was tried first. The one after them is
/// new.
#[derive(Debug, Default)]
struct Outdated(Option<u32>);

impl Outdated {
    /// Returns false once all have been tried, and a new one.
    fn may_be_replaced(&mut self, pool: &PgPool) -> bool {
        // The pool gets smaller with each that was tried.
        let left = self.0.get_or_insert_with(|| pool.size() + 1);
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }
}

/// Finds out who holds the locks that this program waits for, and logs that if `log`. Never ends.
async fn watch_locks(pool: &PgPool, log: bool) -> Infallible {
    sleep(HOLDER_PAUSE).await;
    note_lock_holders(pool, log).await;
    pending().await
}

/// Returns the error of a wait for a lock, with its holders if they are known and not named in it.
fn with_holders(error: DatabaseError) -> DatabaseError {
    if error.to_string().contains("locked by pid") {
        return error;
    }
    locked_recently().unwrap_or(error)
}

/// Runs `query` on a connection of `pool`, in a transaction if the pooler demands one.
pub(crate) async fn query_on<T>(
    pool: &PgPool,
    connection: &mut PgConnection,
    query: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
) -> Result<T, sqlx::Error> {
    let Some(begin) = pooler::begin(pool) else {
        return query(connection).await;
    };
    let mut transaction = connection.begin_with(begin).await?;
    let answer = query(&mut transaction).await?;
    transaction.commit().await?;
    Ok(answer)
}

/// A connection that is closed if it is dropped before its answer came. The pool would ping it
/// without a deadline, and a half-open connection would keep its place in the pool for as long as
/// TCP takes to notice.
pub(super) struct Lease(Option<PoolConnection<Postgres>>);

impl Lease {
    pub(super) fn new(connection: PoolConnection<Postgres>) -> Self {
        Self(Some(connection))
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.0
            .as_mut()
            .expect("the connection is there until it is given back")
    }

    fn give_back(self) {
        drop(self.into_connection());
    }

    pub(super) fn into_connection(mut self) -> PoolConnection<Postgres> {
        self.0
            .take()
            .expect("the connection is there until it is given back")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // Without a farewell, which may hang as well, so that its place is free at once.
            drop(connection.detach());
        }
    }
}
