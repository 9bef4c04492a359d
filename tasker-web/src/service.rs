//! Runs a service: command line, logs, configuration, start, serve, stop.

use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing_appender::non_blocking::WorkerGuard;

use crate::cli::{self, Action};
use crate::connections;
use crate::exit;
use crate::lifecycle::{Lifecycle, StopSignals};
use crate::logging::{self, LoggingError};
use crate::metrics_route;
use crate::parts::{AppParts, ServiceInfo};
use crate::problem::causes;
use crate::start::Entrance;
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::{TaskerConfig, WebConfig};
use tasker_shared::config::{ConfigError, ConfigLoader};
use tasker_shared::database::DatabaseError;
use tasker_shared::system_context::ContextError;

/// Time between not ready and the end of accepting connections, so that load balancers notice before
/// clients are refused.
const NOT_READY_NOTICE: Duration = Duration::from_secs(1);

/// Limits the time to close pool, caches and background work after the drain. With the longest
/// drain that the configuration allows, 28 s, the process ends within 30 s.
const CLOSING_TIME: Duration = Duration::from_millis(1500);

/// Errors that end a service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The logging variables are wrong.
    #[error("logging cannot start")]
    Logging(#[from] LoggingError),
    /// The configuration is wrong.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The operating system refused threads, signal handlers or options of a socket.
    #[error("the operating system refused threads, signal handlers or options of a socket")]
    Os(#[source] std::io::Error),
    /// The address cannot be bound.
    #[error(
        "cannot listen at {address}; is another process using it? Set the service's \
         web.bind_address, or stop that process"
    )]
    Bind {
        /// The configured address.
        address: String,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// PostgreSQL cannot be used.
    #[error("the service cannot start")]
    Context(#[from] ContextError),
    /// A part of the service failed to start.
    #[error("the service cannot start")]
    Start {
        /// The exit code, one of [`exit`].
        code: u8,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A second signal arrived before all requests were answered.
    #[error("stopped by a second signal; open requests were cut off")]
    Interrupted,
}

impl ServiceError {
    /// Creates an error that ends the process with `code`.
    #[must_use]
    pub fn start(code: u8, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Start {
            code,
            source: source.into(),
        }
    }

    /// Returns the exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Logging(_)
            | Self::Config(_)
            | Self::Context(ContextError::Database {
                source: DatabaseError::Url,
                ..
            }) => exit::CONFIG,
            Self::Os(_) | Self::Bind { .. } => exit::OS,
            Self::Context(_) => exit::UNAVAILABLE,
            Self::Start { code, .. } => *code,
            Self::Interrupted => exit::INTERRUPTED,
        }
    }
}

/// Runs a service from its command line to its exit code.
///
/// The service is alive as soon as it has bound its address. `start` is called once the database is
/// connected, and the service is ready when `start` returns the router (see [`crate::app`]).
/// Background work belongs to the parts' [`Lifecycle`], which ends it.
pub fn run_service<F, Fut>(info: &'static ServiceInfo, start: F) -> ExitCode
where
    F: FnOnce(Arc<AppParts>) -> Fut,
    Fut: Future<Output = Result<Router, ServiceError>>,
{
    let action = match cli::parse(info, std::env::args_os()) {
        Ok(action) => action,
        Err(code) => return code,
    };
    // Dropped after the last report, because that is when the last lines are written.
    let mut log = None;
    match act(info, action, start, &mut log) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            let code = error.exit_code();
            report(info, &error);
            ExitCode::from(code)
        }
    }
}

/// Reports the error to the log, or to standard error if logging has not started.
fn report(info: &ServiceInfo, error: &ServiceError) {
    if tracing::dispatcher::has_been_set() {
        tracing::error!(
            service = info.name,
            exit_code = error.exit_code(),
            error = %causes(error),
            "the service failed"
        );
    } else {
        use std::io::Write;
        drop(writeln!(
            std::io::stderr(),
            "{}: {}",
            info.name,
            causes(error)
        ));
    }
}

fn act<F, Fut>(
    info: &'static ServiceInfo,
    action: Action,
    start: F,
    log: &mut Option<WorkerGuard>,
) -> Result<(), ServiceError>
where
    F: FnOnce(Arc<AppParts>) -> Fut,
    Fut: Future<Output = Result<Router, ServiceError>>,
{
    if action == Action::CheckConfig {
        logging::check()?;
        let unused = ConfigLoader::from_process_env().check()?;
        cli::print_config_is_right(&unused);
        return Ok(());
    }
    *log = Some(logging::init()?);
    let config = ConfigLoader::from_process_env().load_to_start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServiceError::Os)?;
    if action == Action::Migrate {
        runtime.block_on(SystemContext::migrate(&config.common.database))?;
        cli::print_is_migrated();
        return Ok(());
    }
    let result = runtime.block_on(run(info, config, start));
    // This closes connections that did not end in time, and does not wait for blocking work.
    runtime.shutdown_background();
    result
}

