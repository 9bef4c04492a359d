//! Renews the lease of a session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::database;
use tasker_shared::execution::{self, AttemptId};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The attempts that run now or wait for room, with the tokens that cancel them, and the time until
/// which they may run.
#[derive(Debug)]
pub(super) struct Running {
    attempts: Mutex<HashMap<AttemptId, CancellationToken>>,
    lease_until: Mutex<Instant>,
}

impl Running {
    /// Without a lease.
    pub(super) fn new() -> Self {
        Self {
            attempts: Mutex::default(),
            lease_until: Mutex::new(Instant::now()),
        }
    }

    /// Returns whether the lease still holds.
    pub(super) fn has_lease(&self) -> bool {
        Instant::now()
            < *self
                .lease_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
    }

    /// Extends the lease, which was renewed by a request that was sent at `sent`. Returns its end.
    pub(super) fn renewed(&self, sent: Instant, lease: Duration) -> Instant {
        // A tenth is left for handlers to stop in.
        let until = sent + lease.mul_f64(0.9);
        *self
            .lease_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = until;
        until
    }

    pub(super) fn insert(&self, id: AttemptId, token: CancellationToken) {
        self.lock().insert(id, token);
    }

    pub(super) fn remove(&self, id: &AttemptId) {
        self.lock().remove(id);
    }

    pub(super) fn token(&self, id: &AttemptId) -> Option<CancellationToken> {
        self.lock().get(id).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn ids(&self) -> Vec<AttemptId> {
        self.lock().keys().copied().collect()
    }

    /// Cancels the tokens of these steps.
    fn cancel(&self, steps: &[Uuid]) {
        for (id, token) in &*self.lock() {
            if steps.contains(&id.step_uuid) {
                token.cancel();
            }
        }
    }

    /// Cancels all tokens.
    pub(super) fn cancel_all(&self) {
        self.lock().values().for_each(CancellationToken::cancel);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<AttemptId, CancellationToken>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason why a session must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// Another service found the lease expired.
    Declared,
    /// The lease could not be renewed in time.
    Expired,
}

/// Renews the lease every third of it, until it is lost.
///
/// The lease is counted from the moment at which the last successful heartbeat was *sent*. Counted
/// from its answer, a slow answer would make the worker trust a lease that others see as expired.
pub(super) async fn renew(
    pool: PgPool,
    worker: Uuid,
    lease: Duration,
    registered: Instant,
    running: Arc<Running>,
) -> Lost {
    let beat = lease / 3;
    let mut last_good = registered;
    loop {
        let deadline = running.renewed(last_good, lease);
        let next = async {
            let mut pause = beat.saturating_sub(last_good.elapsed());
            loop {
                sleep(pause).await;
                let sent = Instant::now();
                let ids = running.ids();
                let answer = database::run_idempotent(&pool, beat, |connection| {
                    let ids = ids.clone();
                    Box::pin(async move { execution::heartbeat(connection, worker, &ids).await })
                });
                match answer.await {
                    Ok(answer) => return (sent, answer),
                    Err(error) => tracing::debug!(%error, "heartbeat failed; trying again"),
                }
                pause = beat / 10;
            }
        };
        tokio::select! {
            (sent, answer) = next => match answer {
                Some(gone) => {
                    last_good = sent;
                    running.cancel(&gone);
                }
                None => return Lost::Declared,
            },
            () = sleep_until(deadline) => return Lost::Expired,
        }
    }
}
