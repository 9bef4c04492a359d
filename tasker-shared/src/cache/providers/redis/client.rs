//! One operation: a connection, a limit, and what its outcome means for the breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use redis::Value;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::commands::Request;
use super::connection::Connection;
use super::connections::{Connections, Live};
use super::endpoint::Endpoint;
use super::reports::{self, Reports};
use crate::cache::{CacheError, ConnectionFault, Refusal, RefusalKind};

/// A connection that is younger is not replaced because its server is a replica. An older one is,
/// because after a failover the same name may lead to the new primary.
const REPLICA_PATIENCE: Duration = Duration::from_secs(5);

/// The turns for which [`timeout_with_grace`] looks again. The socket is polled in the first of these turns,
/// the task that reads the connection runs in the second, and the third is a reserve.
const GRACE_TURNS: usize = 3;

/// The connections and the breaker, which requests, sweeps and the supervisor share.
pub(super) struct RedisClient {
    pub(super) endpoint: Endpoint,
    pub(super) connections: Connections,
    pub(super) breaker: Breaker,
    pub(super) reports: Reports,
    /// Wakes the supervisor when a seat has become empty.
    pub(super) vacancy: Notify,
    /// Wakes the supervisor when a connection has turned out to be outdated.
    pub(super) outdated: Notify,
    /// The limit of one request.
    pub(super) budget: Duration,
    /// A key that no entry has.
    pub(super) probe_key: String,
    pub(super) stop: CancellationToken,
    reached: AtomicBool,
}

impl RedisClient {
    /// Connects to nothing: the breaker is open until [`Self::put_to_use`].
    pub(super) fn new(
        endpoint: Endpoint,
        connections: usize,
        budget: Duration,
        probe_key: String,
        stop: CancellationToken,
    ) -> Self {
        Self {
            reports: Reports::new(endpoint.mode),
            endpoint,
            connections: Connections::new(connections),
            breaker: Breaker::new(),
            vacancy: Notify::new(),
            outdated: Notify::new(),
            budget,
            probe_key,
            stop,
            reached: AtomicBool::new(false),
        }
    }

    /// Returns whether Redis has ever answered.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Acquire)
    }

    /// Lets requests use Redis over `connection`, which has been probed.
    pub(super) fn put_to_use(&self, connection: Connection) {
        self.connections.clear();
        self.connections.install(0, connection);
        self.breaker.close();
        if !self.reached.swap(true, Ordering::AcqRel) {
            reports::first_use();
        }
    }

    /// Fails while the breaker is open.
    pub(super) fn admit(&self) -> Result<(), CacheError> {
        if self.breaker.is_open() {
            return Err(CacheError::ConnectionError(ConnectionFault::BreakerOpen));
        }
        Ok(())
    }

    /// Sends `request` over the connection for `key`, for at most `limit` in all.
    ///
    /// A connection that turns out to be closed costs no time, so the next one is tried: a request
    /// may be executed twice. If none is up and the breaker is closed, all were closed while they were
    /// idle, which says nothing against Redis; the request waits for a new one that the supervisor makes.
    /// A connection on which the limit passed is replaced. A limit that was noticed much too late does not
    /// count for the breaker, because then this process had no CPU and nothing is known about Redis.
    pub(super) async fn call(
        &self,
        key: &[u8],
        request: Request<'_>,
        limit: Duration,
    ) -> Result<Value, CacheError> {
        self.admit()?;
        let outcome = self.call_on_any(key, request, limit).await;
        if let Err(error) = &outcome {
            self.note_failure(request.command(), error);
        }
        outcome
    }

    /// Logs a failure, unless it opened the breaker, which is logged instead.
    pub(super) fn note_failure(&self, command: &'static str, error: &CacheError) {
        if !self.breaker.is_open() && !self.stop.is_cancelled() {
            self.reports.failed(command, error);
        }
    }

    async fn call_on_any(
        &self,
        key: &[u8],
        request: Request<'_>,
        limit: Duration,
    ) -> Result<Value, CacheError> {
        let started = Instant::now();
        for _ in 0..=self.connections.len() {
            let live = match self.connections.pick(key) {
                Some(live) => live,
                None => match self.next(key, started + limit).await {
                    Some(live) => live,
                    None => break,
                },
            };
            let was_idle = live.is_idle();
            match self.call_on(live, request, started, limit).await {
                Err(CacheError::ConnectionError(_)) if was_idle || self.connections.up() > 0 => {}
                outcome => return outcome,
            }
        }
        Err(CacheError::ConnectionError(if self.stop.is_cancelled() {
            ConnectionFault::ShutDown
        } else {
            ConnectionFault::NoneUp
        }))
    }

    /// Waits for the next connection. Returns `None` at `deadline`, or if Redis cannot be reached.
    async fn next(&self, key: &[u8], deadline: Instant) -> Option<Arc<Live>> {
        let up = timeout_with_grace(deadline, async {
            tokio::select! {
                () = self.connections.any_up() => true,
                () = self.breaker.is_opened() => false,
                () = self.stop.cancelled() => false,
            }
        });
        up.await
            .unwrap_or(false)
            .then(|| self.connections.pick(key))
            .flatten()
    }

    /// Sends `request` over this connection, within `limit` from `started`.
    pub(super) async fn call_on(
        &self,
        live: Arc<Live>,
        request: Request<'_>,
        started: Instant,
        limit: Duration,
    ) -> Result<Value, CacheError> {
        let was_idle = live.is_idle();
        let mut connection = live.connection.clone();
        let outcome = timeout_with_grace(started + limit, connection.send(request))
            .await
            .unwrap_or(Err(CacheError::Timeout { limit }));
        if connection.is_outdated() {
            self.outdated.notify_one();
        }
        match &outcome {
            Ok(_) => {
                live.answered();
                self.breaker.succeeded(request.len());
                self.reports.refusals.accepted(request.command());
            }
            Err(CacheError::BackendError(refusal)) => {
                live.answered();
                self.reports.refusal(request.command(), refusal);
                self.refused(live, refusal);
            }
            Err(error @ CacheError::Timeout { .. }) => {
                let noticed_late = started.elapsed() > limit * 2;
                if self.replace(live) && !noticed_late {
                    self.failed(error);
                }
            }
            // Connecting anew shows if Redis is there.
            Err(_) if was_idle => {
                self.replace(live);
            }
            Err(error) => {
                self.replace(live);
                self.open_if_none_is_up(error);
            }
        }
        outcome
    }

    fn refused(&self, live: Arc<Live>, refusal: &Refusal) {
        let error = || CacheError::BackendError(refusal.clone());
        match refusal.kind() {
            RefusalKind::Unusable => self.open(&error()),
            RefusalKind::ReadOnly => {
                self.breaker.succeeded(1);
                if live.since.elapsed() > REPLICA_PATIENCE {
                    self.replace(live);
                }
            }
            RefusalKind::WritesRefused | RefusalKind::Operation => self.breaker.succeeded(1),
            RefusalKind::Other => self.failed(&error()),
        }
    }

    /// Counts a failure. The breaker opens when there were too many, or when no connection is left.
    fn failed(&self, error: &CacheError) {
        if self.breaker.failed(error) {
            self.connections.clear();
        } else {
            self.open_if_none_is_up(error);
        }
    }

    fn open_if_none_is_up(&self, error: &CacheError) {
        if self.connections.up() == 0 {
            self.open(error);
        }
    }

    /// Opens the breaker. Connections that are still up are as suspect as the one that failed.
    pub(super) fn open(&self, error: &CacheError) {
        if !self.stop.is_cancelled() && self.breaker.open(error) {
            self.connections.clear();
        }
    }

    fn replace(&self, live: Arc<Live>) -> bool {
        let replaced = self.connections.discard(live);
        if replaced {
            self.vacancy.notify_one();
        }
        replaced
    }
}

