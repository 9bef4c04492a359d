//! Errors of the database layer.

use std::time::Duration;

/// An error of PostgreSQL or of the connection to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The URL is invalid. The message quotes neither the URL nor the client library's reason, because
    /// both may contain a password.
    #[error(
        "its URL cannot be used: percent-encode special characters, and check the values of its \
         parameters, such as sslmode"
    )]
    Url,
    /// No answer came in time. A write may have been committed.
    #[error("PostgreSQL did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The query, or the connection under it, failed.
    #[error("PostgreSQL failed: {0}")]
    Failed(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema `tasker` cannot be migrated: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

impl DatabaseError {
    /// Returns whether the connection failed and not the query, so that the same query may succeed on
    /// another connection.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Failed(error) => is_connection_lost(error),
            Self::Url | Self::Late(_) | Self::Migration(_) => false,
        }
    }
}

/// Returns whether PostgreSQL chose the query as the victim of a deadlock.
pub(super) fn is_deadlock(error: &DatabaseError) -> bool {
    let DatabaseError::Failed(sqlx::Error::Database(error)) = error else {
        return false;
    };
    error.code().as_deref() == Some("40P01")
}

pub(super) fn is_connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // Class 08 is about connections; 57P01 to 57P03 mean that the server stops or starts.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("08") || matches!(&*code, "57P01" | "57P02" | "57P03")
        }),
        _ => false,
    }
}
