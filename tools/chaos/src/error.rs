//! Why nothing could be measured.

use std::io;

use tasker_shared::database::DatabaseError;
use tasker_shared::models::core::task_template::TemplateError;
use tasker_shared::registry::RegistryError;

/// Why nothing could be measured. What a row shows is no error but its outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FaultsError {
    #[error("a runtime or a thread does not start")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Servers(#[from] tasker_test_support::TestkitError),
    #[error("Tasker's database layer failed")]
    Database(#[from] DatabaseError),
    #[error("PostgreSQL failed")]
    Sql(#[from] sqlx::Error),
    #[error("Redis failed while nothing was wrong with it")]
    Redis(#[from] redis::RedisError),
    #[error("a template was not registered")]
    Registry(#[from] RegistryError),
    #[error("a template of the load is none")]
    Template(#[from] TemplateError),
    #[error("a registered template is no JSON")]
    Json(#[from] serde_json::Error),
    #[error("a part of the load panicked")]
    Panicked(#[from] tokio::task::JoinError),
    #[error("the control ended before it was told to")]
    ControlLost,
    #[error("Redis was not in use before the fault")]
    RedisNotUsed,
    #[error("a registry did not {action} within half a minute")]
    TooSlow { action: &'static str },
    #[error("what this process holds cannot be read below /proc")]
    Proc(#[source] io::Error),
    #[error("no row is called {name}; there are: {known}")]
    NoSuchRow { name: String, known: String },
}