/// Returns the output of `answer` if it is there at `deadline`.
///
/// A process that had no CPU for a while finds two things when it continues: its deadline is over,
/// and the answer is in the socket. The answer has to pass through the task that reads the
/// connection, and which task runs first is chance. So this lets all others have their turn after
/// the deadline, and looks again. A silent server costs no more than those turns.
pub(super) async fn timeout_with_grace<F: Future>(
    deadline: Instant,
    answer: F,
) -> Option<F::Output> {
    tokio::pin!(answer);
    if let Ok(answered) = tokio::time::timeout_at(deadline, &mut answer).await {
        return Some(answered);
    }
    for _ in 0..GRACE_TURNS {
        tokio::task::yield_now().await;
        if let Poll::Ready(answered) = futures::poll!(&mut answer) {
            return Some(answered);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::timeout_with_grace;

    const BUDGET: Duration = Duration::from_millis(25);

    /// A connection, and a task that reads it and has more to do before it passes on the answer.
    async fn connection() -> (TcpStream, oneshot::Receiver<u8>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let (server, _) = listener.accept().await.expect("it is connected");
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let answer = client.read_u8().await.expect("an answer");
            tokio::task::yield_now().await;
            sender.send(answer)
        });
        tokio::task::yield_now().await;
        (server, receiver)
    }

    #[tokio::test]
    async fn an_answer_that_came_while_this_process_had_no_cpu_is_found() {
        let (mut server, answer) = connection().await;
        let deadline = Instant::now() + BUDGET;
        server.write_u8(7).await.expect("it is connected");
        // Nothing of this process runs until long after the deadline.
        tokio::spawn(async { std::thread::sleep(BUDGET * 4) });
        let found = timeout_with_grace(deadline, answer).await;
        assert_eq!(found, Some(Ok(7)));
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_given_up_at_the_deadline() {
        let (_server, answer) = connection().await;
        let deadline = Instant::now() + BUDGET;
        assert_eq!(timeout_with_grace(deadline, answer).await, None);
        assert_eq!(
            timeout_with_grace(Instant::now(), pending::<()>()).await,
            None
        );
    }
}
