//! Maps errors of the layers below to problems.

use crate::problem::Problem;
use crate::problem_kinds::{self as kinds, ProblemKind};
use tasker_shared::database::{DatabaseCause, DatabaseError};
use tasker_shared::registry::RegistryError;

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match &error {
            RegistryError::NotFound {
                namespace,
                name,
                version,
            } => Self::new(
                &kinds::TEMPLATE_NOT_FOUND,
                format!(
                    "No template {namespace}/{name}/{version} is registered. Register it, or \
                     check namespace, name and version."
                ),
            ),
            RegistryError::Unreadable {
                namespace,
                name,
                version,
                ..
            } => Self::new(
                &kinds::TEMPLATE_UNREADABLE,
                format!(
                    "The registered template {namespace}/{name}/{version} cannot be read by this \
                     release. Register it again."
                ),
            )
            .with_source(error),
            // The author of the template needs the causes, and they contain nothing internal.
            RegistryError::Invalid(source) => {
                Self::new(&kinds::TEMPLATE_INVALID, crate::problem::causes(source))
            }
            RegistryError::Stale { source } => {
                let cause = match source.as_ref().map(|error| error.kind()) {
                    Some(DatabaseCause::Other | DatabaseCause::ReadOnly) => {
                        "Polls of PostgreSQL fail; the log of the service says why."
                    }
                    cause => unavailability(cause.unwrap_or(DatabaseCause::Late)).1,
                };
                Self::new(
                    &kinds::TEMPLATE_DIRECTORY_STALE,
                    format!(
                        "The template index of this process is older than max_staleness_ms \
                         allows. {cause}"
                    ),
                )
                .with_source(error)
            }
            RegistryError::Changing {
                namespace,
                name,
                version,
            } => Self::new(
                &kinds::TEMPLATE_CHANGING,
                format!(
                    "The template {namespace}/{name}/{version} changes faster than it can be \
                     loaded. Try again."
                ),
            ),
            RegistryError::Database(failure) if is_not_storable(failure) => not_storable(),
            RegistryError::Database(failure) if is_our_bug(failure) => Self::internal(error),
            RegistryError::Database(failure) => database_unavailable(failure).with_source(error),
            RegistryError::Folder { .. } => Self::new(
                &kinds::TEMPLATE_DIRECTORY_MISSING,
                "A folder of templates cannot be read. The log names it.",
            )
            .with_source(error),
            RegistryError::ShutDown => Self::new(
                &kinds::SHUTTING_DOWN,
                "Use another instance of this service.",
            ),
        }
    }
}

impl From<DatabaseError> for Problem {
    /// Returns a 422 if PostgreSQL cannot store a character or number of the request. Returns a 500 if
    /// it refuses a statement for another reason, because that is a bug of ours, except if the SQLSTATE
    /// says that the server is overloaded or stopping. Returns a 503 otherwise.
    fn from(error: DatabaseError) -> Self {
        if is_not_storable(&error) {
            not_storable()
        } else if is_our_bug(&error) {
            Self::internal(error)
        } else {
            database_unavailable(&error).with_source(error)
        }
    }
}

fn database_unavailable(error: &DatabaseError) -> Problem {
    let (kind, detail) = unavailability(error.kind());
    if let DatabaseError::Locked { holders } = error {
        let detail = format!(
            "The session with pid {holders} holds a lock that the request needs. Try again."
        );
        return Problem::new(kind, detail);
    }
    Problem::new(kind, detail)
}

/// Returns the kind of problem that `cause` makes, and what to do about it.
pub(crate) fn unavailability(cause: DatabaseCause) -> (&'static ProblemKind, &'static str) {
    match cause {
        DatabaseCause::ReadOnly => (
            &kinds::DATABASE_READ_ONLY,
            "The database takes no writes now. Reads are answered. Try again later.",
        ),
        DatabaseCause::NotMigrated => (
            &kinds::DATABASE_NOT_MIGRATED,
            "The database does not have the service's tables. Its operators have to migrate it.",
        ),
        DatabaseCause::Refused
        | DatabaseCause::Unreachable
        | DatabaseCause::Starting
        | DatabaseCause::Lost => (
            &kinds::DATABASE_UNAVAILABLE,
            "PostgreSQL cannot be reached. Try again.",
        ),
        DatabaseCause::TooManyConnections | DatabaseCause::PoolExhausted => (
            &kinds::DATABASE_UNAVAILABLE,
            "All connections to PostgreSQL are in use. Try again.",
        ),
        DatabaseCause::Locked => (
            &kinds::DATABASE_UNAVAILABLE,
            "Another session holds a lock that the request needs. Try again.",
        ),
        DatabaseCause::Login | DatabaseCause::UnknownDatabase | DatabaseCause::NotPermitted => (
            &kinds::DATABASE_UNAVAILABLE,
            "PostgreSQL does not accept the service. Its operators have to correct that.",
        ),
        _ => (
            &kinds::DATABASE_UNAVAILABLE,
            "PostgreSQL did not answer in time. Try again.",
        ),
    }
}

fn not_storable() -> Problem {
    Problem::new(
        &kinds::VALIDATION_FAILED,
        "The request has a character that PostgreSQL cannot store, such as U+0000, or a number \
         outside of its range. Remove it.",
    )
}

/// Returns true if PostgreSQL refuses a value because no `text` or `jsonb` can hold it.
fn is_not_storable(error: &DatabaseError) -> bool {
    const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
    const UNTRANSLATABLE_CHARACTER: &str = "22P05";
    const NUMBER_OUT_OF_RANGE: &str = "22003";
    error.sqlstate().is_some_and(|code| {
        [
            CHARACTER_NOT_IN_REPERTOIRE,
            UNTRANSLATABLE_CHARACTER,
            NUMBER_OUT_OF_RANGE,
        ]
        .contains(&&*code)
    })
}

fn is_our_bug(error: &DatabaseError) -> bool {
    let DatabaseError::Failed(failure) = error else {
        return false;
    };
    match failure {
        sqlx::Error::Database(refusal) => {
            error.kind() == DatabaseCause::Other
                && !refusal.code().is_some_and(|code| is_transient(&code))
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => false,
        _ => !error.is_connection_lost(),
    }
}

/// Returns true if a SQLSTATE means that the same statement may succeed later: serialization failure or
/// deadlock, resources exhausted, cancelled, or server stopping.
fn is_transient(code: &str) -> bool {
    ["40", "53", "57"]
        .iter()
        .any(|class| code.starts_with(class))
}
