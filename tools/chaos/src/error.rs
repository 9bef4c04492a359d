//! Errors of the tool itself. A bar that is missed is a result and no error.

use std::io;

use tasker_shared::config::ConfigError;
use tasker_shared::database::DatabaseError;
use tasker_shared::models::core::task_template::TemplateError;
use tasker_shared::registry::RegistryError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ChaosError {
    #[error("a runtime or a thread could not be started")]
    Runtime(#[source] io::Error),
    #[error("{action} failed")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Servers(#[from] tasker_test_support::TestkitError),
    #[error("Tasker's database layer failed")]
    Database(#[from] DatabaseError),
    #[error("PostgreSQL refused a connection or a statement")]
    Sql(#[from] sqlx::Error),
    #[error("Redis failed while it was not made to fail")]
    Redis(#[from] redis::RedisError),
    #[error("an HTTP client could not be built")]
    Http(#[from] reqwest::Error),
    #[error("the registry failed while PostgreSQL could be reached")]
    Registry(#[from] RegistryError),
    #[error("a generated template is invalid")]
    Template(#[from] TemplateError),
    #[error("the configuration cannot be loaded")]
    Config(#[from] ConfigError),
    #[error("a task of this program panicked")]
    Panicked(#[from] tokio::task::JoinError),
    #[error("{what} did not {action} within {seconds} s")]
    TooSlow {
        what: &'static str,
        action: &'static str,
        seconds: u64,
    },
    #[error("the environment variable {0} is not a number")]
    NotANumber(&'static str),
    #[error("this world has no {0}, because it was started for another fault")]
    NotStarted(&'static str),
    #[error("{0} ended before it was stopped")]
    Ended(&'static str),
    #[error("no row is called {name}; there are: {known}")]
    NoSuchRow { name: String, known: String },
}

impl ChaosError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}
