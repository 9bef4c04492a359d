//! Creates tasks of one template together.
//!
//! A statement and its commit cost PostgreSQL more than the rows of a task. Tasks that are requested while
//! such a statement runs are therefore created by the next one, all in one.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use crate::models::task::NewTask;

/// Statements for one template that run at once.
const STATEMENTS: usize = 1;
/// The most tasks of a statement.
const MAX_TASKS: usize = 64;
/// The most steps, and bytes of free JSON and tags, of a task that is created with others. A larger one would
/// delay them more than it saves.
const MAX_STEPS: usize = 32;
const MAX_BYTES: usize = 16 * 1024;
/// The longest time for which a task waits for the statement that creates it with others to begin.
const LIMIT: Duration = Duration::from_secs(1);

/// The outcome for a task that was to be created with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Created(DateTime<Utc>),
    /// A task with its identity exists.
    Exists,
    /// It has to be created alone. `may_exist`: a statement that was not answered may have created it.
    Failed {
        may_exist: bool,
    },
}

/// Returns whether `task` is created with others.
pub(super) fn suits(task: &NewTask) -> bool {
    let request = &task.request;
    let options = request.options.as_ref().map_or(0, |o| o.as_json().len());
    let tags: usize = request.tags.iter().map(String::len).sum();
    // A task without steps ends in the transaction that creates it.
    (1..=MAX_STEPS).contains(&task.steps.len())
        && request.context.as_json().len() + options + tags <= MAX_BYTES
}

/// The tasks of one template that wait to be created.
#[derive(Debug)]
pub(super) struct Line {
    turns: Semaphore,
    waiting: Mutex<VecDeque<Waiting>>,
    limit: Duration,
}

/// Holds a task until a statement takes it or its request gives up.
type Slot = Arc<Mutex<Option<Arc<NewTask>>>>;

#[derive(Debug)]
struct Waiting {
    slot: Slot,
    answer: oneshot::Sender<Attempt>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(STATEMENTS),
            waiting: Mutex::default(),
            limit: LIMIT,
        }
    }
}

impl Line {
    /// Has `task` created by a statement that `lead` runs for this and other callers. `lead` may be called
    /// more than once, and gets the batch to create; it returns false if it created none.
    ///
    /// A statement that has taken the task is awaited until `deadline`, because PostgreSQL works on it anyway.
    ///
    /// Cancelling the future withdraws the task unless its statement was sent. If that statement was run by
    /// the cancelled caller, the others hear that their tasks may exist.
    pub(super) async fn create<'a>(
        &self,
        task: &Arc<NewTask>,
        deadline: Instant,
        lead: impl Fn(Batch) -> BoxFuture<'a, bool>,
    ) -> Attempt {
        let slot = Slot::new(Mutex::new(Some(Arc::clone(task))));
        let (answer, mut answered) = oneshot::channel();
        let withdrawal = Withdrawal(Arc::clone(&slot));
        lock(&self.waiting).push_back(Waiting { slot, answer });
        let mut patience = pin!(sleep(self.limit));
        let created = async {
            loop {
                let turn = tokio::select! {
                    biased;
                    answer = &mut answered => return answer.ok(),
                    turn = self.turns.acquire() => turn,
                    () = &mut patience => {
                        if withdrawal.withdraw() {
                            return Some(Attempt::Failed { may_exist: false });
                        }
                        return timeout_at(deadline, answered).await.ok()?.ok();
                    }
                };
                // Nobody closes the semaphore.
                let _turn = turn.ok()?;
                if !lead(Batch::default()).await {
                    return answered.try_recv().ok();
                }
            }
        };
        created.await.unwrap_or_else(|| Attempt::Failed {
            may_exist: !withdrawal.withdraw(),
        })
    }
}

/// Withdraws a task that no statement has taken when it is dropped.
struct Withdrawal(Slot);

