//! Tells a primary from a standby.

use sqlx::PgConnection;

use super::errors::{MissingTable, Standby};

/// Returns the error of a query that found its server in recovery. [`super::run_idempotent`] then
/// closes the connection, and asks on a new one.
pub(crate) fn standby() -> sqlx::Error {
    sqlx::Error::AnyDriverError(Box::new(Standby))
}

/// Checks that the server answers and is no standby.
///
/// # Errors
/// Fails if it does not answer, or if it is in recovery.
pub async fn check(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let query = sqlx::query_scalar("SELECT pg_is_in_recovery()");
    if query.fetch_one(connection).await? {
        return Err(standby());
    }
    Ok(())
}

/// The tables without which no request is answered.
const TABLES: [&str; 5] = [
    "named_tasks",
    "step_queue",
    "tasks",
    "template_versions",
    "workflow_steps",
];

/// Checks that the server answers, is no standby, and has the tables.
///
/// # Errors
/// Fails if it does not answer, if it is in recovery, or if a table is missing. A table that somebody
/// has locked is there.
pub async fn check_usable(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let query = sqlx::query_as::<_, (bool, Option<String>)>(
        "SELECT pg_is_in_recovery(), min('tasker.' || name) FILTER (
             WHERE to_regclass('tasker.' || name) IS NULL)
         FROM unnest($1::text[]) AS t (name)",
    );
    let (is_standby, missing) = query.bind(&TABLES[..]).fetch_one(connection).await?;
    match missing {
        _ if is_standby => Err(standby()),
        Some(table) => Err(sqlx::Error::AnyDriverError(Box::new(MissingTable(table)))),
        None => Ok(()),
    }
}
