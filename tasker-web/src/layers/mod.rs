//! The layers around every route: request id, span, metrics, panics, timeout, limits and headers.

mod body_bytes;
mod unread;
mod waiting;

use std::any::Any;
use std::mem;
use std::pin::pin;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use self::body_bytes::{BodyBytes, limit_body_bytes};
use self::unread::read_rest;
use self::waiting::MoreTime;
pub use self::waiting::Waiting;
use crate::guard::{Guard, guard};
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::request_id::{RequestId, X_REQUEST_ID};
use tasker_shared::config::tasker::WebConfig;
use tasker_shared::metrics::{HTTP_REQUEST_DURATION, HTTP_REQUESTS, HTTP_SERVER_ERRORS};

/// Forbid browsers to run, frame or store answers. A route that sets one of these headers keeps its
/// own value.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Wraps `router` in the layers that every service has, and answers unknown routes and methods with
/// problems. Add all routes before.
///
/// A request that exceeds `request_timeout_ms`, and the time that it waits, is dropped at its next await
/// point together with its transaction, and answered with 504.
pub(crate) fn serve_layers(router: Router, config: &WebConfig) -> Router {
    let limit = usize::try_from(config.max_body_bytes).unwrap_or(usize::MAX);
    let timeout = Duration::from_millis(config.request_timeout_ms);
    router
        .fallback(route_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(
            BodyBytes::default(),
            limit_body_bytes,
        ))
        .layer(DefaultBodyLimit::max(limit))
        .layer(middleware::from_fn_with_state(timeout, deadline))
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(middleware::from_fn_with_state(Guard::new(config), guard))
        .layer(middleware::from_fn(observe))
        .layer(middleware::from_fn(read_rest))
}

async fn route_not_found(uri: Uri) -> Problem {
    Problem::new(
        &kinds::ROUTE_NOT_FOUND,
        format!(
            "No route matches {}. /api-docs/openapi.json lists the routes.",
            uri.path()
        ),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(
        &kinds::METHOD_NOT_ALLOWED,
        format!(
            "{} does not support {method}. The header `allow` lists the supported methods.",
            uri.path()
        ),
    )
}

async fn deadline(State(timeout): State<Duration>, mut request: Request, next: Next) -> Response {
    let more_time = MoreTime::default();
    request.extensions_mut().insert(more_time.clone());
    let latest = tokio::time::Instant::now() + timeout;
    let mut answer = pin!(next.run(request));
    loop {
        let limit = latest + more_time.get();
        match tokio::time::timeout_at(limit, answer.as_mut()).await {
            Ok(response) => return response,
            // The handler began to wait meanwhile.
            Err(_elapsed) if latest + more_time.get() > limit => {}
            Err(_elapsed) => break,
        }
    }
    Problem::new(
        &kinds::REQUEST_TIMEOUT,
        "The request exceeded its time limit and was cancelled. It may have changed data: check \
         before you retry, or send an idempotency key.",
    )
    .into_response()
}

/// Answers a request whose handler panicked. The panic hook logs the panic in the request's span.
fn after_panic(_panic: Box<dyn Any + Send>) -> Response {
    Problem::new(
        &kinds::INTERNAL_ERROR,
        "The service failed to answer the request. Report the request id to its operators.",
    )
    .into_response()
}

/// Gives the request its id and span, and counts the answer. This layer is outside of all that answer, so
/// that it sees their answers too.
async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::from_headers(request.headers());
    let method = method_label(request.method());
    // The label is the pattern, because paths and queries can hold secrets and are unbounded.
    let route = request.extensions().get::<MatchedPath>().map_or_else(
        || String::from("unmatched"),
        |path| path.as_str().to_owned(),
    );
    let span = tracing::info_span!("request", request_id = id.as_str(), method, route);
    let mut counted = Counted {
        method,
        route: route.clone(),
        status: String::from("cancelled"),
    };

    let mut response = id
        .clone()
        .scope(next.run(request))
        .instrument(span.clone())
        .await;

    let elapsed = started.elapsed();
    let status = response.status();
    // Logged at debug level because the metrics below already count every request.
    tracing::debug!(
        target: "tasker::access",
        parent: &span,
        status = status.as_u16(),
        elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "request answered"
    );
    status.as_str().clone_into(&mut counted.status);
    drop(counted);
    if status.is_server_error() {
        metrics::counter!(HTTP_SERVER_ERRORS.name, "status" => status.as_str().to_owned())
            .increment(1);
    }
    metrics::histogram!(HTTP_REQUEST_DURATION.name, "method" => method, "route" => route)
        .record(elapsed);

    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.header_value());
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(value);
    }
    response
}

/// Counts a request when it is dropped, because a request without an answer is only dropped: when its client
/// goes away, or the time of the drain ends.
struct Counted {
    method: &'static str,
    route: String,
    status: String,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let (route, status) = (mem::take(&mut self.route), mem::take(&mut self.status));
        metrics::counter!(
            HTTP_REQUESTS.name,
            "method" => self.method, "route" => route, "status" => status
        )
        .increment(1);
    }
}

/// Returns a label with few values, because clients can invent methods.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests;
