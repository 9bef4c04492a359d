//! Asks again on a new connection while the first answer may never come, and leaves late ones to others.

use std::panic::resume_unwind;
use std::pin::pin;
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{sleep, timeout};

use super::{
    DatabaseCause, DatabaseError, addresses, diagnose, pool, pooler, query_on, run_idempotent,
};

/// The longest time for which a query goes on after its caller has given it up.
const GIVEN_UP_LIMIT: Duration = Duration::from_secs(5);

/// The time after which the second is asked.
pub const SECOND_ASKED_AFTER: Duration = Duration::from_millis(250);

/// Returns the answer of `first`. If it has not come soon, also runs `second`, and returns the first answer
/// that is good, or the last one.
pub async fn first_good<T>(
    first: impl Future<Output = T>,
    second: impl Future<Output = T>,
    is_good: impl Fn(&T) -> bool,
) -> T {
    let mut first = pin!(first);
    tokio::select! {
        answer = &mut first => return answer,
        () = sleep(SECOND_ASKED_AFTER) => {}
    }
    let second = pin!(second);
    match select(first, second).await {
        Either::Left((answer, second)) if !is_good(&answer) => second.await,
        Either::Right((answer, first)) if !is_good(&answer) => first.await,
        Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
    }
}

/// Runs `query` as [`run_idempotent`] does, and returns after `limit`. The query goes on until five seconds after
/// its begin, also if this future is dropped, and leaves its connection in `pool`. Where connecting takes longer
/// than `limit`, no attempt to connect would ever succeed if each ended with its query.
///
/// # Errors
/// As [`run_idempotent`].
pub async fn run_on<T: Send + 'static>(
    pool: &PgPool,
    limit: Duration,
    query: impl for<'c> FnMut(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>
    + Send
    + 'static,
) -> Result<T, DatabaseError> {
    let shared = pool.clone();
    let run = async move { run_idempotent(&shared, limit.max(GIVEN_UP_LIMIT), query).await };
    match timeout(limit, tokio::spawn(run)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(failed)) => match failed.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends.
            Err(_cancelled) => Err(DatabaseError::Late(limit)),
        },
        Err(_elapsed) => {
            addresses::note(&DatabaseError::Late(limit));
            let error = Box::pin(diagnose(pool, DatabaseError::Late(limit))).await;
            // By queries that were given up.
            let is_in_use = error.kind() == DatabaseCause::PoolExhausted;
            Err(if is_in_use {
                DatabaseError::Late(limit)
            } else {
                error
            })
        }
    }
}

/// Runs `query` within `limit` on a new connection with the route of `pool`, because those of the pool may
/// all have been lost in the same moment.
///
/// # Errors
/// [`DatabaseError::Late`] after `limit`; else the error of the connection or the query.
pub async fn run_anew<T>(
    pool: &PgPool,
    limit: Duration,
    query: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
) -> Result<T, DatabaseError> {
    let asking = async {
        let options = pool.connect_options();
        let mut connection = PgConnection::connect_with(&options).await?;
        if pooler::begin(pool).is_none() {
            pool::set_up(&mut connection, limit).await?;
        }
        query_on(pool, &mut connection, query).await
    };
    match timeout(limit, asking).await {
        Ok(answer) => answer.map_err(DatabaseError::from),
        Err(_elapsed) => Err(DatabaseError::Late(limit)),
    }
}
