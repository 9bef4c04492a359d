//! Failures to start or to control a server. They end a test or the run of a tool, so only the one
//! that is asked for has a type.

use std::error::Error;
use std::time::Duration;

/// A server could not be started, or did not do what was requested.
pub type Failure = Box<dyn Error + Send + Sync>;
/// The result of an action that may fail.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// A server's process that ended unexpectedly. The only failure that callers ask for.
#[derive(Debug, thiserror::Error)]
#[error("{program} ended with status {status}; its log says:\n{log}")]
pub struct Exited {
    /// The server's program.
    program: &'static str,
    /// Its exit status in the shell's form: 128 plus the signal after a signal.
    status: String,
    /// The end of its log.
    pub(crate) log: String,
}

/// The bytes of a log that an error contains at most.
const LOG_TAIL: usize = 4000;

impl Exited {
    pub(crate) fn new(program: &'static str, status: String, log: &str) -> Self {
        Self {
            program,
            status,
            log: tail(log).to_owned(),
        }
    }
}

pub(crate) fn too_slow(program: &str, action: &str, deadline: Duration, log: &str) -> Failure {
    let (seconds, log) = (deadline.as_secs(), tail(log));
    format!("{program} did not {action} within {seconds} s; its log says:\n{log}").into()
}

fn tail(log: &str) -> &str {
    let start = log.len().saturating_sub(LOG_TAIL);
    &log[log.ceil_char_boundary(start)..]
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
