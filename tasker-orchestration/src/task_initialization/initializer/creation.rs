//! The statements that create tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use tasker_shared::database::{self, DatabaseError};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Error, TaskInitializer, unstorable};
use crate::QUERY_LIMIT;
use crate::models::task::{self, NewTask, TaskIdentity};
use crate::task_initialization::together::{self, Attempt, Batch, Line};

/// The longest time for finding out if a task exists whose creation was not answered. Together with
/// [`QUERY_LIMIT`] it is below the time of a request.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// The time that is left for creating a task alone if the statement that creates several is not answered.
const TIME_ALONE: Duration = Duration::from_secs(2);
/// The time that is left for PostgreSQL's answer when a wait for a lock ends.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// The longest wait for a lock of a statement that creates several tasks.
const SHORT_LOCK_WAIT: Duration = Duration::from_millis(100);
/// The least time for which a query is sent.
const LEAST_LIMIT: Duration = Duration::from_millis(600);

impl TaskInitializer {
    /// Returns the time of creation, or `None` if a task with the same identity exists, which an
    /// attempt whose answer was lost may have made.
    ///
    /// Safe to repeat, because the second time finds the identity of the first.
    pub(super) async fn create(
        &self,
        new: &Arc<NewTask>,
        line: &Arc<Line>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let deadline = Instant::now() + QUERY_LIMIT;
        let unanswered = Arc::new(AtomicU32::new(0));
        if together::suits(new) {
            let created = line.create(new, deadline, |batch| {
                Box::pin(self.lead(new, line, batch, deadline - TIME_ALONE))
            });
            match created.await {
                Attempt::Created(created_at) => return Ok(Some(created_at)),
                Attempt::Exists => return Ok(None),
                Attempt::Failed { may_exist } => {
                    unanswered.store(u32::from(may_exist), Ordering::Relaxed);
                }
            }
        }
        let (tasks, counted) = ([Arc::clone(new)], Arc::clone(&unanswered));
        let created = self
            .run(new, deadline, move |connection| {
                let (tasks, counted) = (tasks.clone(), Arc::clone(&counted));
                Box::pin(async move {
                    // PostgreSQL then says before the deadline that nothing was created, and why.
                    let wait = deadline.saturating_duration_since(Instant::now() + ANSWER_TIME);
                    let wait = wait.min(database::pool::LOCK_TIMEOUT);
                    counting(&counted, task::create(connection, &tasks, Some(wait))).await
                })
            })
            .await;
        match created {
            Ok(created) => Ok(created.first().map(|(_, created_at)| *created_at)),
            Err(error) if unanswered.load(Ordering::Relaxed) == 0 => {
                Err(unstorable(error, &new.request))
            }
            // An attempt may have been committed, so no caller may read that it was not.
            Err(error) => match timeout(CHECK_LIMIT, self.find(new)).await {
                Ok(Ok(Some(_))) => Ok(None),
                _ => Err(Error::Uncertain {
                    task_uuid: new.task_uuid,
                    source: error,
                }),
            },
        }
    }

    /// Creates a batch of tasks: all, or none if the statement would wait for a lock, or PostgreSQL refuses it
    /// because of one of them. Returns false if no statement could be sent.
    async fn lead(&self, new: &NewTask, line: &Arc<Line>, batch: Batch, deadline: Instant) -> bool {
        let unanswered = Arc::new(AtomicU32::new(0));
        let created = self
            .run(new, deadline, |connection| {
                let (tasks, counted) = (batch.take(line), Arc::clone(&unanswered));
                Box::pin(async move {
                    let created = task::create(connection, &tasks, Some(SHORT_LOCK_WAIT));
                    match counting(&counted, created).await {
                        Err(error) if database::is_refusal(&error) => Ok(None),
                        created => created.map(Some),
                    }
                })
            })
            .await;
        let may_exist = unanswered.load(Ordering::Relaxed) > 0;
        match &created {
            Ok(Some(created)) => batch.answer(Ok(created)),
            _ => batch.answer(Err(Attempt::Failed { may_exist })),
        }
        created.is_ok()
    }

    pub(super) async fn find(
        &self,
        new: &Arc<NewTask>,
    ) -> Result<Option<TaskIdentity>, DatabaseError> {
        let identity = new.identity_hash.clone();
        self.run(new, Instant::now() + QUERY_LIMIT, move |connection| {
            let identity = identity.clone();
            Box::pin(async move { task::find_by_identity(connection, &identity).await })
        })
        .await
    }

    /// Runs a query for a task until `deadline`. The wait for a turn counts.
    async fn run<T>(
        &self,
        new: &NewTask,
        deadline: Instant,
        query: impl for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
    ) -> Result<T, DatabaseError> {
        let turn = timeout_at(deadline, self.connections.take(&new.request)).await;
        // All that have the turns of a template may wait for a lock.
        let unsent = || database::locked_recently().unwrap_or(DatabaseError::Late(QUERY_LIMIT));
        let _turn = turn.map_err(|_elapsed| unsent())?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left < LEAST_LIMIT {
            return Err(unsent());
        }
        let answer = database::run_idempotent(&self.pool, left, query).await;
        answer.map_err(|error| error.with_limit(QUERY_LIMIT))
    }
}

/// Counts in `unanswered` a statement that had an effect which is not known.
async fn counting<T>(
    unanswered: &AtomicU32,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    unanswered.fetch_add(1, Ordering::Relaxed);
    let answer = statement.await;
    // A refused statement had no effect.
    if answer.as_ref().is_err_and(database::is_refusal) {
        unanswered.fetch_sub(1, Ordering::Relaxed);
    }
    answer
}
