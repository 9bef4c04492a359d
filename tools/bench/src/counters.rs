//! Counts SQL statements of this process and commands of Redis.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

use crate::error::Result;

/// sqlx logs each statement that it sent to this target.
const SQLX: &str = "sqlx::query";

static LISTENING: AtomicBool = AtomicBool::new(false);
static STATEMENTS: Mutex<Vec<Statement>> = Mutex::new(Vec::new());

/// A statement that was sent to PostgreSQL.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    /// The first words of a long text.
    summary: String,
    text: String,
}

impl Statement {
    /// Returns `true` for a statement that loads a document, unlike polls, `LISTEN` and the set-up
    /// of a connection.
    pub(crate) fn loads_a_document(&self) -> bool {
        [&self.summary, &self.text]
            .iter()
            .any(|text| text.contains("configuration"))
    }
}

struct StatementLog;

impl<S: Subscriber> Layer<S> for StatementLog {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // The default would ask `enabled` once and for all.
        if metadata.target() == SQLX {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        metadata.target() == SQLX && LISTENING.load(Ordering::Relaxed)
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        let mut statements = STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner);
        statements.push(statement);
    }
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.text),
            _ => {}
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}

/// Lets this process see the statements that sqlx logs.
pub(crate) fn install() {
    // It fails only if another subscriber was installed, and there is none.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(StatementLog));
}

/// Returns the result of `work`, and the statements that this process sent meanwhile.
pub(crate) async fn statements<T>(
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Vec<Statement>)> {
    taken();
    LISTENING.store(true, Ordering::Relaxed);
    let result = work.await;
    LISTENING.store(false, Ordering::Relaxed);
    Ok((result?, taken()))
}

fn taken() -> Vec<Statement> {
    std::mem::take(&mut *STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Returns how often the server was asked to execute `command` since its start.
pub(crate) async fn calls(redis: &mut MultiplexedConnection, command: &str) -> Result<u64> {
    let mut info = redis::cmd("INFO");
    let info: redis::InfoDict = info.arg("commandstats").query_async(redis).await?;
    // Such as `calls=21,usec=175,...`, and nothing before the first call.
    let figures: String = info.get(&format!("cmdstat_{command}")).unwrap_or_default();
    let calls = figures.split(['=', ',']).nth(1);
    Ok(calls.and_then(|calls| calls.parse().ok()).unwrap_or(0))
}
