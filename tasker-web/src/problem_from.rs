//! What the errors of the layers below look like to a client.

use crate::problem::Problem;
use crate::problem_kinds as kinds;
use tasker_shared::database::DatabaseError;
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
            // What is wrong with a template is for its author: nothing internal is in it.
            RegistryError::Invalid(source) => {
                Self::new(&kinds::TEMPLATE_INVALID, crate::problem::causes(source))
            }
            RegistryError::Stale => Self::new(
                &kinds::TEMPLATE_DIRECTORY_STALE,
                "PostgreSQL does not answer, and what this process knows of templates is older \
                 than max_staleness_ms allows. Try again.",
            ),
            RegistryError::Changing {
                namespace,
                name,
                version,
            } => Self::new(
                &kinds::TEMPLATE_CHANGING,
                format!(
                    "The template {namespace}/{name}/{version} is registered anew faster than it \
                     can be loaded. Try again."
                ),
            ),
            RegistryError::Database(failure) if is_our_mistake(failure) => Self::internal(error),
            RegistryError::Database(_) => database_unavailable().with_source(error),
            RegistryError::Folder { .. } => Self::new(
                &kinds::TEMPLATE_DIRECTORY_MISSING,
                "A folder of templates cannot be read. The log has its path.",
            )
            .with_source(error),
            RegistryError::ShutDown => Self::new(
                &kinds::SHUTTING_DOWN,
                "Ask another instance of this service.",
            ),
        }
    }
}

impl From<DatabaseError> for Problem {
    /// A statement of ours that PostgreSQL refuses is our mistake, except where the refusal says
    /// that the server is overloaded or going away. All else means that it cannot be reached.
    fn from(error: DatabaseError) -> Self {
        if is_our_mistake(&error) {
            Self::internal(error)
        } else {
            database_unavailable().with_source(error)
        }
    }
}

fn database_unavailable() -> Problem {
    Problem::new(
        &kinds::DATABASE_UNAVAILABLE,
        "PostgreSQL did not answer in time. Try again.",
    )
}

fn is_our_mistake(error: &DatabaseError) -> bool {
    let DatabaseError::Failed(failure) = error else {
        return false;
    };
    match failure {
        sqlx::Error::Database(refusal) => !refusal.code().is_some_and(|code| is_passing(&code)),
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => false,
        _ => !error.is_connection_lost(),
    }
}

/// Whether a SQLSTATE says that the same statement may succeed later: connection lost, transaction
/// rolled back for another's sake, resources exhausted, cancelled, server going down, read-only
/// because another server took over, locked.
fn is_passing(code: &str) -> bool {
    ["08", "40", "53", "57"]
        .iter()
        .any(|class| code.starts_with(class))
        || matches!(code, "25006" | "55P03")
}
