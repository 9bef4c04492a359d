//! Why a task failed.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

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
    #[error(
        "these generated files are not current; run `cargo xtask generate` and commit them:\n  {}",
        files.join("\n  ")
    )]
    NotCurrent { files: Vec<String> },
}

impl XtaskError {
    /// A program's own exit code where one failed.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Command { status, .. } => status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1)
                .into(),
            _ => ExitCode::FAILURE,
        }
    }

    pub(crate) fn spawn(command: &Command) -> impl FnOnce(io::Error) -> Self + use<> {
        let program = command.get_program().to_string_lossy().into_owned();
        |source| Self::Spawn { program, source }
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }
}
