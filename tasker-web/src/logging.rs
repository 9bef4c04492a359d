//! Logs to standard error, as JSON or as text.
//!
//! A thread of its own writes the lines, because a write to a pipe that nobody reads never ends, and
//! the thread that logs would wait for it. Lines beyond [`BUFFERED_LINES`] are dropped and counted.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing::Metadata;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// The number of lines that wait to be written at most: some 4 MB.
const BUFFERED_LINES: usize = 4_096;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Errors in the variables that configure logging.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// `TASKER_LOG_FORMAT` names no format.
    #[error("TASKER_LOG_FORMAT is `{value}`; it must be `json` or `human`")]
    Format {
        /// The value of the variable.
        value: String,
    },
    /// The log filter cannot be parsed.
    #[error("{variable} is not a log filter such as `info,tasker_shared=debug`")]
    Filter {
        /// The variable that holds the filter.
        variable: &'static str,
        /// The parse error.
        #[source]
        source: ParseError,
    },
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Human,
}

/// Starts logging for the whole process, as `TASKER_LOG_FORMAT`, `TASKER_LOG` and `RUST_LOG` say.
/// Also logs panics, in the span in which they happen. A second call has no effect.
///
/// Lines are written until the guard is dropped, which waits a second at most for the last of them.
///
/// # Errors
/// Fails if a variable has a wrong value. Logging is then off.
pub(crate) fn init() -> Result<WorkerGuard, LoggingError> {
    let terminal = std::io::stderr().is_terminal();
    let format = format(std::env::var("TASKER_LOG_FORMAT").ok().as_deref(), terminal)?;
    let filter = filter(|variable| std::env::var(variable).ok())?;
    let asked = filter.to_string();
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(BUFFERED_LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    // This fails if a test has installed a subscriber before.
    let started = tracing_subscriber::registry()
        .with(lines(format, terminal, filter, writer))
        .try_init();
    if started.is_ok() {
        DROPPED.get_or_init(|| dropped);
        std::panic::set_hook(Box::new(log_panic));
        tracing::trace!(filter = asked, "logging started");
    }
    Ok(guard)
}

/// Returns the number of lines that were not written, because nobody reads standard error.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED
        .get()
        .map_or(0, |dropped| dropped.dropped_lines() as u64)
}

/// Writes the events that pass `filter`, except those that may contain secrets.
fn lines(
    format: Format,
    terminal: bool,
    filter: EnvFilter,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> impl Layer<Registry> {
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
        Format::Human => lines.with_ansi(terminal).boxed(),
    };
    filter.and_then(filter_fn(may_be_written)).and_then(lines)
}

/// Returns false for events that may contain secrets, whatever the operator's filter says.
///
/// The PostgreSQL client quotes parameters of its URL and lines of its password file. The Redis
/// client quotes answers, and a server that does not know a command repeats its arguments, which can
/// include the password. The cache logs those errors itself, without the quoted text.
fn may_be_written(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let quotes_settings = target.starts_with("sqlx_postgres::options")
        && ["line", "value"]
            .iter()
            .any(|field| metadata.fields().field(field).is_some());
    let is_redis_client = target == "redis" || target.starts_with("redis::");
    !quotes_settings && !is_redis_client
}

/// Checks the variables of [`init`].
///
/// # Errors
/// Fails as [`init`] does.
pub(crate) fn check() -> Result<(), LoggingError> {
    format(std::env::var("TASKER_LOG_FORMAT").ok().as_deref(), false)?;
    filter(|variable| std::env::var(variable).ok())?;
    Ok(())
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(no text)");
    let location = panic.location().map(ToString::to_string);
    tracing::error!(message = "panic", panic = message, location);
}

fn format(value: Option<&str>, terminal: bool) -> Result<Format, LoggingError> {
    match value.unwrap_or_default() {
        "" => Ok(if terminal {
            Format::Human
        } else {
            Format::Json
        }),
        "json" => Ok(Format::Json),
        "human" => Ok(Format::Human),
        other => Err(LoggingError::Format {
            value: other.to_owned(),
        }),
    }
}

// PostgreSQL sends a notice for each existing object that the migrator wants to create.
const DEFAULT_FILTER: &str = "info,sqlx::postgres::notice=warn";

fn filter(variable: impl Fn(&'static str) -> Option<String>) -> Result<EnvFilter, LoggingError> {
    for name in ["TASKER_LOG", "RUST_LOG"] {
        if let Some(value) = variable(name).filter(|value| !value.trim().is_empty()) {
            return EnvFilter::try_new(value).map_err(|source| LoggingError::Filter {
                variable: name,
                source,
            });
        }
    }
    Ok(EnvFilter::new(DEFAULT_FILTER))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{Format, LoggingError, filter, format, lines};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_shows_events_in_which_libraries_quote_secrets() {
        for format in [Format::Json, Format::Human] {
            let buffer = Buffer::default();
            let writer = buffer.clone();
            let filter = EnvFilter::new("trace,redis=trace,sqlx_postgres::options=trace");
            let lines = lines(format, false, filter, move || writer.clone());
            tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
                tracing::warn!(target: "sqlx_postgres::options::parse", value = "s3cret", "shown");
                tracing::warn!(target: "sqlx_postgres::options::pgpass", line = "s3cret", "shown");
                tracing::warn!(target: "redis::cluster", "AUTH s3cret");
                tracing::warn!(target: "sqlx_postgres::options::pgpass", "too open");
                tracing::trace!(target: "redistribution", "another");
            });
            let bytes = buffer.0.lock().expect("nobody panics").clone();
            let text = String::from_utf8(bytes).expect("logs are text");
            assert!(!text.contains("s3cret"), "{text}");
            assert!(
                text.contains("too open") && text.contains("another"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_terminal_gets_text_and_a_pipe_gets_json_by_default() {
        assert!(matches!(format(None, true), Ok(Format::Human)));
        assert!(matches!(format(None, false), Ok(Format::Json)));
        assert!(matches!(format(Some("json"), true), Ok(Format::Json)));
        assert!(matches!(
            format(Some("xml"), true),
            Err(LoggingError::Format { .. })
        ));
    }

    #[test]
    fn our_variable_wins_and_a_wrong_filter_names_its_variable() {
        let both = |name: &str| {
            Some(
                if name == "TASKER_LOG" {
                    "debug"
                } else {
                    "warn"
                }
                .into(),
            )
        };
        assert_eq!(filter(both).expect("it is a filter").to_string(), "debug");
        let default = filter(|_| None).expect("the default").to_string();
        assert!(default.contains("info"), "{default}");
        let wrong = |name: &str| (name == "RUST_LOG").then(|| String::from("tasker=loud"));
        let error = filter(wrong).expect_err("loud is no level");
        assert!(error.to_string().starts_with("RUST_LOG"), "{error}");
    }
}
