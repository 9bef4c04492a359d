//! The reason why a task failed.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

/// The reason why a task failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XtaskError {
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
