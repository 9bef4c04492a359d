//! Makes tasks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::models::task::{self, NewEdge, NewStep, NewTask, TaskIdentity};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tasker_shared::database::{self, DatabaseError};
use tasker_shared::metrics::TASKS_CREATED;
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::registry::RegistryError;
use tasker_shared::types::HandlerMetadata;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::announce::Announcer;
use super::check_pool::CheckPool;
use super::context;
use super::errors::{TaskInitializationError as Error, Violation};
use super::identity::identity_hash;
use super::prepared::{PreparedTemplate, PreparedTemplates};
use super::request_check;
use super::together::{self, Attempt, Batch, Line};
use super::turns::Turns;
use crate::QUERY_LIMIT;
use crate::template_loader::TemplateLoader;

/// Attempts to make a task if rows that it refers to are deleted meanwhile.
const ATTEMPTS: usize = 2;

/// Requests that are worked on, for each connection of the pool. More would only need memory.
const REQUESTS_PER_CONNECTION: usize = 4;
/// The tenths of the pool that making tasks uses at most: in all, and for one template.
const TENTHS: usize = 5;
const TENTHS_OF_TEMPLATE: usize = 3;

/// The longest time for finding out if a task exists whose creation was not answered. Together with
/// [`QUERY_LIMIT`] it is below the time of a request.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// The time that is left for PostgreSQL's answer when a wait for a lock ends.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// The longest wait for a lock of a statement that creates several tasks.
const SHORT_LOCK_WAIT: Duration = Duration::from_millis(100);
/// The least time for which a query is sent.
const LEAST_LIMIT: Duration = Duration::from_millis(600);

/// SQLSTATE of a reference to a missing row.
const FOREIGN_KEY_VIOLATION: &str = "23503";
/// The class of SQLSTATEs for values that a type cannot hold.
const DATA_EXCEPTION: &str = "22";

/// The answer to a task request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitializedTask {
    /// The task.
    pub task_uuid: Uuid,
    /// Its state, `pending` when it is new.
    pub status: String,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Its steps, by name.
    pub step_mapping: BTreeMap<String, Uuid>,
    /// True if this request made it. Otherwise an earlier request with the same identity did.
    pub created: bool,
    /// The hash of the template that it was made from, if known.
    pub template_hash: Option<String>,
}

/// Makes tasks from requests.
#[derive(Debug)]
pub struct TaskInitializer {
    loader: TemplateLoader,
    pool: PgPool,
    prepared: PreparedTemplates,
    announcer: Announcer,
    quick_checks: Arc<CheckPool>,
    thorough_checks: CheckPool,
    /// Limits the requests that are worked on.
    requests: Turns,
    /// Limits the connections that are used.
    connections: Turns,
}

impl TaskInitializer {
    /// Returns an initializer for the database of `pool`. Starts the threads that check contexts.
    #[must_use]
    pub fn new(loader: TemplateLoader, pool: PgPool) -> Self {
        let connections = usize::try_from(pool.options().get_max_connections()).unwrap_or(1);
        let requests = connections * REQUESTS_PER_CONNECTION;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let quick_checks = Arc::new(CheckPool::start("context-check", (cores / 2).clamp(1, 4)));
        Self {
            loader,
            announcer: Announcer::new(pool.clone()),
            prepared: PreparedTemplates::new(pool.clone(), Arc::clone(&quick_checks)),
            quick_checks,
            thorough_checks: CheckPool::start("context-thorough", 1),
            requests: Turns::new(requests, requests / 2),
            connections: Turns::new(
                connections * TENTHS / 10,
                connections * TENTHS_OF_TEMPLATE / 10,
            ),
            pool,
        }
    }

    /// Sets the environment whose overrides decide how often steps are tried. Workers should be in the same one.
    #[must_use]
    pub fn in_environment(mut self, environment: impl Into<String>) -> Self {
        self.prepared.environment = environment.into();
        self
    }

    /// Makes the requested task, or finds the one that a request with the same identity made. Of any
    /// number of concurrent requests with one identity exactly one makes it.
    pub async fn initialize(&self, request: TaskRequest) -> Result<InitializedTask, Error> {
        self.counted(Arc::new(request), false).await
    }

    /// Does what [`initialize`](Self::initialize) does for a caller who waits for the end of the
    /// task, which is then announced.
    pub async fn initialize_awaited(&self, request: TaskRequest) -> Result<InitializedTask, Error> {
        self.counted(Arc::new(request), true).await
    }

