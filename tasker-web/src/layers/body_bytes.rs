//! Limits the bytes of request bodies that the service holds at once, so that many large bodies cannot
//! exhaust its memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;
use crate::problem_kinds as kinds;

/// Enough for a hundred bodies of the largest default size.
const MAX_BYTES: usize = 128 * 1024 * 1024;

/// The bytes that may still be received.
#[derive(Debug, Clone)]
pub(super) struct BodyBytes(Arc<Semaphore>);

/// The request's bytes do not fit.
#[derive(Debug, thiserror::Error)]
#[error("the service holds too many bytes of requests")]
struct TooManyBytes;

impl Default for BodyBytes {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

impl BodyBytes {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }
}

/// The bytes of one request, held until it is answered or waits.
#[derive(Debug)]
pub(super) struct Held {
    available: BodyBytes,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    refused: AtomicBool,
}

impl Held {
    /// Gives the bytes back before the answer.
    pub(super) fn release(&self) {
        self.permit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn take(&self, bytes: usize) -> Result<(), TooManyBytes> {
        let available = Arc::clone(&self.available.0);
        let taken = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| available.try_acquire_many_owned(bytes).ok());
        let Some(taken) = taken else {
            self.refused.store(true, Ordering::Release);
            return Err(TooManyBytes);
        };
        let mut permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        match permit.as_mut() {
            Some(permit) => permit.merge(taken),
            None => *permit = Some(taken),
        }
        Ok(())
    }
}

/// Counts bytes as they arrive, because a client that announces a large body and sends nothing must
/// not keep others out. A body that does not fit is answered with a 503.
pub(super) async fn limit_body_bytes(
    State(available): State<BodyBytes>,
    request: Request,
    next: Next,
) -> Response {
    let held = Arc::new(Held {
        available,
        permit: Mutex::new(None),
        refused: AtomicBool::new(false),
    });
    let counted = Arc::clone(&held);
    let mut request = request.map(|body| {
        let chunks = body.into_data_stream();
        Body::from_stream(futures::stream::try_unfold(chunks, move |mut chunks| {
            let counted = Arc::clone(&counted);
            async move {
                let Some(chunk) = chunks.try_next().await? else {
                    return Ok::<_, axum::Error>(None);
                };
                counted.take(chunk.len()).map_err(axum::Error::new)?;
                Ok(Some((chunk, chunks)))
            }
        }))
    });
    request.extensions_mut().insert(Arc::clone(&held));
    let response = next.run(request).await;
    if held.refused.load(Ordering::Acquire) {
        return Problem::new(
            &kinds::BUSY,
            "The service holds too many bytes of requests. Try again.",
        )
        .into_response();
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::{BodyBytes, limit_body_bytes};
    use crate::layers::Waiting;

    #[tokio::test]
    async fn a_request_that_waits_holds_no_bytes() {
        let available = BodyBytes::new(1_000);
        let free = available.clone();
        let handler = move |waiting: Waiting, body: Bytes| async move {
            drop(body);
            let before = free.0.available_permits();
            waiting.begin(Duration::ZERO);
            assert_eq!((before, free.0.available_permits()), (0, 1_000));
        };
        let router = Router::new()
            .route("/", post(handler))
            .layer(from_fn_with_state(available, limit_body_bytes));
        let request = Request::post("/").body(Body::from(vec![0; 1_000])).unwrap();
        assert_eq!(
            router.oneshot(request).await.unwrap().status(),
            StatusCode::OK
        );
    }

    #[tokio::test]
    async fn bodies_that_do_not_fit_are_refused_until_others_are_answered() {
        let available = BodyBytes::new(1_000);
        let send = async |bytes: usize| {
            let handler = |body: Bytes| async move { body.len().to_string() };
            let router = Router::new()
                .route("/", post(handler))
                .layer(from_fn_with_state(available.clone(), limit_body_bytes));
            let request = Request::post("/").body(Body::from(vec![0; bytes])).unwrap();
            router.oneshot(request).await.unwrap()
        };
        assert_eq!(send(1_000).await.status(), StatusCode::OK);
        let refused = send(1_001).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["retry-after"], "1");
        let others = available.0.try_acquire_many(500).unwrap();
        assert_eq!(send(501).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(send(500).await.status(), StatusCode::OK);
        drop(others);
        assert_eq!(send(1_000).await.status(), StatusCode::OK);
    }
}
