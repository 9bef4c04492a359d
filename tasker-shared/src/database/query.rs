//! Queries with deadlines, on connections that a cancelled query never spoils.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, sleep, timeout_at};

use super::DatabaseError;
use super::errors::is_deadlock;
use super::lease::Lease;

/// The pause before another connection is tried; random, so that callers spread.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(1)..Duration::from_millis(20);

/// Where a query gets its connection.
pub(crate) trait Connections: Sync {
    /// A connection for one query. Waits until there is one.
    fn lease(&self) -> impl Future<Output = Result<Lease<'_>, sqlx::Error>> + Send;
}

impl Connections for PgPool {
    async fn lease(&self) -> Result<Lease<'_>, sqlx::Error> {
        Ok(Lease::of(self.acquire().await?))
    }
}

/// Runs `query`, and again on another connection while connections turn out to be lost or PostgreSQL
/// gives it up in a deadlock, until `limit` has passed. After a restart of PostgreSQL the pool holds
/// lost connections only.
///
/// `query` must do the same when it is done twice: read, or write what is then found written.
/// Cancelling the future closes the connection that it used.
pub async fn read<T>(
    pool: &PgPool,
    limit: Duration,
    query: impl for<'c> FnMut(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
) -> Result<T, DatabaseError> {
    read_on(pool, limit, query).await
}

/// Does what [`read`] does, on connections of another kind.
pub(crate) async fn read_on<T>(
    connections: &impl Connections,
    limit: Duration,
    mut query: impl for<'c> FnMut(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
) -> Result<T, DatabaseError> {
    let deadline = Instant::now() + limit;
    loop {
        match once(connections, deadline, limit, &mut query).await {
            Err(error)
                if (error.is_connection_lost() || is_deadlock(&error))
                    && Instant::now() + PAUSE.end < deadline =>
            {
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
    connections: &impl Connections,
    deadline: Instant,
    limit: Duration,
    query: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
) -> Result<T, DatabaseError> {
    let work = async {
        let mut lease = connections.lease().await?;
        let answer = query(lease.connection()).await;
        lease.answered(answer.is_ok());
        answer
    };
    let answered = timeout_at(deadline, work).await;
    Ok(answered.map_err(|_elapsed| DatabaseError::Late(limit))??)
}
