//! Renews the lease of a session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::database::{self, pool};
use tasker_shared::execution::{self, AttemptId};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The number of leases for which handlers may keep all threads of the runtime busy. Without a limit, those
/// that wait for each other for ever would keep their claims for ever.
const BUSY_LEASES: u32 = 20;

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

    /// Cancels the tokens of those of `asked` whose steps are `gone`. The next attempt of a step may have
    /// been claimed since a heartbeat asked for the one before.
    fn cancel(&self, asked: &[AttemptId], gone: &[Uuid]) {
        let attempts = self.lock();
        let gone = asked.iter().filter(|id| gone.contains(&id.step_uuid));
        gone.filter_map(|id| attempts.get(id))
            .for_each(CancellationToken::cancel);
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

/// Starts to renew the lease on a thread and a connection of its own, because handlers may keep all threads
/// of the runtime busy. The receiver learns that it is lost; dropping it ends the thread.
///
/// Must be called within the runtime of the handlers.
pub(super) fn start(
    pool: PgPool,
    worker: Uuid,
    lease: Duration,
    registered: Instant,
    running: Arc<Running>,
) -> oneshot::Receiver<Lost> {
    let (mut lost, receiver) = oneshot::channel();
    let handlers = Handle::current();
    let thread = std::thread::Builder::new().name(String::from("heartbeat"));
    let started = thread.spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return not_started(&error),
        };
        runtime.block_on(async move {
            let reason = tokio::select! {
                reason = renew(pool, worker, lease, registered, running) => reason,
                () = stuck(&handlers, lease * BUSY_LEASES) => Lost::Expired,
                () = lost.closed() => return,
            };
            lost.send(reason).ok();
        });
    });
    if let Err(error) = started {
        not_started(&error);
    }
    receiver
}

/// The receiver learns it, too, because its sender is gone.
fn not_started(error: &std::io::Error) {
    tracing::error!(%error, "the thread that renews the lease cannot be started");
}

/// Returns when the runtime has run nothing new for `limit`.
async fn stuck(runtime: &Handle, limit: Duration) {
    while timeout(limit, runtime.spawn(async {})).await.is_ok() {
        sleep(limit / 10).await;
    }
    tracing::error!(
        seconds = limit.as_secs(),
        "handlers keep all threads of the runtime busy; the lease is not renewed any more"
    );
}

/// Renews the lease every third of it, until it is lost.
///
/// The lease is counted from the moment at which the last successful heartbeat was *sent*. Counted
/// from its answer, a slow answer would make the worker trust a lease that others see as expired.
async fn renew(
    pool: PgPool,
    worker: Uuid,
    lease: Duration,
    registered: Instant,
    running: Arc<Running>,
) -> Lost {
    let beat = lease / 3;
    let beats = pool::apart(&pool, 1);
    let mut last_good = registered;
    loop {
        let deadline = running.renewed(last_good, lease);
        let next = async {
            let mut pause = beat.saturating_sub(last_good.elapsed());
            loop {
                sleep(pause).await;
                let sent = Instant::now();
                let ids = running.ids();
                // Another address of the host may be in use by now.
                beats.set_connect_options((*pool.connect_options()).clone());
                let answer = database::run_idempotent(&beats, beat, |connection| {
                    let ids = ids.clone();
                    Box::pin(async move { execution::heartbeat(connection, worker, &ids).await })
                });
                match answer.await {
                    Ok(answer) => return (sent, ids, answer),
                    Err(error) => tracing::debug!(%error, "heartbeat failed; trying again"),
                }
                pause = beat / 10;
            }
        };
        tokio::select! {
            (sent, asked, answer) = next => match answer {
                Some(gone) => {
                    last_good = sent;
                    running.cancel(&asked, &gone);
                }
                None => return Lost::Declared,
            },
            () = sleep_until(deadline) => return Lost::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use tasker_shared::execution::AttemptId;
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::Running;

    #[test]
    fn a_late_answer_cancels_the_attempt_that_it_is_about_and_no_later_one() {
        let running = Running::new();
        let first = AttemptId {
            task_uuid: Uuid::nil(),
            step_uuid: Uuid::now_v7(),
            attempt: 1,
        };
        let second = AttemptId {
            attempt: 2,
            ..first
        };
        for id in [first, second] {
            running.insert(id, CancellationToken::new());
        }
        running.cancel(&[first], &[first.step_uuid]);
        let is_cancelled = |id| running.token(&id).expect("it runs").is_cancelled();
        assert!(is_cancelled(first) && !is_cancelled(second));
    }
}
