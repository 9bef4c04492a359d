//! The connection pool.

use std::future::ready;
use std::time::Duration;

use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use super::{DatabaseError, expiry, pooler, sessions};
use crate::config::tasker::DatabaseConfig;

/// A connection that was idle for longer is pinged before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// The limit for that ping.
pub(super) const PING_LIMIT: Duration = Duration::from_secs(1);
/// The longest wait for a lock. Shorter than the limits of queries, so that PostgreSQL says why a
/// query takes so long, and ends the wait.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(4);
/// PostgreSQL ends a transaction that is idle for longer, because its locks keep others waiting.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_mins(1);
/// The interval at which PostgreSQL looks if the client of a running statement is still there. It ends
/// statements that were given up, which otherwise wait on, and hold the locks that they have.
pub(super) const CLIENT_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Creates the pool that `config` describes. Connects when a connection is first needed.
///
/// Connections in steady use are not pinged before each use, because that would double the cost of a
/// query. [`super::run_idempotent`] retries on another connection if one turns out to be lost.
///
/// # Errors
/// [`DatabaseError::Url`] if the URL is invalid.
pub fn create(config: &DatabaseConfig) -> Result<PgPool, DatabaseError> {
    let pool = &config.pool;
    let statement_timeout = Duration::from_millis(pool.statement_timeout_ms.into());
    let (options, has_sessions) = pooler::route(config, &begin(statement_timeout))?;
    let created = PgPoolOptions::new()
        .max_connections(pool.max_connections)
        .min_connections(pool.min_connections)
        .acquire_timeout(Duration::from_secs(pool.acquire_timeout_seconds.into()))
        .test_before_acquire(false)
        .before_acquire(|connection, metadata| Box::pin(is_usable(connection, metadata)))
        .after_release(|_connection, metadata| {
            // Requests that wait for a new connection take those that come back as they are.
            let is_done =
                expiry::is_expired(metadata.age) || sessions::has_had_its_turn(metadata.age);
            Box::pin(ready(Ok(!is_done)))
        });
    let created = if has_sessions {
        created.after_connect(move |connection, _metadata| {
            Box::pin(set_up(connection, statement_timeout))
        })
    } else {
        created
    };
    Ok(created.connect_lazy_with(options))
}

/// Returns a pool of its own with the settings of `pool`, for polls and probes, which must not wait
/// until requests leave a connection to them. It opens the first of its connections at once, and keeps it,
/// because later there may be none left. Must be called within a Tokio runtime.
#[must_use]
pub fn apart(pool: &PgPool, connections: u32) -> PgPool {
    let options = pool.options().clone();
    options
        .min_connections(1)
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_release(|_connection, metadata| {
            Box::pin(ready(Ok(!expiry::is_expired(metadata.age))))
        })
        .connect_lazy_with((*pool.connect_options()).clone())
}

async fn is_usable(
    connection: &mut PgConnection,
    metadata: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    if expiry::is_expired(metadata.age) {
        return Ok(false);
    }
    if metadata.idle_for < TRUSTED_IDLE {
        return Ok(true);
    }
    let pong = timeout(PING_LIMIT, connection.ping()).await;
    Ok(matches!(pong, Ok(Ok(()))))
}

/// Returns the statements that begin a transaction with the bounds of [`set_up`], behind a pooler that
/// gives sessions away between transactions. One of our prepared statements may have the name of one
/// that another client has left in the session.
fn begin(statement_timeout: Duration) -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; DEALLOCATE ALL;
         SET LOCAL statement_timeout = {};
         SET LOCAL lock_timeout = {};
         SET LOCAL idle_in_transaction_session_timeout = {};
         SET LOCAL client_connection_check_interval = {};
         SET LOCAL jit = off",
        statement_timeout.as_millis(),
        LOCK_TIMEOUT.as_millis(),
        IDLE_TRANSACTION_TIMEOUT.as_millis(),
        CLIENT_CHECK_INTERVAL.as_millis(),
    )
}

/// Sets the bounds of a session by a query, because poolers refuse start-up parameters that they do not know.
pub(crate) async fn set_up(
    connection: &mut PgConnection,
    statement_timeout: Duration,
) -> Result<(), sqlx::Error> {
    let millis = |duration: Duration| duration.as_millis().to_string();
    // JIT is off, because compiling takes a hundred times longer than any of our queries, and PostgreSQL
    // compiles those whose cost it overestimates. Statements of ours are not repeated when they cannot be
    // serialized, and need not be.
    let settings = "SELECT set_config('statement_timeout', $1, false),
                           set_config('lock_timeout', $2, false),
                           set_config('idle_in_transaction_session_timeout', $3, false),
                           set_config('client_connection_check_interval', $4, false),
                           set_config('jit', 'off', false),
                           set_config('default_transaction_isolation', 'read committed', false)";
    let set = |client_check: Duration| {
        sqlx::query(settings)
            .bind(millis(statement_timeout))
            .bind(millis(LOCK_TIMEOUT))
            .bind(millis(IDLE_TRANSACTION_TIMEOUT))
            .bind(millis(client_check))
    };
    let answer = set(CLIENT_CHECK_INTERVAL).execute(&mut *connection).await;
    // Some platforms cannot check clients, and accept nothing but 0.
    if matches!(answer, Err(sqlx::Error::Database(_))) {
        set(Duration::ZERO).execute(connection).await?;
    } else {
        answer?;
    }
    Ok(())
}
