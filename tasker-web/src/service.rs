//! The `main` of a service: command line, logs, configuration, start, serve, stop.

use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::{AppParts, ServiceInfo};
use crate::cli::{self, Action};
use crate::exit;
use crate::lifecycle::{Lifecycle, StopSignals};
use crate::logging::{self, LoggingError};
use crate::metrics_route;
use crate::problem::causes;
use crate::start::Entrance;
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::{TaskerConfig, WebConfig};
use tasker_shared::config::{ConfigError, ConfigLoader};
use tasker_shared::database::DatabaseError;
use tasker_shared::system_context::ContextError;

/// How long the process goes on accepting connections after it became not ready, so that load
/// balancers notice before clients are refused.
const NOT_READY_NOTICE: Duration = Duration::from_secs(1);

/// What closing pool, caches and background work may take after the drain. With the longest
/// drain that the configuration allows, 28 s, the process is gone within 30 s.
const CLOSING_TIME: Duration = Duration::from_millis(1500);

/// Why a service cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Logs cannot be written as asked.
    #[error("logging cannot start")]
    Logging(#[from] LoggingError),
    /// The configuration is wrong.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// Threads or signal handlers cannot be had.
    #[error("the operating system refuses what the service needs")]
    Os(#[source] std::io::Error),
    /// The address cannot be listened at.
    #[error(
        "cannot listen at {address}; is another process there? Set the service's web.bind_address, \
         or stop that process"
    )]
    Bind {
        /// The configured address.
        address: String,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// PostgreSQL cannot be used.
    #[error("the service cannot start")]
    Context(#[from] ContextError),
    /// What is the service's own cannot start.
    #[error("the service cannot start")]
    Start {
        /// What to exit with; one of [`exit`].
        code: u8,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The listener failed.
    #[error("the server failed")]
    Serve(#[source] std::io::Error),
    /// A second signal came before requests under way were done.
    #[error("stopped by a second signal; requests under way were cut off")]
    Interrupted,
}

impl ServiceError {
    /// `source` kept the service from starting; the process exits with `code`.
    #[must_use]
    pub fn start(code: u8, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Start {
            code,
            source: source.into(),
        }
    }

    /// What the process exits with.
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
            Self::Serve(_) => exit::INTERNAL,
            Self::Interrupted => exit::INTERRUPTED,
        }
    }
}

/// Runs a service from its command line to its exit code.
///
/// The service is alive as soon as it has its address, and ready when `start` has made its router
/// (see [`crate::app`]); that is called when the database is there. Background work belongs to the parts' [`Lifecycle`], which ends it.
pub fn run_service<F, Fut>(info: &'static ServiceInfo, start: F) -> ExitCode
where
    F: FnOnce(Arc<AppParts>) -> Fut,
    Fut: Future<Output = Result<Router, ServiceError>>,
{
    let action = match cli::parse(info, std::env::args_os()) {
        Ok(action) => action,
        Err(code) => return code,
    };
    match act(info, action, start) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            let code = error.exit_code();
            report(info, &error);
            ExitCode::from(code)
        }
    }
}

/// Tells whoever started the process; through the log where there is one.
fn report(info: &ServiceInfo, error: &ServiceError) {
    if tracing::dispatcher::has_been_set() {
        tracing::error!(
            service = info.name,
            exit_code = error.exit_code(),
            error = %causes(error),
            "the service ends"
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

fn act<F, Fut>(info: &'static ServiceInfo, action: Action, start: F) -> Result<(), ServiceError>
where
    F: FnOnce(Arc<AppParts>) -> Fut,
    Fut: Future<Output = Result<Router, ServiceError>>,
{
    if action == Action::CheckConfig {
        logging::check()?;
        ConfigLoader::load_from_process()?;
        cli::print_config_is_right();
        return Ok(());
    }
    logging::init()?;
    let config = ConfigLoader::load_from_process()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServiceError::Os)?;
    let result = runtime.block_on(run(info, config, start));
    // Connections that did not end in time are cut here; blocking work is not waited for.
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
    // Before the database is touched: a second copy of a service ends here.
    let (listener, address) = bind(&web).await?;
    // Before anything counts: what a start does is counted, too.
    metrics_route::recorder();
    let lifecycle = Lifecycle::new();
    let entrance = Entrance::new(info, &web);
    let stop_accepting = CancellationToken::new();
    // Answers are small and whole: waiting to fill a packet only delays them.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
    });
    let server = axum::serve(listener, entrance.clone())
        .with_graceful_shutdown(stop_accepting.clone().cancelled_owned());
    let mut server = std::pin::pin!(server.into_future());
    tracing::info!(service = info.name, version = info.version, %address, "alive, starting");
    let start_up = async {
        let context = Arc::new(SystemContext::connect(config).await?);
        let parts = AppParts::new(info, context, lifecycle.clone());
        let router = start(Arc::clone(&parts)).await?;
        Ok::<_, ServiceError>((parts, router))
    };
    let (parts, router) = tokio::select! {
        started = start_up => started?,
        ended = &mut server => return ended.map_err(ServiceError::Serve),
        // No request that matters is served yet: there is nothing to drain.
        _ = signals.next() => return Ok(()),
    };
    entrance.open(router);
    tracing::info!(service = info.name, version = info.version, %address, "listening");
    let outcome = serve(server, &stop_accepting, &lifecycle, &web, &mut signals).await;
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
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// Serves until a signal comes and requests under way are done, or have had their time.
async fn serve(
    mut server: Pin<&mut impl Future<Output = std::io::Result<()>>>,
    stop_accepting: &CancellationToken,
    lifecycle: &Lifecycle,
    web: &WebConfig,
    signals: &mut StopSignals,
) -> Result<(), ServiceError> {
    let signal = tokio::select! {
        ended = &mut server => return ended.map_err(ServiceError::Serve),
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
            // The server never ends before it is told to.
            _ = &mut server => return Ok(()),
            () = tokio::time::sleep(NOT_READY_NOTICE.min(drain)) => {}
        }
        stop_accepting.cancel();
        match tokio::time::timeout_at(drained_by, &mut server).await {
            Ok(ended) => ended.map_err(ServiceError::Serve),
            Err(_elapsed) => {
                tracing::warn!(
                    drain_seconds = drain.as_secs(),
                    "requests under way were cut off; raise web.drain_timeout_seconds if they matter"
                );
                Ok(())
            }
        }
    };
    tokio::select! {
        drained = draining => drained,
        _ = signals.next() => Err(ServiceError::Interrupted),
    }
}

/// Ends background work and closes pool and caches, for as long as there is time.
async fn close(parts: &AppParts, signals: &mut StopSignals) {
    let closing = async {
        parts.lifecycle.stop(CLOSING_TIME).await;
        parts.context.shutdown().await;
    };
    tokio::select! {
        closed = tokio::time::timeout(CLOSING_TIME, closing) => {
            if closed.is_err() {
                tracing::info!("background work was cut off");
            }
        }
        _ = signals.next() => {}
    }
}