    /// Makes the task in a transaction of the caller's, so that it exists if that is committed, and
    /// runs only then.
    ///
    /// # Errors
    /// The transaction must be rolled back after an error of the database.
    pub async fn create_in(
        &self,
        transaction: &mut PgConnection,
        request: TaskRequest,
    ) -> Result<InitializedTask, Error> {
        let request = Arc::new(request);
        check(&request)?;
        let template = self.loader.load(&request).await?;
        let prepared = self.prepared.get(&template).await?;
        let new = self.plan(&request, &template, &prepared).await?;
        let failed = |error: sqlx::Error| {
            let error = error.into();
            // The name of a step was deleted after it was read. The caller's next transaction reads it anew.
            if is_foreign_key_violation(&error) {
                self.prepared.forget(&template.hash);
            }
            unstorable(error)
        };
        let new = [Arc::new(new)];
        let created = task::create(transaction, &new, None)
            .await
            .map_err(failed)?;
        let [new] = new;
        if let Some((_, created_at)) = created.first() {
            return Ok(made(&new, &prepared, *created_at));
        }
        let existing = task::find_by_identity(transaction, &new.identity_hash);
        let existing = existing.await.map_err(failed)?;
        existing.map(found).ok_or(Error::TemplateChanged)
    }

    async fn counted(
        &self,
        request: Arc<TaskRequest>,
        awaited: bool,
    ) -> Result<InitializedTask, Error> {
        let result = self.checked(request, awaited).await;
        metrics::counter!(TASKS_CREATED.name, "result" => outcome(&result)).increment(1);
        result
    }

    async fn checked(
        &self,
        request: Arc<TaskRequest>,
        awaited: bool,
    ) -> Result<InitializedTask, Error> {
        let _turn = self.requests.take(&request).await.ok_or(Error::Busy)?;
        check(&request)?;
        for _ in 0..ATTEMPTS {
            let template = self.loader.load(&request).await?;
            match self.make_from(&request, &template, awaited).await {
                // The template's row, or the name of a step, was deleted after it was read.
                Err(Error::Database(error)) if is_foreign_key_violation(&error) => {
                    self.prepared.forget(&template.hash);
                }
                result => return result,
            }
        }
        Err(Error::TemplateChanged)
    }

    async fn make_from(
        &self,
        request: &Arc<TaskRequest>,
        template: &HandlerMetadata,
        awaited: bool,
    ) -> Result<InitializedTask, Error> {
        let prepared = self.prepared.get(template).await?;
        let mut new = self.plan(request, template, &prepared).await?;
        new.awaited = awaited;
        let creation = self.announcer.begin();
        new.announce = creation.announces;
        let new = Arc::new(new);
        // A found task may be deleted before it is read. Then a new one can be made.
        for _ in 0..ATTEMPTS {
            if let Some(created_at) = self.create(&new, &prepared.line).await? {
                creation.succeeded(created_at);
                return Ok(made(&new, &prepared, created_at));
            }
            // A task with this identity exists, and an attempt without an answer may have made it.
            let existing = self.find(&new).await.map_err(|source| Error::Uncertain {
                task_uuid: new.task_uuid,
                source,
            })?;
            if let Some(existing) = existing {
                // Made by this request, if the connection was lost before the answer arrived.
                let created = existing.task_uuid == new.task_uuid;
                if created {
                    creation.succeeded(existing.created_at);
                }
                return Ok(InitializedTask {
                    created,
                    ..found(existing)
                });
            }
        }
        Err(Error::TemplateChanged)
    }

    /// Checks the context, and returns the task to make.
    async fn plan(
        &self,
        request: &Arc<TaskRequest>,
        template: &HandlerMetadata,
        prepared: &Arc<PreparedTemplate>,
    ) -> Result<NewTask, Error> {
        let identity = self.identify(request, template, prepared).await?;
        Ok(new_task(request, template, prepared, identity))
    }

    /// Checks the context, and returns the identity of the request.
    ///
    /// A context that needs more than a quick check waits in a line of its own, so that expensive
    /// contexts delay each other and nobody else.
    async fn identify(
        &self,
        request: &Arc<TaskRequest>,
        template: &HandlerMetadata,
        prepared: &Arc<PreparedTemplate>,
    ) -> Result<String, Error> {
        let (strategy, named_task) = (template.identity_strategy, template.named_task_uuid);
        let check = |budget| {
            let (request, prepared) = (Arc::clone(request), Arc::clone(prepared));
            move || {
                let schema = prepared.input_schema.as_ref();
                let context = context::check(&request, schema, budget)?;
                let key = request.idempotency_key.as_deref();
                identity_hash(strategy, named_task, &context, key)
                    .ok_or(Error::IdempotencyKeyRequired)
            }
        };
        match self.quick_checks.run(check(context::QUICK)).await {
            Ok(Err(Error::ContextTooComplex)) => {}
            checked => return checked.map_err(|_busy| Error::Busy)?,
        }
        let checked = self.thorough_checks.run(check(context::THOROUGH)).await;
        checked.map_err(|_busy| Error::Busy)?
    }

