//! Completes a step that creates others.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use tasker_templates::expansion::{Existing, ExpansionError, Outcome, PlannedStep, plan};
use tasker_templates::{FreeForm, TaskTemplate, queued_callable};

use super::{AttemptEnd, Scope, complete};

/// The reason why a step that creates others was not completed.
#[derive(Debug, thiserror::Error)]
pub enum DynamicError {
    /// Its outcome cannot be followed. The step fails for good.
    #[error(transparent)]
    Outcome(#[from] ExpansionError),
    /// PostgreSQL failed. Nothing was written if the transaction is rolled back.
    #[error("PostgreSQL did not complete the step")]
    Database(#[from] sqlx::Error),
}

/// A step that creates others, at its end.
#[derive(Debug, Clone, Copy)]
pub struct Creator<'a> {
    /// The template that its task runs on.
    pub template: &'a TaskTemplate,
    /// Its name in the task.
    pub name: &'a str,
    /// The outcome of its handler.
    pub outcome: &'a Outcome,
    /// The most decisions that may follow from one another.
    pub max_depth: u32,
}

/// Creates the steps that follow from an outcome, and records the end of the step that has it.
/// Returns whether the end was recorded. If it was not, because the claim is lost or the task has
/// ended, the transaction must be rolled back.
///
/// Must run in a transaction. Two such steps of one task wait for each other, because each has to
/// see the steps that the other creates.
pub async fn complete_creating(
    connection: &mut PgConnection,
    worker: Uuid,
    end: &AttemptEnd,
    creator: Creator<'_>,
) -> Result<bool, DynamicError> {
    // The row in the queue first, as all others do. The isolation level is looked at before, because
    // steps that another creates meanwhile would not be seen.
    let held = sqlx::query(
        "SELECT FROM tasker.step_queue
         WHERE tasker.require_read_committed()
             AND task_uuid = $1 AND workflow_step_uuid = $2 AND attempt = $3 AND claimed_by = $4
         FOR UPDATE",
    )
    .bind(end.id.task_uuid)
    .bind(end.id.step_uuid)
    .bind(end.id.attempt)
    .bind(worker)
    .fetch_optional(&mut *connection)
    .await?;
    if held.is_none() {
        return Ok(false);
    }
    create(connection, end.id.task_uuid, creator).await?;
    let rows = complete(connection, worker, &[end], 0, &Scope::default(), None).await?;
    Ok(!rows.iter().any(|row| row.kind == "refused"))
}

/// Creates the steps that follow from an outcome.
pub async fn create(
    connection: &mut PgConnection,
    task_uuid: Uuid,
    creator: Creator<'_>,
) -> Result<(), DynamicError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('tasker.task.' || $1::text, 0))")
        .bind(task_uuid)
        .execute(&mut *connection)
        .await?;
    let rows: Vec<(String, Uuid, bool)> = sqlx::query_as(
        "SELECT n.name::text, s.workflow_step_uuid, s.processed
         FROM tasker.workflow_steps s JOIN tasker.named_steps n USING (named_step_uuid)
         WHERE s.task_uuid = $1",
    )
    .bind(task_uuid)
    .fetch_all(&mut *connection)
    .await?;
    let mut ids = BTreeMap::new();
    let mut existing = Existing::new();
    for (name, id, complete) in rows {
        ids.insert(name.clone(), id);
        existing.insert(name, complete);
    }
    let Creator {
        template,
        name,
        outcome,
        max_depth,
    } = creator;
    let planned = plan(template, &existing, name, outcome, max_depth)?;
    if !planned.is_empty() {
        insert(connection, task_uuid, ids, planned).await?;
    }
    Ok(())
}

async fn insert(
    connection: &mut PgConnection,
    task_uuid: Uuid,
    mut ids: BTreeMap<String, Uuid>,
    planned: Vec<PlannedStep<'_>>,
) -> Result<(), sqlx::Error> {
    for step in &planned {
        ids.insert(step.name.clone(), Uuid::now_v7());
    }
    let (mut from, mut to): (Vec<Uuid>, Vec<Uuid>) = (Vec::new(), Vec::new());
    for step in &planned {
        for parent in &step.parents {
            from.push(ids[parent]);
            to.push(ids[&step.name]);
        }
    }
    let retries = || planned.iter().map(|step| &step.definition.retry);
    let steps: Vec<Uuid> = planned.iter().map(|step| ids[&step.name]).collect();
    let names: Vec<&str> = planned.iter().map(|step| &*step.name).collect();
    let callables: Vec<String> = planned
        .iter()
        .map(|step| queued_callable(&step.definition.handler.callable).into_owned())
        .collect();
    let retryable: Vec<bool> = retries().map(|retry| retry.retryable).collect();
    let attempts: Vec<i32> = retries()
        .map(|retry| i32::try_from(retry.max_attempts).unwrap_or(i32::MAX))
        .collect();
    let inputs: Vec<Option<Json<&FreeForm>>> = planned
        .iter()
        .map(|step| step.inputs.as_ref().map(Json))
        .collect();
    sqlx::query("SELECT tasker.steps_create($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(task_uuid)
        .bind(steps)
        .bind(names)
        .bind(callables)
        .bind(retryable)
        .bind(attempts)
        .bind(inputs)
        .bind(from)
        .bind(to)
        .execute(connection)
        .await?;
    Ok(())
}
