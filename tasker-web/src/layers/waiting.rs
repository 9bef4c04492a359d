//! Requests that wait for something that takes as long as it takes, such as the end of a task.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::body_bytes::Held;

/// The time that a request was given beyond `request_timeout_ms`.
#[derive(Debug, Clone, Default)]
pub(super) struct MoreTime(Arc<AtomicU64>);

impl MoreTime {
    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Acquire))
    }
}

/// Lets a handler wait for longer than `request_timeout_ms`, without what a request holds while it is
/// worked on.
#[derive(Debug)]
pub struct Waiting {
    more_time: Option<MoreTime>,
    body: Option<Arc<Held>>,
}

impl Waiting {
    /// Moves the request's deadline by `time`, and lets others use the bytes of its body. The handler must
    /// have dropped the body.
    pub fn begin(&self, time: Duration) {
        if let Some(MoreTime(more)) = &self.more_time {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            more.fetch_add(millis, Ordering::AcqRel);
        }
        if let Some(body) = &self.body {
            body.release();
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Waiting {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            more_time: parts.extensions.get().cloned(),
            body: parts.extensions.get().cloned(),
        })
    }
}