    /// Returns the time of creation, or `None` if a task with the same identity exists, which an
    /// attempt whose answer was lost may have made.
    ///
    /// Safe to repeat, because the second time finds the identity of the first.
    async fn create(
        &self,
        new: &Arc<NewTask>,
        line: &Arc<Line>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let deadline = Instant::now() + QUERY_LIMIT;
        let unanswered = Arc::new(AtomicU32::new(0));
        if together::suits(new) {
            match self.create_together(new, line, deadline).await {
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
            Err(error) if unanswered.load(Ordering::Relaxed) == 0 => Err(unstorable(error)),
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

    /// Has a task created with others of its template. A statement that would wait for a lock, or that
    /// PostgreSQL refuses because of one of them, creates none.
    async fn create_together(
        &self,
        new: &Arc<NewTask>,
        line: &Arc<Line>,
        deadline: Instant,
    ) -> Attempt {
        line.create(new, |batch| Box::pin(self.lead(new, line, batch, deadline)))
            .await
    }

    /// Creates a batch of tasks. Returns false if no statement could be sent.
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

    async fn find(&self, new: &Arc<NewTask>) -> Result<Option<TaskIdentity>, DatabaseError> {
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

fn check(request: &TaskRequest) -> Result<(), Error> {
    let violations = request_check::violations(request);
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(violations))
    }
}

fn found(existing: TaskIdentity) -> InitializedTask {
    InitializedTask {
        created: false,
        task_uuid: existing.task_uuid,
        status: existing.status,
        created_at: existing.created_at,
        step_mapping: existing.steps.0,
        template_hash: existing.template_hash,
    }
}

fn new_task(
    request: &Arc<TaskRequest>,
    template: &HandlerMetadata,
    prepared: &PreparedTemplate,
    identity_hash: String,
) -> NewTask {
    let steps: Vec<_> = prepared
        .plan
        .steps
        .iter()
        .zip(&prepared.named_steps)
        .map(|(step, named_step_uuid)| NewStep {
            workflow_step_uuid: Uuid::now_v7(),
            named_step_uuid: *named_step_uuid,
            callable: step.callable.clone(),
            dependencies: step.dependencies,
            retryable: step.retryable,
            max_attempts: step.max_attempts,
        })
        .collect();
    let edges = prepared
        .plan
        .edges
        .iter()
        .map(|&(from, to)| NewEdge {
            from: steps[from].workflow_step_uuid,
            to: steps[to].workflow_step_uuid,
        })
        .collect();
    NewTask {
        task_uuid: Uuid::now_v7(),
        named_task_uuid: template.named_task_uuid,
        template_hash: template.hash.to_string(),
        identity_hash,
        requested_at: request.requested_at.unwrap_or_else(Utc::now),
        correlation_id: request.correlation_id.unwrap_or_else(Uuid::now_v7),
        request: Arc::clone(request),
        steps,
        edges,
        awaited: false,
        announce: true,
    }
}

fn made(new: &NewTask, prepared: &PreparedTemplate, created_at: DateTime<Utc>) -> InitializedTask {
    let step_mapping = prepared
        .plan
        .steps
        .iter()
        .zip(&new.steps)
        .map(|(planned, step)| (planned.name.clone(), step.workflow_step_uuid))
        .collect();
    InitializedTask {
        task_uuid: new.task_uuid,
        status: String::from("pending"),
        created_at,
        step_mapping,
        created: true,
        template_hash: Some(new.template_hash.clone()),
    }
}

/// Blames the request for values that PostgreSQL cannot store, such as a number with 20,000 digits.
fn unstorable(error: DatabaseError) -> Error {
    match sqlstate(&error) {
        Some(code) if code.starts_with(DATA_EXCEPTION) => Error::Invalid(vec![Violation::new(
            "/context",
            "has a value that PostgreSQL cannot store in a jsonb",
        )]),
        _ => Error::Database(error),
    }
}

fn sqlstate(error: &DatabaseError) -> Option<Cow<'_, str>> {
    let DatabaseError::Failed(error) = error else {
        return None;
    };
    error.as_database_error()?.code()
}

fn is_foreign_key_violation(error: &DatabaseError) -> bool {
    sqlstate(error).is_some_and(|code| code == FOREIGN_KEY_VIOLATION)
}

/// Returns the metric's label.
fn outcome(result: &Result<InitializedTask, Error>) -> &'static str {
    match result {
        Ok(task) if task.created => "created",
        Ok(_) => "deduplicated",
        Err(
            Error::Invalid(_)
            | Error::IdempotencyKeyRequired
            | Error::Context(_)
            | Error::ContextTooComplex
            | Error::Schema(_)
            | Error::TemplateChanged
            | Error::Template(RegistryError::NotFound { .. }),
        ) => "rejected",
        Err(Error::Template(_) | Error::Database(_) | Error::Uncertain { .. } | Error::Busy) => {
            "failed"
        }
    }
}
