//! Reasons for which a row cannot be measured.

use std::io;
use std::path::PathBuf;

use tasker_shared::database::DatabaseError;
use tasker_shared::models::core::task_template::TemplateError;
use tasker_shared::registry::RegistryError;

pub(crate) type Result<T = ()> = std::result::Result<T, BenchError>;

/// A reason for which a row cannot be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("the runtime does not start")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Servers(#[from] tasker_test_support::TestkitError),
    #[error("Tasker's database layer failed")]
    Database(#[from] DatabaseError),
    #[error("PostgreSQL failed")]
    Sql(#[from] sqlx::Error),
    #[error("Redis failed")]
    Redis(#[from] redis::RedisError),
    #[error("the registry failed")]
    Registry(#[from] RegistryError),
    #[error("invalid benchmark template")]
    Template(#[from] TemplateError),
    #[error("invalid benchmark JSON")]
    Json(#[from] serde_json::Error),
    #[error("a request was not answered")]
    Http(#[source] io::Error),
    #[error("a request was answered with {status}: {answer}")]
    Answer { status: u16, answer: String },
    #[error("a service is not ready; its log:\n{0}")]
    NotReady(String),
    #[error("a caller panicked")]
    Panicked(#[from] tokio::task::JoinError),
    #[error("{what}: expected {expected}, found {found}")]
    Unexpected {
        what: &'static str,
        expected: String,
        found: String,
    },
    #[error("{} cannot be written", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl BenchError {
    /// Fails unless both are equal.
    pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(
        what: &'static str,
        expected: &T,
        found: &T,
    ) -> Result {
        if expected == found {
            return Ok(());
        }
        Err(Self::Unexpected {
            what,
            expected: format!("{expected:?}"),
            found: format!("{found:?}"),
        })
    }
}
