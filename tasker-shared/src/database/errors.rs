//! Errors of the database layer.

use std::borrow::Cow;
use std::time::Duration;

use super::cause::{self, DatabaseCause};

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
    #[error("PostgreSQL failed{remedy}: {0}", remedy = remedy(cause::of(.0)))]
    Failed(#[source] sqlx::Error),
    /// A lock was not released in time. A write had no effect.
    #[error("a lock was not released in time; locked by pid {holders}")]
    Locked {
        /// The process ids of the sessions for whose locks this program waits.
        holders: String,
    },
    /// The server is a standby, because it was demoted or its address leads to the wrong one. It takes
    /// no writes, and its data may be old.
    #[error("{}", Standby)]
    Standby,
    /// A table is not there.
    #[error(
        "the table {0} does not exist{remedy}",
        remedy = remedy(DatabaseCause::NotMigrated)
    )]
    MissingTable(String),
    /// The pooler gives one session to several connections.
    #[error(
        "the URL leads to a pooler in transaction mode: set common.database.pool_mode to \
         `transaction`, or the pooler to `session`"
    )]
    SharedSession,
    /// The pooler gives one session to several connections that are to lead past it.
    #[error(
        "common.database.direct_url leads to a pooler in transaction mode: set it to the URL of the \
         server itself, or the pooler to `session`"
    )]
    SharedDirectSession,
    /// Migrations are missing, and the pooler has no session for them.
    #[error(
        "the schema `tasker` lacks {missing}, and cannot be migrated through a pooler in transaction \
         mode: set common.database.direct_url"
    )]
    NoSession {
        /// The versions that are missing.
        missing: String,
    },
    /// A migration was begun and not ended.
    #[error(
        "migration {version} of the schema `tasker` is half applied: undo or complete what it did by \
         hand, then delete its row from tasker._tasker_shared_migrations, or set `success` there"
    )]
    HalfApplied {
        /// The version of the migration.
        version: i64,
    },
    /// The schema could not be brought up to date.
    #[error(
        "the schema `tasker` cannot be migrated{to}{remedy}: {source}",
        to = versions(.missing),
        remedy = remedy(cause::of_migration(.source))
    )]
    Migration {
        /// The versions that are missing.
        missing: String,
        /// The cause.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
}

fn versions(missing: &str) -> String {
    if missing.is_empty() {
        String::new()
    } else {
        format!(" to {missing}")
    }
}

/// Returns the remedy before the cause, because a chain of errors leaves a cause out that the text before
/// ends with.
fn remedy(cause: DatabaseCause) -> String {
    cause
        .remedy()
        .map_or_else(String::new, |remedy| format!(" ({remedy})"))
}

/// The server is in recovery.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the PostgreSQL server is a standby; the address must lead to the primary")]
pub(super) struct Standby;

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        if is_standby(&error) {
            Self::Standby
        } else if let Some(MissingTable(table)) = missing_table(&error) {
            Self::MissingTable(table.clone())
        } else if is_session_shared(&error) {
            Self::SharedSession
        } else {
            Self::Failed(error)
        }
    }
}

/// A table that [`super::check_usable`] missed.
#[derive(Debug, thiserror::Error)]
#[error("the table {0} does not exist")]
pub(super) struct MissingTable(pub(super) String);

fn missing_table(error: &sqlx::Error) -> Option<&MissingTable> {
    match error {
        sqlx::Error::AnyDriverError(cause) => cause.downcast_ref(),
        _ => None,
    }
}

fn is_standby(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::AnyDriverError(cause) if cause.is::<Standby>())
}

/// Returns whether the name of a prepared statement is taken. Connections count theirs, so another
/// connection has used the session.
fn is_session_shared(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(refusal) = error else {
        return false;
    };
    refusal.code().as_deref() == Some("42P05")
}

impl DatabaseError {
    /// Returns this error with the limit of a caller who had used up a part of it.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        match self {
            Self::Late(_) => Self::Late(limit),
            other => other,
        }
    }

    /// Returns whether the connection failed and not the query, so that the same query may succeed on
    /// another connection.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Failed(error) if is_connection_lost(error))
    }

    /// Returns the code with which PostgreSQL refused the query.
    #[must_use]
    pub fn sqlstate(&self) -> Option<Cow<'_, str>> {
        let Self::Failed(error) = self else {
            return None;
        };
        error.as_database_error()?.code()
    }

    /// Returns whether PostgreSQL chose the query as the victim of a deadlock.
    pub(super) fn is_deadlock(&self) -> bool {
        self.sqlstate().is_some_and(|code| code == "40P01")
    }

    /// Returns whether the query waited for a lock for too long.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.sqlstate().is_some_and(|code| code == "55P03")
    }
}

/// Returns true if PostgreSQL itself refused the statement, which then had no effect.
#[must_use]
pub fn is_refusal(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(_)) && !is_connection_lost(error)
}

/// Returns whether the same query may succeed on a new connection, because this one was made before
/// the server was demoted, or before its tables or types were replaced.
pub(super) fn is_outdated(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(refusal) = error else {
        return is_standby(error);
    };
    refusal.code().is_some_and(|code| match &*code {
        // Read-only; a schema, table, column, function, type or prepared statement that is gone.
        "25006" | "3F000" | "42P01" | "42703" | "42883" | "42704" | "26000" => true,
        "0A000" => refusal.message().starts_with("cached plan"),
        "XX000" => refusal.message().starts_with("cache lookup failed"),
        _ => false,
    })
}

pub(super) fn is_connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // Class 08 is about connections; 57P01 to 57P03 mean that the server stops or starts, 57P05 that
        // it ended an idle session.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("08") || matches!(&*code, "57P01" | "57P02" | "57P03" | "57P05")
        }),
        _ => false,
    }
}
