//! The fault behind an error of PostgreSQL, and the remedy.

use std::io;

use sqlx::migrate::MigrateError;

use super::DatabaseError;

/// The fault behind an error, as far as PostgreSQL or the operating system names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[cfg_attr(test, derive(strum::VariantNames))]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum DatabaseCause {
    /// Nothing listens at the address.
    #[strum(serialize = "connection_refused")]
    Refused,
    /// The host cannot be found or reached.
    Unreachable,
    /// PostgreSQL does not accept user and password.
    #[strum(serialize = "login_refused")]
    Login,
    /// The database does not exist.
    UnknownDatabase,
    /// PostgreSQL has no connection left.
    TooManyConnections,
    /// PostgreSQL starts or stops.
    Starting,
    /// All connections of this process are in use.
    PoolExhausted,
    /// A lock was waited for too long.
    Locked,
    /// The tables are not there.
    NotMigrated,
    /// The role lacks a right.
    NotPermitted,
    /// The database takes no writes.
    ReadOnly,
    /// No answer came in time.
    Late,
    /// The connection was lost.
    #[strum(serialize = "connection_lost")]
    Lost,
    /// Any other fault.
    Other,
}

impl DatabaseCause {
    /// Returns a stable name for health reports and logs.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.into()
    }

    /// Returns the remedy, as the end of a sentence; nothing if the error itself says enough.
    #[must_use]
    pub const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Refused => Some("start PostgreSQL, or correct host and port of the URL"),
            Self::Unreachable => Some("correct the host of the URL, or the network"),
            Self::Login => Some("correct user and password of the URL, or pg_hba.conf"),
            Self::UnknownDatabase => Some("create it with `createdb`, or correct the URL"),
            Self::TooManyConnections => {
                Some("raise max_connections of PostgreSQL, or lower it in [common.database.pool]")
            }
            Self::PoolExhausted => Some("raise max_connections in [common.database.pool]"),
            Self::NotMigrated => {
                Some("the schema is not migrated: run a service with --migrate, or correct the URL")
            }
            Self::NotPermitted => {
                Some("run --migrate as the owner of the schema; docs/operations.md has the GRANTs")
            }
            Self::ReadOnly => Some("lead the URL to a server that takes writes"),
            Self::Starting | Self::Locked | Self::Late | Self::Lost | Self::Other => None,
        }
    }

    /// Returns true if the same attempt may succeed a moment later.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::Unreachable
                | Self::TooManyConnections
                | Self::Starting
                | Self::Lost
        )
    }
}

impl DatabaseError {
    /// Returns the fault behind this error.
    #[must_use]
    pub fn kind(&self) -> DatabaseCause {
        match self {
            Self::Failed(error) => of(error),
            Self::Late(_) => DatabaseCause::Late,
            Self::Locked { .. } => DatabaseCause::Locked,
            Self::Standby => DatabaseCause::ReadOnly,
            Self::NoSession { .. } | Self::MissingTable(_) => DatabaseCause::NotMigrated,
            Self::Migration { source, .. } => of_migration(source),
            Self::Url
            | Self::SharedSession
            | Self::SharedDirectSession
            | Self::HalfApplied { .. } => DatabaseCause::Other,
        }
    }
}

pub(super) fn of_migration(error: &MigrateError) -> DatabaseCause {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => of(error),
        _ => DatabaseCause::Other,
    }
}

pub(super) fn of(error: &sqlx::Error) -> DatabaseCause {
    match error {
        sqlx::Error::PoolTimedOut => DatabaseCause::PoolExhausted,
        sqlx::Error::Io(error) => of_io(error.kind()),
        sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => DatabaseCause::Lost,
        sqlx::Error::Database(error) => error
            .code()
            .map_or(DatabaseCause::Other, |code| of_sqlstate(&code)),
        _ => DatabaseCause::Other,
    }
}

fn of_io(kind: io::ErrorKind) -> DatabaseCause {
    match kind {
        io::ErrorKind::ConnectionRefused => DatabaseCause::Refused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => DatabaseCause::Lost,
        // The TLS library refuses a certificate.
        io::ErrorKind::InvalidData => DatabaseCause::Other,
        // A name that cannot be resolved has no kind of its own.
        _ => DatabaseCause::Unreachable,
    }
}

fn of_sqlstate(code: &str) -> DatabaseCause {
    match code {
        "28000" | "28P01" => DatabaseCause::Login,
        "3D000" => DatabaseCause::UnknownDatabase,
        "53300" => DatabaseCause::TooManyConnections,
        // Somebody ended this session, or all.
        "57P01" => DatabaseCause::Lost,
        "57P02" | "57P03" => DatabaseCause::Starting,
        "55P03" => DatabaseCause::Locked,
        // A schema, a table, a function, or the unique constraint of an INSERT that does not exist.
        "3F000" | "42P01" | "42883" | "42P10" => DatabaseCause::NotMigrated,
        "42501" => DatabaseCause::NotPermitted,
        "25006" => DatabaseCause::ReadOnly,
        code if code.starts_with("08") => DatabaseCause::Lost,
        _ => DatabaseCause::Other,
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantNames;

    use super::DatabaseCause;

    #[test]
    fn programs_find_the_codes_that_they_know() {
        let codes = "connection_refused unreachable login_refused unknown_database \
             too_many_connections starting pool_exhausted locked not_migrated not_permitted \
             read_only late connection_lost other";
        assert_eq!(DatabaseCause::VARIANTS.join(" "), codes);
    }
}
