//! Tells a primary from a standby.

use sqlx::PgConnection;

use super::errors::Standby;

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
