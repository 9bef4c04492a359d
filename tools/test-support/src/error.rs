//! What can go wrong between wanting a server and having one.

use std::error::Error;
use std::io;
use std::time::Duration;

/// Why a server could not be had, or did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestkitError {
    /// No way of getting this server works on this machine.
    #[error(
        "no {service} to be had: {variable} names none that answers, no Docker engine gave one, \
         and its programs are not on PATH or where Debian puts them. Install it (on Debian: \
         apt-get install {debian_package}), set {variable}, or run `cargo xtask test`, which \
         installs what is missing where it may"
    )]
    NotInstalled {
        /// The server, as a person calls it.
        service: &'static str,
        /// The environment variable that names one.
        variable: &'static str,
        /// The Debian package that has its programs.
        debian_package: &'static str,
    },
    /// We are root, which PostgreSQL refuses, and there is nobody else to be.
    #[error(
        "running as root, and the users `postgres` and `nobody` do not exist to run servers as"
    )]
    NoUnprivilegedUser,
    /// The folder for a server's files could not be made.
    #[error("the temporary folder for a server's files cannot be made")]
    Folder(#[source] io::Error),
    /// Every port that was tried is taken.
    #[error("no free port on 127.0.0.1")]
    NoFreePort,
    /// The supervising shell did not start, or is gone.
    #[error("the shell that supervises {program} cannot be reached")]
    Supervisor {
        /// The server's program.
        program: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The server's process ended when it should have run.
    #[error("{program} ended with status {status}; its log says:\n{log}")]
    Exited {
        /// The server's program.
        program: &'static str,
        /// Its exit status, as the shell saw it: above 128 it is 128 plus a signal.
        status: String,
        /// The end of what it wrote.
        log: String,
    },
    /// The server did not get where it should within the deadline.
    #[error("{program} did not {action} within {seconds} s; its log says:\n{log}")]
    TooSlow {
        /// The server's program.
        program: &'static str,
        /// What was waited for.
        action: &'static str,
        /// How long was waited.
        seconds: u64,
        /// The end of what it wrote.
        log: String,
    },
    /// A signal could not be sent.
    #[error("{program} cannot be signalled")]
    Signal {
        /// The server's program.
        program: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The Docker engine refused.
    #[error("the Docker engine did not do what it was asked")]
    Docker(#[from] testcontainers::TestcontainersError),
    /// A statement of ours failed.
    #[error("PostgreSQL refused a connection or a statement")]
    Postgres(#[from] sqlx::Error),
    /// A command of ours failed.
    #[error("Redis refused a connection or a command")]
    Redis(#[from] redis::RedisError),
    /// No node of a cluster, or no sentinel, names a primary.
    #[error("no primary is known")]
    NoPrimary,
    /// Certificates could not be made.
    #[error("certificates cannot be made")]
    Certificates(#[from] rcgen::Error),
    /// A service did not answer.
    #[error("the service does not answer")]
    Http(#[from] reqwest::Error),
    /// A service answered something else than it should.
    #[error("the service's answer cannot be read")]
    Answer(#[from] serde_json::Error),
    /// A server's URL cannot be understood. The URL is not repeated: it may hold a password.
    #[error("the server's URL cannot be understood")]
    Url(#[from] url::ParseError),
    /// The URL has no host, so there is nothing that a proxy could stand before.
    #[error("the server's URL names no host")]
    NoHost,
    /// The proxy could not listen on its port.
    #[error("the proxy cannot listen on its port")]
    Proxy(#[source] io::Error),
}

/// How much of a log an error carries, in bytes.
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

/// An error with its causes, in one line.
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
