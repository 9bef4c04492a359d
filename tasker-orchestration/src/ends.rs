//! Waits for the ends of tasks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tasker_shared::database::{self, DatabaseError};
use tasker_shared::execution::{Failures, TASKS_CHANNEL};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use uuid::Uuid;

use crate::QUERY_LIMIT;

/// The longest that connecting to listen may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// The interval at which waiting tasks are looked at, in case that a notification was lost.
const POLL: Duration = Duration::from_secs(1);
/// The same if there are no notifications. Nothing is sent while no request waits.
const LOOK: Duration = Duration::from_millis(100);
/// The number of ends that are remembered for those who begin to wait a moment late.
const REMEMBERED: usize = 4096;

/// The requests of this process that wait for ends of tasks.
#[derive(Debug, Clone)]
pub struct Ends {
    pool: PgPool,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Uuid, Vec<oneshot::Sender<String>>>,
    recent: VecDeque<(Uuid, String)>,
}

impl Ends {
    /// Waits for tasks in the database of `pool`, once [`run`](Self::run) runs.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            state: Arc::default(),
        }
    }

    /// Waits until the task has ended, and returns its state then, or nothing at `deadline`. The
    /// task must be `awaited`; see [`expect`](Self::expect). If others act on the task, this may be an
    /// end of before that.
    pub async fn wait(&self, task_uuid: Uuid, deadline: Instant) -> Option<String> {
        // Dropped after the receiver, also if the caller stops waiting.
        let _forget = Forget {
            ends: self,
            task_uuid,
        };
        let receiver = {
            let mut state = self.lock();
            let recent = state
                .recent
                .iter()
                .rev()
                .find(|(task, _)| *task == task_uuid);
            if let Some((_, ended)) = recent {
                return Some(ended.clone());
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.entry(task_uuid).or_default().push(sender);
            receiver
        };
        timeout_at(deadline, receiver).await.ok()?.ok()
    }

    /// Returns the state of a task now.
    pub async fn state(&self, task_uuid: Uuid) -> Result<String, DatabaseError> {
        database::run_idempotent(&self.pool, QUERY_LIMIT, |connection| {
            Box::pin(async move {
                sqlx::query_scalar("SELECT tasker.task_state($1)")
                    .bind(task_uuid)
                    .fetch_one(connection)
                    .await
            })
        })
        .await
    }

    /// Has the end of a task announced that an earlier request created. Returns the state of a task
    /// that has ended already. Forgets earlier ends of the task, because an operator may have put it
    /// back to work.
    pub async fn expect(&self, task_uuid: Uuid) -> Result<Option<String>, DatabaseError> {
        // Before the query: an end that is announced during it is a later one.
        self.lock().recent.retain(|(task, _)| *task != task_uuid);
        database::run_idempotent(&self.pool, QUERY_LIMIT, |connection| {
            Box::pin(async move {
                // The update waits for a transaction that ends the task just now.
                sqlx::query("UPDATE tasker.tasks SET awaited = true WHERE task_uuid = $1 AND ended_at IS NULL AND NOT awaited")
                    .bind(task_uuid)
                    .execute(&mut *connection)
                    .await?;
                sqlx::query_scalar(
                    "SELECT tasker.task_state(task_uuid) FROM tasker.tasks
                     WHERE task_uuid = $1 AND ended_at IS NOT NULL",
                )
                .bind(task_uuid)
                .fetch_optional(connection)
                .await
            })
        })
        .await
    }

    /// Listens for ends, for ever. Looks for them if notifications cannot arrive.
    pub async fn run(self) {
        let mut failures = Failures::default();
        while let Some(pool) = database::for_listener(&self.pool, ANSWER_LIMIT) {
            match database::listen(&pool, TASKS_CHANNEL, ANSWER_LIMIT).await {
                Ok(listener) => {
                    if failures.end() {
                        tracing::info!("notifications of ended tasks arrive again");
                    }
                    self.look().await;
                    self.receive_all(listener).await;
                }
                Err(error) if failures.begin() => {
                    let error = Box::pin(database::diagnose(&pool, error)).await;
                    tracing::warn!(
                        %error,
                        "notifications of ended tasks do not arrive; polling for their ends instead"
                    );
                }
                Err(error) => {
                    tracing::debug!(%error, "notifications of ended tasks still do not arrive");
                }
            }
            self.look().await;
            sleep(POLL.mul_f64(rand::random_range(0.5..1.0))).await;
        }
        loop {
            self.look().await;
            sleep(LOOK).await;
        }
    }

    /// Returns when the connection is lost.
    async fn receive_all(&self, mut listener: PgListener) {
        loop {
            match timeout(POLL, listener.try_recv()).await {
                Ok(Ok(Some(notification))) => self.receive(notification.payload()).await,
                Ok(Ok(None) | Err(_)) => return,
                Err(_silent) => self.look().await,
            }
        }
    }

    /// A notification is a state and the tasks that ended in it, or says nothing if they are many.
    async fn receive(&self, payload: &str) {
        let Some((state, tasks)) = payload.split_once(' ') else {
            self.look().await;
            return;
        };
        for task in tasks.split(',').filter_map(|task| task.parse().ok()) {
            self.ended(task, state);
        }
    }

    fn ended(&self, task_uuid: Uuid, ended: &str) {
        let mut state = self.lock();
        if state.recent.len() >= REMEMBERED {
            state.recent.pop_front();
        }
        state.recent.push_back((task_uuid, ended.to_owned()));
        for sender in state.waiting.remove(&task_uuid).unwrap_or_default() {
            sender.send(ended.to_owned()).ok();
        }
    }

    /// Looks at all tasks that requests wait for.
    async fn look(&self) {
        let tasks: Vec<Uuid> = self.lock().waiting.keys().copied().collect();
        if tasks.is_empty() {
            return;
        }
        let ended = database::run_idempotent(&self.pool, QUERY_LIMIT, |connection| {
            let tasks = tasks.clone();
            Box::pin(async move {
                sqlx::query_as::<_, (Uuid, String)>(
                    "SELECT task_uuid, tasker.task_state(task_uuid) FROM tasker.tasks
                     WHERE task_uuid = ANY ($1) AND ended_at IS NOT NULL",
                )
                .bind(tasks)
                .fetch_all(connection)
                .await
            })
        });
        match ended.await {
            Ok(ended) => ended
                .iter()
                .for_each(|(task, state)| self.ended(*task, state)),
            Err(error) => tracing::debug!(%error, "waiting tasks cannot be looked at"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a request that waits for a task no longer.
struct Forget<'a> {
    ends: &'a Ends,
    task_uuid: Uuid,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut state = self.ends.lock();
        if let Some(senders) = state.waiting.get_mut(&self.task_uuid) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                state.waiting.remove(&self.task_uuid);
            }
        }
    }
}
