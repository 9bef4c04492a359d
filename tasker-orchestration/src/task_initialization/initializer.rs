//! Makes tasks.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tasker_shared::metrics::TASKS_CREATED;
use tasker_shared::models::core::task::{self, NewEdge, NewStep, NewTask};
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::registry::RegistryError;
use tasker_shared::types::HandlerMetadata;
use uuid::Uuid;

use super::errors::TaskInitializationError as Error;
use super::identity::identity_hash;
use super::prepared::{PreparedTemplate, PreparedTemplates};
use super::request_check;
use crate::template_loader::TemplateLoader;

/// How often a task is tried to be made when rows that it refers to are deleted meanwhile.
const ATTEMPTS: usize = 2;

/// SQLSTATE of a row that refers to one which is not there.
const FOREIGN_KEY_VIOLATION: &str = "23503";

/// The answer to a task request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitializedTask {
    /// The task.
    pub task_uuid: Uuid,
    /// Its state, `pending` when it is new.
    pub status: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Its steps, by name.
    pub step_mapping: BTreeMap<String, Uuid>,
    /// Whether this request made it. Else a request with the same identity did before.
    pub created: bool,
    /// The content hash of the template that it was made from, if that is known.
    pub template_hash: Option<String>,
}

/// Makes tasks from requests.
#[derive(Debug)]
pub struct TaskInitializer {
    loader: TemplateLoader,
    pool: PgPool,
    prepared: PreparedTemplates,
}

impl TaskInitializer {
    /// Makes tasks in the database of `pool`.
    #[must_use]
    pub fn new(loader: TemplateLoader, pool: PgPool) -> Self {
        Self {
            loader,
            prepared: PreparedTemplates::new(pool.clone()),
            pool,
        }
    }

    /// Makes the task that `request` asks for, or finds the one that a request with the same
    /// identity made. Of any number of concurrent requests with one identity exactly one makes it.
    pub async fn initialize(&self, request: &TaskRequest) -> Result<InitializedTask, Error> {
        let result = self.checked(request).await;
        metrics::counter!(TASKS_CREATED.name, "result" => outcome(&result)).increment(1);
        result
    }

    async fn checked(&self, request: &TaskRequest) -> Result<InitializedTask, Error> {
        let violations = request_check::violations(request);
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        for _ in 0..ATTEMPTS {
            let template = self.loader.load(request).await?;
            match self.make_from(request, &template).await {
                // The template's row, or the name of a step, was deleted since it was read.
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
        request: &TaskRequest,
        template: &HandlerMetadata,
    ) -> Result<InitializedTask, Error> {
        let prepared = self.prepared.get(template).await?;
        if let Some(schema) = &prepared.input_schema {
            let violations = schema.violations(&request.context);
            if !violations.is_empty() {
                return Err(Error::Context(violations));
            }
        }
        let identity = identity_hash(
            template.identity_strategy,
            template.named_task_uuid,
            &request.context,
            request.idempotency_key.as_deref(),
        )
        .ok_or(Error::IdempotencyKeyRequired)?;
        // A task that is found may be deleted before it is read; then there is room for a new one.
        for _ in 0..ATTEMPTS {
            if let Some(task) = self.insert(request, template, &prepared, &identity).await? {
                return Ok(task);
            }
            if let Some(existing) = task::find_by_identity(&self.pool, &identity).await? {
                return Ok(InitializedTask {
                    task_uuid: existing.task_uuid,
                    status: existing.status,
                    created_at: existing.created_at,
                    step_mapping: existing.steps.0,
                    created: false,
                    template_hash: existing.template_hash,
                });
            }
        }
        Err(Error::TemplateChanged)
    }

    async fn insert(
        &self,
        request: &TaskRequest,
        template: &HandlerMetadata,
        prepared: &PreparedTemplate,
        identity_hash: &str,
    ) -> Result<Option<InitializedTask>, sqlx::Error> {
        let task_uuid = Uuid::now_v7();
        let steps: Vec<_> = prepared
            .plan
            .steps
            .iter()
            .zip(&prepared.named_steps)
            .map(|(step, named_step_uuid)| NewStep {
                workflow_step_uuid: Uuid::now_v7(),
                named_step_uuid: *named_step_uuid,
                retryable: step.retryable,
                max_attempts: step.max_attempts,
            })
            .collect();
        let edges: Vec<_> = prepared
            .plan
            .edges
            .iter()
            .map(|&(from, to)| NewEdge {
                from: steps[from].workflow_step_uuid,
                to: steps[to].workflow_step_uuid,
            })
            .collect();
        let template_hash = template.hash.to_string();
        let new = NewTask {
            task_uuid,
            named_task_uuid: template.named_task_uuid,
            template_hash: &template_hash,
            identity_hash,
            context: &request.context,
            initiator: &request.initiator,
            source_system: &request.source_system,
            reason: &request.reason,
            tags: &request.tags,
            options: request.options.as_ref(),
            priority: request.priority.unwrap_or_default(),
            requested_at: request.requested_at.unwrap_or_else(Utc::now),
            correlation_id: request.correlation_id.unwrap_or_else(Uuid::now_v7),
            parent_correlation_id: request.parent_correlation_id,
        };
        let Some(created_at) = task::create(&self.pool, &new, &steps, &edges).await? else {
            return Ok(None);
        };
        let step_mapping = prepared
            .plan
            .steps
            .iter()
            .zip(&steps)
            .map(|(planned, step)| (planned.name.clone(), step.workflow_step_uuid))
            .collect();
        Ok(Some(InitializedTask {
            task_uuid,
            status: String::from("pending"),
            created_at,
            step_mapping,
            created: true,
            template_hash: Some(template_hash),
        }))
    }
}

fn is_foreign_key_violation(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == FOREIGN_KEY_VIOLATION)
}

/// The metric's label: whose turn it is to do something about it.
fn outcome(result: &Result<InitializedTask, Error>) -> &'static str {
    match result {
        Ok(task) if task.created => "created",
        Ok(_) => "deduplicated",
        Err(
            Error::Invalid(_)
            | Error::IdempotencyKeyRequired
            | Error::Context(_)
            | Error::Schema(_)
            | Error::TemplateChanged
            | Error::Template(RegistryError::NotFound { .. }),
        ) => "rejected",
        Err(Error::Template(_) | Error::Database(_)) => "failed",
    }
}
