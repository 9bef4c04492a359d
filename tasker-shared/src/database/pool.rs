//! The connection pool.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgPool};
use tokio::time::timeout;

use super::{DatabaseError, connect_options};
use crate::config::tasker::DatabaseConfig;

/// A connection that was idle for longer is pinged before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// The limit for that ping.
const PING_LIMIT: Duration = Duration::from_secs(1);

/// Creates the pool that `config` describes. Connects when a connection is first needed.
///
/// Connections in steady use are not pinged before each use, because that would double the cost of a
/// query. [`super::run_idempotent`] retries on another connection if one turns out to be lost.
///
/// # Errors
/// [`DatabaseError::Url`] if the URL is invalid.
pub fn create(config: &DatabaseConfig) -> Result<PgPool, DatabaseError> {
    let options = connect_options::read(&config.url)?.application_name("tasker");
    let pool = &config.pool;
    let statement_timeout = pool.statement_timeout_ms.to_string();
    Ok(PgPoolOptions::new()
        .max_connections(pool.max_connections)
        .min_connections(pool.min_connections)
        .acquire_timeout(Duration::from_secs(pool.acquire_timeout_seconds.into()))
        .test_before_acquire(false)
        .before_acquire(|connection, metadata| {
            Box::pin(async move {
                if metadata.idle_for < TRUSTED_IDLE {
                    return Ok(true);
                }
                Ok(matches!(
                    timeout(PING_LIMIT, connection.ping()).await,
                    Ok(Ok(()))
                ))
            })
        })
        .after_connect(move |connection, _metadata| {
            let statement_timeout = statement_timeout.clone();
            Box::pin(async move {
                // Set by a query, because poolers refuse start-up parameters that they do not know.
                //
                // JIT is off, because compiling takes a hundred times longer than any of our
                // queries, and PostgreSQL compiles those whose cost it overestimates.
                let settings = "SELECT set_config('statement_timeout', $1, false),
                                       set_config('jit', 'off', false)";
                sqlx::query(settings)
                    .bind(statement_timeout)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .connect_lazy_with(options))
}
