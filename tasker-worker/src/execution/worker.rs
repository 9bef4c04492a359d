//! A worker that is embedded in a program.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::SystemContext;
use tasker_shared::execution::Scope;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::documents::Documents;
use super::handlers::Handlers;
use super::http::HttpHandlers;
use super::session::{Session, SessionEnd};
use super::shared::Shared;
use super::wake::{Wake, listen};

/// The least time between the starts of two sessions.
const LEAST: Duration = Duration::from_secs(1);

/// Builds a [`Worker`].
#[derive(Debug)]
pub struct WorkerBuilder {
    context: Arc<SystemContext>,
    handlers: Handlers,
    name: String,
}

impl WorkerBuilder {
    /// Sets the handlers.
    #[must_use]
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// Sets the name under which the worker is listed. Default `worker`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Starts to run steps in the background. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(self) -> Worker {
        let config = &self.context.tasker_config;
        let pool = self.context.database_pool().clone();
        let wake = Arc::new(Wake::default());
        let draining = CancellationToken::new();
        let execution = &config.worker.execution;
        let statement_timeout_ms = config.common.database.pool.statement_timeout_ms;
        let http = HttpHandlers::new(&config.worker.http_handlers, execution.max_result_bytes);
        let scope = Scope {
            callables: self.handlers.callables().map(str::to_owned).collect(),
            patterns: http
                .as_ref()
                .map(HttpHandlers::patterns)
                .unwrap_or_default(),
        };
        let (registration, registered) = watch::channel(None);
        let shared = Arc::new(Shared {
            documents: Documents::new(pool.clone(), config.common.environment.clone()),
            name: self.name,
            host: host(),
            config: execution.clone(),
            handlers: self.handlers,
            http,
            scope,
            wake: Arc::clone(&wake),
            draining: draining.clone(),
            pool: pool.clone(),
            statement_timeout: Duration::from_millis(statement_timeout_ms.into()),
            registration,
        });
        let sessions = tokio::spawn(async move {
            // Dropped with this task, which ends the listener.
            let mut listener = JoinSet::new();
            listener.spawn(listen(pool, wake));
            let mut started = Instant::now();
            while Session::new(Arc::clone(&shared)).run().await == SessionEnd::Lost {
                // A lease may be lost at once, if no thread can be started to renew it.
                let next = sleep_until(started + LEAST);
                shared.draining.run_until_cancelled(next).await;
                started = Instant::now();
            }
        });
        Worker {
            draining,
            sessions,
            registered,
        }
    }
}

/// A worker that runs steps in the background. Dropping it stops it without a drain: its claims are
/// then returned by other services when its lease is over.
#[derive(Debug)]
pub struct Worker {
    draining: CancellationToken,
    sessions: JoinHandle<()>,
    registered: watch::Receiver<Option<Uuid>>,
}

impl Worker {
    /// Starts to build a worker on the database and the configuration of `context`.
    #[must_use]
    pub fn builder(context: Arc<SystemContext>) -> WorkerBuilder {
        WorkerBuilder {
            context,
            handlers: Handlers::new(),
            name: String::from("worker"),
        }
    }

    /// Returns the id under which it runs steps now, or nothing while it has no lease.
    #[must_use]
    pub fn registration(&self) -> watch::Receiver<Option<Uuid>> {
        self.registered.clone()
    }

    /// Claims no more steps, lets handlers finish for `drain_timeout_seconds`, and returns the rest
    /// of the claims to the queue.
    pub async fn drain(mut self) {
        self.draining.cancel();
        (&mut self.sessions).await.ok();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.sessions.abort();
    }
}

fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
