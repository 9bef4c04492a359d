//! Carries out an operator's action on a step.

use std::sync::Arc;

use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};
use tasker_shared::execution::{self, Creator, DynamicError, ExpansionError, Outcome};
use tasker_shared::models::core::task_template::TaskTemplate;
use uuid::Uuid;

use crate::models::workflow_step::{self, WorkflowStep};
use crate::task_initialization::overridden;

/// The depth of decisions is not limited here, because a person decides.
const MAX_DEPTH: u32 = u32::MAX;

/// An action of an operator.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) task_uuid: Uuid,
    pub(super) step_uuid: Uuid,
    /// `reset_for_retry`, `resolve_manually` or `complete_manually`.
    pub(super) action: &'static str,
    /// The result of a step that is completed manually.
    pub(super) result: Option<Value>,
    pub(super) metadata: Value,
    /// The environment whose overrides decide how often created steps are tried.
    pub(super) environment: Arc<str>,
}

/// The outcome of an operation.
#[derive(Debug)]
pub(super) enum Operated {
    /// The step as it is now.
    Done(Box<WorkflowStep>),
    /// Nothing was done, for the reason with this code.
    Refused(String),
    /// The result does not fit the step.
    Invalid(ExpansionError),
}

/// Carries out `operation`. A result that chooses branches or batches creates their steps. A step that is
/// resolved without a result chooses none, so that convergences do not wait for it.
pub(super) async fn operate(
    connection: &mut PgConnection,
    operation: Operation,
) -> Result<Operated, sqlx::Error> {
    let (task_uuid, step_uuid) = (operation.task_uuid, operation.step_uuid);
    let mut transaction = connection.begin().await?;
    if operation.action != "reset_for_retry" {
        match create(&mut transaction, &operation).await {
            Ok(()) => {}
            Err(DynamicError::Outcome(error)) => return Ok(Operated::Invalid(error)),
            Err(DynamicError::Database(error)) => return Err(error),
        }
    }
    let outcome: String = sqlx::query_scalar("SELECT tasker.step_operate($1, $2, $3, $4, $5)")
        .bind(task_uuid)
        .bind(step_uuid)
        .bind(operation.action)
        .bind(operation.result.map(Json))
        .bind(Json(operation.metadata))
        .fetch_one(&mut *transaction)
        .await?;
    if outcome != "done" {
        transaction.rollback().await?;
        return Ok(Operated::Refused(outcome));
    }
    // Before the commit, because an action that took effect must not be answered with an error.
    let step = workflow_step::find(&mut transaction, task_uuid, step_uuid).await?;
    let step = step.ok_or(sqlx::Error::RowNotFound)?;
    transaction.commit().await?;
    Ok(Operated::Done(Box::new(step)))
}

async fn create(connection: &mut PgConnection, operation: &Operation) -> Result<(), DynamicError> {
    // The row in the queue first, as all others do.
    sqlx::query(
        "SELECT FROM tasker.step_queue WHERE task_uuid = $1 AND workflow_step_uuid = $2 FOR UPDATE",
    )
    .bind(operation.task_uuid)
    .bind(operation.step_uuid)
    .execute(&mut *connection)
    .await?;
    let found: Option<(String, String)> = sqlx::query_as(
        "SELECT n.name::text, d.document::text
         FROM tasker.workflow_steps s
         JOIN tasker.named_steps n USING (named_step_uuid)
         JOIN tasker.tasks t USING (task_uuid)
         JOIN tasker.template_documents d ON d.hash = t.template_hash
         WHERE s.task_uuid = $1 AND s.workflow_step_uuid = $2 AND NOT s.processed",
    )
    .bind(operation.task_uuid)
    .bind(operation.step_uuid)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((name, document)) = found else {
        return Ok(());
    };
    // A document that this release cannot read creates nothing; its task cannot run anyway.
    let template = overridden(&document, &operation.environment)
        .or_else(|| serde_json::from_str::<TaskTemplate>(&document).ok());
    let Some(template) = template else {
        return Ok(());
    };
    let Some(step) = template.steps.iter().find(|step| step.name == name) else {
        return Ok(());
    };
    let outcome = match &operation.result {
        Some(result) => execution::outcome(step.step_type, &result.to_string())?,
        None => Outcome::none(step.step_type),
    };
    let Some(outcome) = outcome else {
        return Ok(());
    };
    let creator = Creator {
        template: &template,
        name: &name,
        outcome: &outcome,
        max_depth: MAX_DEPTH,
    };
    execution::create(connection, operation.task_uuid, creator).await
}
