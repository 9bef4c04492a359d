//! Announces new tasks to idle workers, at most once in a few milliseconds.
//!
//! A notification takes a lock of the whole cluster when its transaction is committed. Under load
//! workers find new steps without it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::database;
use tasker_shared::execution::STEPS_CHANNEL;
use tokio::time::{Instant, sleep_until};

use crate::QUERY_LIMIT;

/// The least time between two announcements of a process.
const INTERVAL: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Announcer {
    pool: PgPool,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    /// Set if an announcement is going to be sent that covers all tasks created before it.
    is_due: bool,
}

impl Announcer {
    pub(super) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            state: Arc::default(),
        }
    }

    /// Returns whether the next task is announced by the statement that creates it.
    pub(super) fn may_announce(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = state.last.is_none_or(|last| now - last >= INTERVAL);
        if may {
            state.last = Some(now);
        }
        may
    }

    /// Announces a task later that was created without an announcement.
    pub(super) fn announce_later(&self) {
        let at = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.is_due {
                return;
            }
            state.is_due = true;
            state.last.map_or_else(Instant::now, |last| last + INTERVAL)
        };
        let (pool, state) = (self.pool.clone(), Arc::clone(&self.state));
        tokio::spawn(async move {
            sleep_until(at).await;
            {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.is_due = false;
                state.last = Some(Instant::now());
            }
            let sent = database::run_idempotent(&pool, QUERY_LIMIT, |connection| {
                Box::pin(async move {
                    sqlx::query("SELECT pg_notify($1, '')")
                        .bind(STEPS_CHANNEL)
                        .execute(connection)
                        .await
                })
            });
            if let Err(error) = sent.await {
                tracing::debug!(%error, "new tasks were not announced; workers poll for them");
            }
        });
    }
}
