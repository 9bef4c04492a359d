//! Accepts connections and serves HTTP/1.1 on them.
//!
//! `axum::serve` has no limit for a client that never completes a request, so this is a loop of our
//! own. A connection is closed if its first request, or a request that it has begun to send, does not
//! have a whole head within the limit. A connection that is idle between requests stays open, because
//! a load balancer that keeps connections would otherwise send requests into closed ones. A client that is
//! lost without a sign, or does not read its answer, keeps its connection for [`SILENCE`].

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tasker_shared::config::tasker::WebConfig;
use tasker_shared::metrics::{HTTP_ACCEPT_ERRORS, HTTP_CONNECTIONS_CLOSED};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::activity::{Activity, WatchedBody, WatchedStream};
use crate::start::Entrance;

/// Pause after a failed accept. The usual cause, too many open files, lasts until a connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The longest time for which a client acknowledges nothing, or leaves an answer unread: the pause before
/// the first probe of an idle connection, and three probes.
pub(crate) const SILENCE: Duration = Duration::from_mins(1);
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// The longest head of a request, in bytes. A longer one is answered with 431. It is also the most that a
/// connection buffers of a body.
const MAX_HEAD: usize = 64 * 1024;

/// Minimum time between two log lines about refused connections.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// Has the kernel end connections of `listener` whose client is silent for longer than `silence`. Accepted
/// sockets inherit the options.
pub(crate) fn limit_silence(listener: &TcpListener, silence: Duration) -> io::Result<()> {
    let socket = SockRef::from(listener);
    let keepalive = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_INTERVAL)
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // Keepalive sends nothing while bytes of an answer are on their way.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(silence))?;
    Ok(())
}

/// Serves connections of `listener` until `stop` is cancelled and open requests are answered.
pub(crate) async fn serve(
    listener: TcpListener,
    entrance: Entrance,
    web: &WebConfig,
    stop: CancellationToken,
) {
    let head_limit = Duration::from_millis(web.header_timeout_ms);
    let permits = Arc::new(Semaphore::new(
        usize::try_from(web.max_connections).unwrap_or(Semaphore::MAX_PERMITS),
    ));
    let connections = TaskTracker::new();
    let mut reports = Reports::default();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                if !is_of_the_client(&error) {
                    metrics::counter!(HTTP_ACCEPT_ERRORS.name).increment(1);
                    reports.accept_failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            metrics::counter!(HTTP_CONNECTIONS_CLOSED.name, "reason" => "limit").increment(1);
            reports.too_many(web.max_connections);
            continue;
        };
        let connection = serve_connection(stream, entrance.clone(), head_limit, stop.clone());
        connections.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    // Closed before the wait, so that new clients are refused and do not queue.
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Returns true if the client ended the connection before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

async fn serve_connection(
    stream: TcpStream,
    entrance: Entrance,
    head_limit: Duration,
    stop: CancellationToken,
) {
    // Answers are written whole, so Nagle's algorithm would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
    let router = entrance.router();
    let activity = Activity::new();
    let watched = activity.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let request = request.map(|body| Body::new(WatchedBody::new(body, &watched)));
        watched.serve(router.clone().oneshot(request))
    });
    let io = TokioIo::new(WatchedStream::new(stream, activity.clone()));
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut stopping = pin!(stop.cancelled());
    let mut is_stopping = false;
    let mut limit = pin!(sleep_until(Instant::now() + head_limit));

    let reason = std::future::poll_fn(|context: &mut Context<'_>| {
        if !is_stopping && stopping.as_mut().poll(context).is_ready() {
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection failed");
            }
            return Poll::Ready(None);
        }
        if is_stopping && !activity.has_whole_request() {
            return Poll::Ready(Some("draining"));
        }
        let Some(since) = activity.incomplete_since() else {
            return Poll::Pending;
        };
        limit.as_mut().reset(since + head_limit);
        ready!(limit.as_mut().poll(context));
        Poll::Ready(Some("header_timeout"))
    })
    .await;
    if let Some(reason) = reason {
        metrics::counter!(HTTP_CONNECTIONS_CLOSED.name, "reason" => reason).increment(1);
    }
}

/// Limits the log lines about connections that cannot be accepted.
#[derive(Debug, Default)]
struct Reports {
    last: Option<Instant>,
    /// Events since the last line.
    hidden: u64,
}

impl Reports {
    fn accept_failed(&mut self, error: &io::Error) {
        if let Some(hidden) = self.due() {
            tracing::warn!(
                %error,
                hidden,
                "connections cannot be accepted; raise the limit of open files (ulimit -n) if it is reached"
            );
        }
    }

    fn too_many(&mut self, limit: u64) {
        if let Some(hidden) = self.due() {
            tracing::warn!(
                limit,
                hidden,
                "a connection was closed because web.max_connections is reached"
            );
        }
    }

    /// Returns the number of hidden events if a line is due.
    fn due(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + REPORT_INTERVAL) {
            self.hidden += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.hidden))
    }
}

#[cfg(test)]
mod tests;
