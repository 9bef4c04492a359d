//! How many statements and commands something takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

use crate::error::BenchError;

/// sqlx tells of every statement that it has sent.
const SQLX: &str = "sqlx::query";

static LISTENING: AtomicBool = AtomicBool::new(false);
static STATEMENTS: Mutex<Vec<Statement>> = Mutex::new(Vec::new());

/// A statement that PostgreSQL was sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    /// Its first words, where it is a long one.
    summary: String,
    text: String,
    pub(crate) seconds: f64,
}

impl Statement {
    /// Whether it is the directory's question for news, which is asked whatever happens.
    pub(crate) fn is_poll(&self) -> bool {
        self.text().contains("same_history")
    }

    /// What was sent.
    pub(crate) fn text(&self) -> &str {
        if self.text.is_empty() {
            &self.summary
        } else {
            &self.text
        }
    }

    /// Whether it reads a template or what leads to one: not the directory, no notifications, and
    /// not what sets up a connection.
    pub(crate) fn reads_a_template(&self) -> bool {
        !self.is_poll()
            && ["tasker.named_tasks", "tasker.task_namespaces"]
                .iter()
                .any(|table| self.text().contains(table))
    }
}

struct StatementLog;

impl<S: Subscriber> Layer<S> for StatementLog {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
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
        STATEMENTS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(statement);
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

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.seconds = value;
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}

/// Has this process able to listen to sqlx.
pub(crate) fn install() {
    // Nobody else in this program installs one.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(StatementLog));
}

/// What `work` answers, and the statements that this process sent meanwhile.
pub(crate) async fn statements<T>(
    work: impl Future<Output = Result<T, BenchError>>,
) -> Result<(T, Vec<Statement>), BenchError> {
    taken();
    LISTENING.store(true, Ordering::Relaxed);
    let answer = work.await;
    LISTENING.store(false, Ordering::Relaxed);
    Ok((answer?, taken()))
}

fn taken() -> Vec<Statement> {
    std::mem::take(&mut *STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// How many operations on the distributed cache this process has given up for lack of time.
pub(crate) fn cache_timeouts() -> u64 {
    let metrics = tasker_web::recorder().render();
    let timeouts = metrics.lines().filter(|line| {
        line.starts_with("tasker_cache_operations_total{") && line.contains("result=\"timeout\"")
    });
    timeouts
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// How often Redis was called, by command.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commands(BTreeMap<String, u64>);

impl Commands {
    /// Since the server's start.
    pub(crate) async fn read(redis: &mut MultiplexedConnection) -> Result<Self, BenchError> {
        let info: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(redis)
            .await?;
        let calls = info.lines().filter_map(|line| {
            let (command, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = numbers.split(',').next()?.parse().ok()?;
            Some((command.to_owned(), calls))
        });
        Ok(Self(calls.collect()))
    }

    /// Calls of `command` since `before`.
    pub(crate) fn since(&self, before: &Self, command: &str) -> u64 {
        let of = |commands: &Self| commands.0.get(command).copied().unwrap_or(0);
        of(self) - of(before)
    }
}
