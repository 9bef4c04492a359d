//! Makes tasks.

mod creation;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tasker_shared::database::DatabaseError;
use tasker_shared::metrics::TASKS_CREATED;
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::registry::RegistryError;
use tasker_shared::types::HandlerMetadata;
use uuid::Uuid;

use super::announce::Announcer;
use super::check_pool::CheckPool;
use super::context;
use super::errors::{TaskInitializationError as Error, Violation};
use super::identity::identity_hash;
use super::prepared::{PreparedTemplate, PreparedTemplates};
use super::request_check;
use super::turns::Turns;
use crate::models::task::{self, NewEdge, NewStep, NewTask, TaskIdentity};
use crate::template_loader::TemplateLoader;

/// Attempts to make a task if rows that it refers to are deleted meanwhile.
const ATTEMPTS: usize = 2;

/// Requests that are worked on, for each connection of the pool. More would only need memory.
const REQUESTS_PER_CONNECTION: usize = 4;
/// The tenths of the pool that making tasks uses at most: in all, and for one template.
const TENTHS: usize = 5;
const TENTHS_OF_TEMPLATE: usize = 3;

/// The most quick checks of contexts that wait. More could not start in time.
const QUICK_WAITING: usize = 256;

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
        let threads = (cores / 2).clamp(1, 4);
        let quick_checks = Arc::new(CheckPool::start("context-check", threads, QUICK_WAITING));
        Self {
            loader,
            announcer: Announcer::new(pool.clone()),
            prepared: PreparedTemplates::new(pool.clone(), Arc::clone(&quick_checks)),
            quick_checks,
            thorough_checks: CheckPool::start(
                "context-thorough",
                1,
                // The one that runs keeps a turn, too.
                (requests / 4 - 1).max(1),
            ),
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
            unstorable(error, &request)
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
        let mut counted = Counted("cancelled");
        let result = self.checked(request, awaited).await;
        counted.0 = outcome(&result);
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
    /// A context that needs more than a quick check waits in a short line of its own, so that expensive
    /// contexts delay each other, and keep a quarter of the requests' turns, or two, at most.
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
fn unstorable(error: DatabaseError, request: &TaskRequest) -> Error {
    match error.sqlstate() {
        Some(code) if code.starts_with(DATA_EXCEPTION) => {
            // PostgreSQL does not say in which of them.
            let (pointer, subject) = match request.options {
                None => ("/context", ""),
                Some(_) => ("", "`context` or `options` "),
            };
            let message = format!("{subject}has a value that PostgreSQL cannot store in a jsonb");
            Error::Invalid(vec![Violation::new(pointer, message)])
        }
        _ => Error::Database(error),
    }
}

fn is_foreign_key_violation(error: &DatabaseError) -> bool {
    error
        .sqlstate()
        .is_some_and(|code| code == FOREIGN_KEY_VIOLATION)
}

/// Counts a request with this result when it is dropped, because a request without an answer is only dropped.
struct Counted(&'static str);

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::counter!(TASKS_CREATED.name, "result" => self.0).increment(1);
    }
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
