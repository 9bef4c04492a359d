//! Why a task failed.

use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use tasker_test_support::TestkitError;

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XtaskError {
    #[error(transparent)]
    Servers(#[from] TestkitError),
    #[error("{program} cannot be run")]
    Spawn {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{command} failed: {status}")]
    Command { command: String, status: ExitStatus },
    #[error("{} cannot be read or written", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("a folder cannot be listed")]
    Walk(#[from] walkdir::Error),
    #[error("the migrations cannot be applied")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("PostgreSQL refused a connection or a statement")]
    Database(#[from] sqlx::Error),
    #[error("Redis refused a connection or a command")]
    Redis(#[from] redis::RedisError),
    #[error("a URL cannot be understood")]
    Url(#[from] url::ParseError),
    #[error("a service could not be asked")]
    Http(#[from] reqwest::Error),
    #[error("{service} was not ready within {seconds} s; its log says:\n{log}")]
    NotReady {
        service: &'static str,
        seconds: u64,
        log: String,
    },
    #[error("{request} was answered with {status}: {body}")]
    Answer {
        request: String,
        status: u16,
        body: String,
    },
    #[error("no template in config/tasks makes a task that the demonstration can ask for")]
    NoTemplate,
    #[error("the changed template did not arrive within {seconds} s")]
    NoChange { seconds: u64 },
    #[error(
        "these generated files are not current; run `cargo xtask generate` and commit them:\n  {}",
        files.join("\n  ")
    )]
    NotCurrent { files: Vec<String> },
    #[error("interrupted")]
    Interrupted,
}

impl XtaskError {
    /// A program's own exit code where one failed, 130 for an interruption as shells have it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Command { status, .. } => status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1)
                .into(),
            Self::Interrupted => ExitCode::from(130),
            _ => ExitCode::FAILURE,
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }
}
