//! Reads the rest of bodies that were answered early.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt;
use futures::stream::{self, Fuse};
use http::StatusCode;
use http::header::EXPECT;
use http_body::Body as _;
use tokio::time::timeout;

/// The most bytes that are read and dropped: the largest body that a configuration can allow.
const MAX_UNREAD: usize = 64 * 1024 * 1024;
/// The longest time for which they are read.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// A body that a handler reads, and then this layer.
#[derive(Debug)]
struct SharedBody {
    chunks: Fuse<BodyDataStream>,
    /// Unset while the client may wait for a sign that it is to send the body.
    is_sent: bool,
}

impl SharedBody {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        self.is_sent = true;
        self.chunks.poll_next_unpin(context)
    }
}

fn lock(body: &Mutex<SharedBody>) -> MutexGuard<'_, SharedBody> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads what the other layers and the handler have left of the body, because a connection that is closed in
/// the middle of a body is reset, and its client never reads the answer.
pub(super) async fn read_rest(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let is_sent = !request.headers().contains_key(EXPECT);
    let (head, body) = request.into_parts();
    let body = Arc::new(Mutex::new(SharedBody {
        chunks: body.into_data_stream().fuse(),
        is_sent,
    }));
    let of_handler = Arc::clone(&body);
    let chunks = stream::poll_fn(move |context| lock(&of_handler).poll(context));
    let request = Request::from_parts(head, Body::from_stream(chunks));
    let response = next.run(request).await;
    // A client whose body did not arrive in time would only get its answer later.
    if lock(&body).is_sent && response.status() != StatusCode::GATEWAY_TIMEOUT {
        let rest = async {
            let mut left = MAX_UNREAD;
            while let Some(Ok(chunk)) = poll_fn(|context| lock(&body).poll(context)).await
                && chunk.len() <= left
            {
                left -= chunk.len();
            }
        };
        // The answer is sent in any case.
        timeout(LIMIT, rest).await.ok();
    }
    response
}
