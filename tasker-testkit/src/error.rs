//! What can go wrong between wanting a server and having one.

use std::io;

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
}
