//! Observes one connection: has the client sent a whole request, and since when is one incomplete?

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The state of one connection. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Start of the connection or first byte of a request, until the head of the request is whole.
    incomplete_since: Option<Instant>,
    /// A handler runs.
    serving: bool,
    /// The body of the current request has not arrived whole.
    body_incomplete: bool,
}

impl Activity {
    /// Returns the state of a new connection, which has not sent a request.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            incomplete_since: Some(Instant::now()),
            serving: false,
            body_incomplete: false,
        })))
    }

    /// Returns the start of the head that has not arrived whole.
    pub(crate) fn incomplete_since(&self) -> Option<Instant> {
        self.state().incomplete_since
    }

    /// Returns false while the client has to send something before its request can be answered.
    pub(crate) fn has_whole_request(&self) -> bool {
        let state = self.state();
        state.incomplete_since.is_none() && !state.body_incomplete
    }

    /// Runs the handler of a request whose head has arrived.
    pub(crate) fn serve<F: Future>(&self, handler: F) -> impl Future<Output = F::Output> + use<F> {
        let activity = self.clone();
        {
            let mut state = activity.state();
            state.incomplete_since = None;
            state.serving = true;
        }
        async move {
            let answer = handler.await;
            activity.state().serving = false;
            answer
        }
    }

    fn received(&self) {
        let mut state = self.state();
        if !state.serving {
            state.incomplete_since.get_or_insert_with(Instant::now);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a request. Notes when it is whole.
#[derive(Debug)]
pub(crate) struct WatchedBody {
    body: Incoming,
    activity: Activity,
}

impl WatchedBody {
    pub(crate) fn new(body: Incoming, activity: &Activity) -> Self {
        activity.state().body_incomplete = !body.is_end_stream();
        Self {
            body,
            activity: activity.clone(),
        }
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.activity.state().body_incomplete = false;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The stream of a connection. Notes when a request begins to arrive.
#[derive(Debug)]
pub(crate) struct WatchedStream<S> {
    stream: S,
    activity: Activity,
}

impl<S> WatchedStream<S> {
    pub(crate) fn new(stream: S, activity: Activity) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
