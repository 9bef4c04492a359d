//! Wakes the session when steps become ready elsewhere.
//!
//! Nothing depends on it: where notifications cannot arrive, the session finds steps with its next
//! poll.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tasker_shared::database;
use tasker_shared::execution::{Failures, STEPS_CHANNEL};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// The longest that connecting, and an answer on an idle connection, may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// The time for which the connection may be silent before it is tested.
const SILENCE: Duration = Duration::from_secs(10);
/// The longest pause between attempts to listen.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A flag that wakes one waiter. It is set before the waiter looks at the queue or after, never
/// lost in between.
#[derive(Debug, Default)]
pub(super) struct Wake {
    is_set: AtomicBool,
    notify: Notify,
    earliest: Mutex<Option<DateTime<Utc>>>,
}

/// A wake-up.
#[derive(Debug)]
pub(super) struct Woken {
    /// The earliest time of the steps that were announced with one.
    pub(super) earliest: Option<DateTime<Utc>>,
}

impl Wake {
    /// Wakes the waiter because of steps that became due at `due_at`.
    pub(super) fn wake(&self, due_at: Option<DateTime<Utc>>) {
        if let Some(due_at) = due_at {
            let mut earliest = self.earliest.lock().unwrap_or_else(PoisonError::into_inner);
            *earliest = Some(earliest.map_or(due_at, |held| held.min(due_at)));
        }
        self.is_set.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Clears the flag. Must be called before the queue is read, not after.
    pub(super) fn take(&self) -> Option<Woken> {
        let was_set = self.is_set.swap(false, Ordering::AcqRel);
        let mut earliest = self.earliest.lock().unwrap_or_else(PoisonError::into_inner);
        was_set.then(|| Woken {
            earliest: earliest.take(),
        })
    }

    /// Waits until the flag may be set.
    pub(super) async fn wait(&self) {
        self.notify.notified().await;
    }
}

/// Listens for ever, and wakes `wake` for each notification and after each reconnection. Returns if
/// notifications cannot arrive.
pub(super) async fn listen(pool: PgPool, wake: Arc<Wake>) {
    let mut pause = Duration::from_millis(100);
    let mut failures = Failures::default();
    while let Some(own) = database::for_listener(&pool, ANSWER_LIMIT) {
        match database::listen(&own, STEPS_CHANNEL, ANSWER_LIMIT).await {
            Ok(listener) => {
                if failures.end() {
                    tracing::info!("notifications of new steps arrive again");
                }
                pause = Duration::from_millis(100);
                wake.wake(None);
                receive(listener, &wake).await;
                tracing::debug!("notifications of new steps stopped; listening again");
            }
            Err(error) if failures.begin() => {
                let error = Box::pin(database::diagnose(&own, error)).await;
                tracing::warn!(%error, "notifications of new steps do not arrive; polling for steps instead");
            }
            Err(error) => tracing::debug!(%error, "notifications of new steps still do not arrive"),
        }
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

async fn receive(mut listener: PgListener, wake: &Wake) {
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                let micros = notification.payload().parse().ok();
                wake.wake(micros.and_then(DateTime::from_timestamp_micros));
            }
            Ok(Ok(None) | Err(_)) => return,
            Err(_silent) => {
                let question = sqlx::query("SELECT 1").execute(&mut listener);
                if !matches!(timeout(ANSWER_LIMIT, question).await, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}