async fn run<F, Fut>(
    info: &'static ServiceInfo,
    config: TaskerConfig,
    start: F,
) -> Result<(), ServiceError>
where
    F: FnOnce(Arc<AppParts>) -> Fut,
    Fut: Future<Output = Result<Router, ServiceError>>,
{
    let web = (info.web)(&config).clone();
    let mut signals = StopSignals::new().map_err(ServiceError::Os)?;
    // Bind before the database is used, so that a second copy of a service ends here.
    let (listener, address) = bind(&web).await?;
    // Install the recorder first, so that work during the start is counted.
    metrics_route::recorder();
    let lifecycle = Lifecycle::new();
    let entrance = Entrance::new(info, &web);
    let stop_accepting = CancellationToken::new();
    let server = connections::serve(listener, entrance.clone(), &web, stop_accepting.clone());
    let mut server = std::pin::pin!(server);
    tracing::info!(service = info.name, version = info.version, %address, "alive, starting");
    let start_up = async {
        let context = Arc::new(SystemContext::connect(config).await?);
        let parts = AppParts::new(info, context, lifecycle.clone());
        let router = start(Arc::clone(&parts)).await?;
        Ok::<_, ServiceError>((parts, router))
    };
    let (parts, router) = tokio::select! {
        started = start_up => started?,
        () = &mut server => return Ok(()),
        // No route of the service is open yet, so there is nothing to drain.
        _ = signals.next() => return Ok(()),
    };
    entrance.open(router);
    tracing::info!(service = info.name, version = info.version, %address, "listening");
    let outcome = drain(server, &stop_accepting, &lifecycle, &web, &mut signals).await;
    close(&parts, &mut signals).await;
    if outcome.is_ok() {
        tracing::info!(service = info.name, "stopped");
    }
    outcome
}

async fn bind(web: &WebConfig) -> Result<(TcpListener, SocketAddr), ServiceError> {
    let refused = |source| ServiceError::Bind {
        address: web.bind_address.clone(),
        source,
    };
    let listener = TcpListener::bind(&web.bind_address)
        .await
        .map_err(refused)?;
    connections::limit_silence(&listener, connections::SILENCE).map_err(ServiceError::Os)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// Serves until a signal arrives, then until open requests are answered or the drain time is over.
async fn drain(
    mut server: Pin<&mut impl Future<Output = ()>>,
    stop_accepting: &CancellationToken,
    lifecycle: &Lifecycle,
    web: &WebConfig,
    signals: &mut StopSignals,
) -> Result<(), ServiceError> {
    let signal = tokio::select! {
        () = &mut server => return Ok(()),
        signal = signals.next() => signal,
    };
    let drain = Duration::from_secs(web.drain_timeout_seconds);
    let drained_by = Instant::now() + drain;
    lifecycle.begin_drain();
    tracing::info!(
        signal,
        drain_seconds = drain.as_secs(),
        "not ready, draining"
    );

    let draining = async {
        tokio::select! {
            // The server ends only after `stop_accepting`.
            () = &mut server => return Ok(()),
            () = tokio::time::sleep(NOT_READY_NOTICE.min(drain)) => {}
        }
        stop_accepting.cancel();
        match tokio::time::timeout_at(drained_by, &mut server).await {
            Ok(()) => Ok(()),
            Err(_elapsed) => {
                tracing::warn!(
                    drain_seconds = drain.as_secs(),
                    "open requests were cut off because the drain time is over; raise web.drain_timeout_seconds if they matter"
                );
                Ok(())
            }
        }
    };
    let all_drained = async {
        let (drained, ()) = tokio::join!(draining, lifecycle.drained());
        drained
    };
    tokio::select! {
        drained = all_drained => drained,
        _ = signals.next() => Err(ServiceError::Interrupted),
    }
}

/// Ends background work and closes pool and caches, at most for [`CLOSING_TIME`].
async fn close(parts: &AppParts, signals: &mut StopSignals) {
    let closing = async {
        parts.lifecycle.stop(CLOSING_TIME).await;
        parts.context.shutdown().await;
    };
    tokio::select! {
        closed = tokio::time::timeout(CLOSING_TIME, closing) => {
            if closed.is_err() {
                tracing::info!("background work was cut off because it did not end in time");
            }
        }
        _ = signals.next() => {}
    }
}
