//! Queries with deadlines, on connections that a cancelled query never spoils.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::time::{Instant, sleep, timeout_at};

use super::DatabaseError;

/// The pause before another connection is tried; random, so that callers spread.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(1)..Duration::from_millis(20);

/// Runs `query`, and again on another connection while connections turn out to be lost, until
/// `limit` has passed. After a restart of PostgreSQL the pool holds lost connections only.
///
/// `query` must do the same when it is done twice: read, or write what is then found written.
/// Cancelling the future closes the connection that it used.
pub async fn read<T>(
    pool: &PgPool,
    limit: Duration,
    mut query: impl for<'c> FnMut(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
) -> Result<T, DatabaseError> {
    let deadline = Instant::now() + limit;
    loop {
        match once(pool, deadline, limit, &mut query).await {
            Err(error) if error.is_connection_lost() && Instant::now() + PAUSE.end < deadline => {
                sleep(rand::random_range(PAUSE)).await;
            }
            result => return result,
        }
    }
}

/// Runs `query` once, within `limit`. Cancelling the future closes the connection that it used,
/// which rolls an open transaction back.
pub async fn write<T>(
    pool: &PgPool,
    limit: Duration,
    query: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
) -> Result<T, DatabaseError> {
    once(pool, Instant::now() + limit, limit, query).await
}

async fn once<T>(
    pool: &PgPool,
    deadline: Instant,
    limit: Duration,
    query: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
) -> Result<T, DatabaseError> {
    let work = async {
        let mut connection = InUse(Some(pool.acquire().await?));
        let answer = query(connection.get()).await;
        connection.answered();
        answer
    };
    let answered = timeout_at(deadline, work).await;
    Ok(answered.map_err(|_elapsed| DatabaseError::Late(limit))??)
}

/// A connection whose answer is awaited. If it is dropped before the answer came, the connection
/// is closed: the pool would ask it for a sign of life without a deadline, and a half-open one
/// would keep its place in the pool for as long as TCP takes to notice.
struct InUse(Option<PoolConnection<Postgres>>);

impl InUse {
    fn get(&mut self) -> &mut PgConnection {
        self.0
            .as_mut()
            .expect("a connection is there until it has answered")
    }

    fn answered(&mut self) {
        self.0 = None;
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}