impl Withdrawal {
    fn withdraw(&self) -> bool {
        lock(&self.0).take().is_some()
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// The tasks of one statement.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch(Arc<Mutex<Vec<Taken>>>);

type Taken = (Arc<NewTask>, oneshot::Sender<Attempt>);

impl Batch {
    /// Takes the tasks that wait, when the statement is sent. Returns the same when it is sent again.
    pub(super) fn take(&self, line: &Line) -> Vec<Arc<NewTask>> {
        let mut taken = lock(&self.0);
        if taken.is_empty() {
            let mut waiting = lock(&line.waiting);
            while taken.len() < MAX_TASKS
                && let Some(Waiting { slot, answer }) = waiting.pop_front()
            {
                if let Some(task) = lock(&slot).take() {
                    taken.push((task, answer));
                }
            }
        }
        taken.iter().map(|(task, _)| Arc::clone(task)).collect()
    }

    /// Answers all requests: with the times at which the statement created their tasks, or with its failure.
    pub(super) fn answer(&self, created: Result<&[(Uuid, DateTime<Utc>)], Attempt>) {
        for (task, answer) in lock(&self.0).drain(..) {
            let attempt = created.map_or_else(
                |failed| failed,
                |created| {
                    created
                        .iter()
                        .find(|(id, _)| *id == task.task_uuid)
                        .map_or(Attempt::Exists, |(_, at)| Attempt::Created(*at))
                },
            );
            // The request may have been given up.
            let _ = answer.send(attempt);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::join_all;
    use serde_json::json;
    use tasker_shared::models::core::task_request::TaskRequest;
    use tasker_shared::models::core::task_template::FreeForm;

    use super::*;
    use crate::models::task::NewStep;

    fn task() -> Arc<NewTask> {
        Arc::new(NewTask {
            task_uuid: Uuid::now_v7(),
            named_task_uuid: Uuid::nil(),
            template_hash: String::new(),
            identity_hash: String::new(),
            requested_at: DateTime::UNIX_EPOCH,
            correlation_id: Uuid::nil(),
            request: Arc::new(TaskRequest::new("order", "shop")),
            steps: Vec::new(),
            edges: Vec::new(),
            awaited: false,
            announce: false,
        })
    }

    const CREATED: Attempt = Attempt::Created(DateTime::UNIX_EPOCH);

    /// Runs statements that take tasks when they may, and end when they may.
    struct Statements {
        line: Line,
        take: Semaphore,
        end: Semaphore,
        sizes: Mutex<Vec<usize>>,
    }

    impl Statements {
        fn new(take: usize, end: usize) -> Self {
            Self {
                line: Line::default(),
                take: Semaphore::new(take),
                end: Semaphore::new(end),
                sizes: Mutex::default(),
            }
        }

        async fn create(&self) -> Attempt {
            self.create_by(Instant::now() + Duration::from_mins(1))
                .await
        }

        async fn create_by(&self, deadline: Instant) -> Attempt {
            let lead = |batch: Batch| async move { self.run(&batch).await }.boxed();
            self.line.create(&task(), deadline, lead).await
        }

        async fn run(&self, batch: &Batch) -> bool {
            self.take.acquire().await.unwrap().forget();
            let tasks = batch.take(&self.line);
            lock(&self.sizes).push(tasks.len());
            self.end.acquire().await.unwrap().forget();
            let created: Vec<_> = tasks
                .iter()
                .map(|task| (task.task_uuid, DateTime::UNIX_EPOCH))
                .collect();
            batch.answer(Ok(&created));
            true
        }
    }

    #[tokio::test]
    async fn tasks_that_come_while_a_statement_runs_are_created_by_the_next() {
        let statements = Statements::new(9, 0);
        let mut first = Box::pin(statements.create());
        assert!(first.as_mut().now_or_never().is_none());
        let others = join_all((0..100).map(|_| statements.create()));
        let release = async { statements.end.add_permits(9) };
        let (first, others, ()) = tokio::join!(first, others, release);
        assert_eq!(first, CREATED);
        assert!(others.iter().all(|other| *other == CREATED));
        assert_eq!(*lock(&statements.sizes), [1, MAX_TASKS, 100 - MAX_TASKS]);
    }

    #[tokio::test]
    async fn a_task_whose_request_is_given_up_before_its_statement_is_not_created() {
        let statements = Statements::new(9, 0);
        let mut first = Box::pin(statements.create());
        assert!(first.as_mut().now_or_never().is_none());
        let mut given_up = Box::pin(statements.create());
        assert!(given_up.as_mut().now_or_never().is_none());
        drop(given_up);
        statements.end.add_permits(9);
        let (first, last) = tokio::join!(first, statements.create());
        assert_eq!((first, last), (CREATED, CREATED));
        assert_eq!(*lock(&statements.sizes), [1, 1]);
    }

    #[tokio::test]
    async fn tasks_of_a_statement_that_is_given_up_may_exist_and_others_are_created() {
        let statements = Statements::new(0, 0);
        let mut first = Box::pin(statements.create());
        let mut second = Box::pin(statements.create());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        statements.take.add_permits(1);
        assert!(first.as_mut().now_or_never().is_none());
        let mut third = Box::pin(statements.create());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(second.await, Attempt::Failed { may_exist: true });
        statements.take.add_permits(1);
        statements.end.add_permits(1);
        assert_eq!(third.await, CREATED);
        assert_eq!(*lock(&statements.sizes), [2, 1]);
    }

    #[tokio::test]
    async fn a_task_that_no_statement_takes_in_time_is_withdrawn() {
        let mut statements = Statements::new(0, 9);
        statements.line.limit = Duration::from_millis(10);
        let mut first = Box::pin(statements.create());
        assert!(first.as_mut().now_or_never().is_none());
        let waited = statements.create().await;
        assert_eq!(waited, Attempt::Failed { may_exist: false });
        statements.take.add_permits(9);
        assert_eq!(first.await, CREATED);
        assert_eq!(*lock(&statements.sizes), [1]);
    }

    #[tokio::test]
    async fn a_statement_that_has_taken_a_task_is_awaited_until_the_deadline() {
        let mut statements = Statements::new(0, 0);
        statements.line.limit = Duration::from_millis(10);
        let mut first = Box::pin(statements.create());
        assert!(first.as_mut().now_or_never().is_none());
        let (mut patient, mut late) = (
            Box::pin(statements.create()),
            Box::pin(statements.create_by(Instant::now() + Duration::from_millis(50))),
        );
        assert!(patient.as_mut().now_or_never().is_none());
        assert!(late.as_mut().now_or_never().is_none());
        statements.take.add_permits(1);
        assert!(first.as_mut().now_or_never().is_none());
        assert_eq!(late.await, Attempt::Failed { may_exist: true });
        statements.end.add_permits(1);
        let (first, patient) = tokio::join!(first, patient);
        assert_eq!((first, patient), (CREATED, CREATED));
        assert_eq!(*lock(&statements.sizes), [3]);
    }

    fn large() -> FreeForm {
        json!({"a": "x".repeat(MAX_BYTES)}).into()
    }

    #[test]
    fn a_task_with_much_to_store_is_created_alone() {
        let suits_with = |change: fn(&mut TaskRequest)| {
            let mut request = TaskRequest::new("order", "shop");
            change(&mut request);
            let mut task = Arc::into_inner(task()).unwrap();
            task.request = Arc::new(request);
            task.steps.push(NewStep {
                workflow_step_uuid: Uuid::nil(),
                named_step_uuid: Uuid::nil(),
                callable: String::new(),
                dependencies: 0,
                retryable: true,
                max_attempts: 1,
            });
            suits(&task)
        };
        assert!(suits_with(|_| {}));
        assert!(!suits_with(|request| request.context = large()));
        assert!(!suits_with(|request| request.options = Some(large())));
        assert!(!suits_with(
            |request| request.tags = vec!["x".repeat(MAX_BYTES)]
        ));
    }
}
