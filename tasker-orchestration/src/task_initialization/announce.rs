//! Announces new tasks to idle workers.
//!
//! A notification takes a lock of the whole cluster when its transaction is committed. Tasks that are
//! created at the same time are therefore announced together, a moment later. A task that is created
//! alone is announced at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tasker_shared::database;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use crate::QUERY_LIMIT;

/// The least time between two announcements of a process while it creates several tasks at once.
const INTERVAL: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Announcer {
    pool: PgPool,
    state: Arc<Mutex<State>>,
    /// Announcements under way. A task that is not announced is found by polls.
    sending: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    /// The tasks that are being created.
    creating: usize,
    /// Set if an announcement is going to be sent: from when on workers have to read the queue, to
    /// find the tasks created before it.
    due: Option<DateTime<Utc>>,
}

impl Announcer {
    pub(super) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            state: Arc::default(),
            sending: Mutex::default(),
        }
    }

    /// Begins to create a task. The creation says whether its own statement announces it.
    pub(super) fn begin(&self) -> Creation<'_> {
        let mut state = self.lock();
        let now = Instant::now();
        state.creating += 1;
        let is_alone = state.creating == 1;
        let announces = is_alone || state.last.is_none_or(|last| now - last >= INTERVAL);
        if announces {
            state.last = Some(now);
        }
        Creation {
            announcer: self,
            announces,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces a task later that was created at `created_at` without an announcement.
    fn announce_later(&self, created_at: DateTime<Utc>) {
        let at = {
            let mut state = self.lock();
            let is_going_to_be_sent = state.due.is_some();
            state.due = Some(state.due.map_or(created_at, |due| due.min(created_at)));
            if is_going_to_be_sent {
                return;
            }
            state.last.map_or_else(Instant::now, |last| last + INTERVAL)
        };
        let (pool, state) = (self.pool.clone(), Arc::clone(&self.state));
        let announcement = async move {
            sleep_until(at).await;
            let due = {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.last = Some(Instant::now());
                state.due.take()
            };
            let sent = database::run_idempotent(&pool, QUERY_LIMIT, |connection| {
                Box::pin(async move {
                    sqlx::query("SELECT tasker.steps_announce($1)")
                        .bind(due)
                        .execute(connection)
                        .await
                })
            });
            if let Err(error) = sent.await {
                tracing::debug!(%error, "new tasks were not announced; workers poll for them");
            }
        };
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        while sending.try_join_next().is_some() {}
        sending.spawn(announcement.instrument(tracing::info_span!("task_announcement")));
    }
}

/// A task that is being created.
#[derive(Debug)]
pub(super) struct Creation<'a> {
    announcer: &'a Announcer,
    /// Set if the statement that creates the task announces it.
    pub(super) announces: bool,
}

impl Creation<'_> {
    /// Has the task, which was created at `created_at`, announced unless its own statement did that.
    pub(super) fn succeeded(&self, created_at: DateTime<Utc>) {
        if !self.announces {
            self.announcer.announce_later(created_at);
        }
    }
}

impl Drop for Creation<'_> {
    fn drop(&mut self) {
        self.announcer.lock().creating -= 1;
    }
}
