//! Logs to standard error: JSON for machines, text for people.

use std::io::IsTerminal;

use tracing::Metadata;
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Why logs cannot be written as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// `TASKER_LOG_FORMAT` names no format.
    #[error("TASKER_LOG_FORMAT is `{value}`; it must be `json` or `human`")]
    Format {
        /// What it names.
        value: String,
    },
    /// The filter cannot be read.
    #[error("{variable} is not a log filter such as `info,tasker_shared=debug`")]
    Filter {
        /// The variable that holds it.
        variable: &'static str,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Human,
}

/// Starts logging for the whole process, as `TASKER_LOG_FORMAT`, `TASKER_LOG` and `RUST_LOG` say.
/// Panics are logged too, within the span that they happen in. A second call changes nothing.
///
/// # Errors
/// When a variable cannot be understood; nothing is logged then.
pub(crate) fn init() -> Result<(), LoggingError> {
    let terminal = std::io::stderr().is_terminal();
    let format = format(std::env::var("TASKER_LOG_FORMAT").ok().as_deref(), terminal)?;
    let filter = filter(|variable| std::env::var(variable).ok())?;
    let asked = filter.to_string();
    // Failure means that a subscriber is there already: a test's.
    let started = tracing_subscriber::registry()
        .with(lines(format, terminal, filter, std::io::stderr))
        .try_init();
    if started.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
        // Tells whoever asks for everything that they get it.
        tracing::trace!(filter = asked, "logging begins");
    }
    Ok(())
}

/// Writes what `filter` lets pass, without the events that may hold secrets.
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

/// Whether an event may be written whatever the operator's filter says.
///
/// The PostgreSQL client quotes parameters of its URL and lines of its password file. The Redis
/// client quotes answers, and a server that does not know a command answers with its arguments,
/// one of which is the password; what matters of its errors is logged by the cache.
fn may_be_written(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let quotes_settings = target.starts_with("sqlx_postgres::options")
        && ["line", "value"]
            .iter()
            .any(|field| metadata.fields().field(field).is_some());
    let is_redis_client = target == "redis" || target.starts_with("redis::");
    !quotes_settings && !is_redis_client
}

/// Whether [`init`] would understand its variables.
///
/// # Errors
/// As [`init`].
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

// PostgreSQL's notices tell that what the migrator asks for is there already.
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
    fn no_filter_brings_out_what_libraries_quote() {
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
    fn a_terminal_gets_text_and_a_pipe_gets_json_unless_told_otherwise() {
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
