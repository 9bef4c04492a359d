//! Failures to start or to control a server.

use std::error::Error;
use std::io;
use std::time::Duration;

/// A server could not be started, or did not do what was requested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestkitError {
    /// A program is missing and could not be installed.
    #[error(
        "`{program}` is not on PATH and cannot be installed from here; install it (on Debian: \
         apt-get install {debian_package}), start a Docker engine, or name running servers in \
         DATABASE_URL and REDIS_URL"
    )]
    NotInstalled {
        /// The program.
        program: &'static str,
        /// The Debian package that contains it.
        debian_package: &'static str,
    },
    /// PostgreSQL refuses to run as root, and there is no other account.
    #[error(
        "running as root, and the users `postgres` and `nobody` do not exist to run servers as"
    )]
    NoUnprivilegedUser,
    /// The folder for a server's files could not be created.
    #[error("the temporary folder for a server's files cannot be created")]
    Folder(#[source] io::Error),
    /// All ports that were tried are in use.
    #[error("no free port on 127.0.0.1")]
    NoFreePort,
    /// The supervising shell did not start, or has ended.
    #[error("the shell that supervises {program} does not run")]
    Supervisor {
        /// The server's program.
        program: &'static str,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The server's process ended unexpectedly.
    #[error("{program} ended with status {status}; its log says:\n{log}")]
    Exited {
        /// The server's program.
        program: &'static str,
        /// Its exit status in the shell's form: 128 plus the signal after a signal.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// The server missed a deadline.
    #[error("{program} did not {action} within {seconds} s; its log says:\n{log}")]
    TooSlow {
        /// The server's program.
        program: &'static str,
        /// The action that did not happen.
        action: &'static str,
        /// The deadline, in seconds.
        seconds: u64,
        /// The end of its log.
        log: String,
    },
    /// A signal could not be sent.
    #[error("{program} cannot be signalled")]
    Signal {
        /// The server's program.
        program: &'static str,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The Docker engine refused a request.
    #[error("the Docker engine refused a request")]
    Docker(#[from] testcontainers::TestcontainersError),
    /// A connection or statement failed.
    #[error("PostgreSQL refused a connection or a statement")]
    Postgres(#[from] sqlx::Error),
    /// A connection or command failed.
    #[error("Redis refused a connection or a command")]
    Redis(#[from] redis::RedisError),
    /// No node of a cluster names a primary.
    #[error("no primary is known")]
    NoPrimary,
    /// A server's URL is invalid. The URL is not shown, because it may contain a password.
    #[error("the server's URL is invalid")]
    Url(#[from] url::ParseError),
    /// The URL of the server behind a proxy names no host.
    #[error("the server's URL names no host")]
    NoHost,
    /// A socket of this process could not be used.
    #[error("a socket cannot be used")]
    Socket(#[source] io::Error),
}

/// The bytes of a log that an error contains at most.
const LOG_TAIL: usize = 4000;

impl TestkitError {
    pub(crate) fn too_slow(
        program: &'static str,
        action: &'static str,
        deadline: Duration,
        log: &str,
    ) -> Self {
        Self::TooSlow {
            program,
            action,
            seconds: deadline.as_secs(),
            log: tail(log),
        }
    }

    pub(crate) fn exited(program: &'static str, status: String, log: &str) -> Self {
        Self::Exited {
            program,
            status,
            log: tail(log),
        }
    }
}

fn tail(log: &str) -> String {
    let start = log.len().saturating_sub(LOG_TAIL);
    log[log.ceil_char_boundary(start)..].to_owned()
}

/// Returns an error with its causes, in one line.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
