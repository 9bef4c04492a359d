//! Why nothing could be measured.

use std::io;
use std::path::PathBuf;

use tasker_shared::database::DatabaseError;
use tasker_shared::models::core::task_template::TemplateError;
use tasker_shared::registry::RegistryError;

/// Why nothing could be measured.
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
    #[error("a template was not resolved, registered or discovered")]
    Registry(#[from] RegistryError),
    #[error("a template of the benchmark is none")]
    Template(#[from] TemplateError),
    #[error("JSON of the benchmark is none")]
    Json(#[from] serde_json::Error),
    #[error("a service did not start")]
    Context(#[from] tasker_shared::system_context::ContextError),
    #[error("a part of the load panicked")]
    Panicked(#[from] tokio::task::JoinError),
    #[error("Redis was not used, so there is nothing to measure")]
    RedisNotUsed,
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
