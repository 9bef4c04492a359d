//! A part of a pool.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{DatabaseError, run_idempotent};

/// A pool for one kind of work, which uses at most a part of its connections at once. A burst of slow
/// statements of that kind then leaves connections to everything else. Clones share the part.
#[derive(Debug, Clone)]
pub(crate) struct PoolShare {
    pool: PgPool,
    turns: Arc<Semaphore>,
}

impl PoolShare {
    /// Returns a share of this many tenths of `pool`, and of one connection at least.
    pub(crate) fn tenths(pool: PgPool, tenths: u32) -> Self {
        let connections = pool.options().get_max_connections() * tenths / 10;
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        let turns = Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS)));
        Self { pool, turns }
    }

    /// Does what [`run_idempotent`] does; the wait for a turn counts.
    pub(crate) async fn run_idempotent<T>(
        &self,
        limit: Duration,
        query: impl for<'c> FnMut(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
    ) -> Result<T, DatabaseError> {
        let deadline = Instant::now() + limit;
        let turn = timeout_at(deadline, self.turns.acquire()).await;
        let _turn = turn.map_err(|_elapsed| DatabaseError::Late(limit))?;
        run_idempotent(&self.pool, deadline - Instant::now(), query)
            .await
            .map_err(|error| error.with_limit(limit))
    }
}
