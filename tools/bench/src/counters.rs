//! Counts SQL statements and commands of Redis, as their servers do.

use redis::aio::MultiplexedConnection;
use sqlx::PgPool;

use crate::error::Result;

/// The setting of a PostgreSQL that counts statements.
pub(crate) const COUNTING: [(&str, &str); 1] = [("shared_preload_libraries", "pg_stat_statements")];

/// Matches every statement.
pub(crate) const ALL: &str = "";

/// Statements of one database.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Statements {
    pub(crate) count: f64,
    /// The time of the database for executing them.
    pub(crate) ms: f64,
    pub(crate) wal_bytes: f64,
}

/// Returns the result of `work`, and the statements with a text like `pattern` that the database of
/// `pool` executed meanwhile.
pub(crate) async fn statements<T>(
    pool: &PgPool,
    pattern: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Statements)> {
    let so_far = async || {
        sqlx::query_as::<_, Statements>(
            "SELECT coalesce(sum(calls), 0)::float8 AS count,
                    coalesce(sum(total_exec_time), 0) AS ms,
                    coalesce(sum(wal_bytes), 0)::float8 AS wal_bytes
             FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
             WHERE datname = current_database() AND query ~ $1
                 AND query !~ 'pg_stat_statements'",
        )
        .bind(pattern)
        .fetch_one(pool)
        .await
    };
    let before = so_far().await?;
    let result = work.await?;
    let after = so_far().await?;
    let statements = Statements {
        count: after.count - before.count,
        ms: after.ms - before.ms,
        wal_bytes: after.wal_bytes - before.wal_bytes,
    };
    Ok((result, statements))
}

/// Returns how often the server was asked to execute `command` since its start.
pub(crate) async fn calls(redis: &mut MultiplexedConnection, command: &str) -> Result<u64> {
    let mut info = redis::cmd("INFO");
    let info: redis::InfoDict = info.arg("commandstats").query_async(redis).await?;
    // Such as `calls=21,usec=175,...`, and nothing before the first call.
    let figures: String = info.get(&format!("cmdstat_{command}")).unwrap_or_default();
    let calls = figures.split(['=', ',']).nth(1);
    Ok(calls.and_then(|calls| calls.parse().ok()).unwrap_or(0))
}
