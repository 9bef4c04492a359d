//! A handler's view of its step.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::PgConnection;
use tasker_shared::database::{self, DatabaseError};
use tasker_shared::execution::{self, DynamicError, Scope};
use tasker_shared::models::core::task_template::{FreeForm, HandlerDefinition};
use uuid::Uuid;

use super::claimed::{Attempt, TaskInfo};
use super::dependencies::{StepResult, walk};
use super::finish::{self, Finish};
use super::outcome::{StepError, StepOutcome};
use crate::QUERY_LIMIT;

/// PostgreSQL's code for a transaction of the wrong isolation level.
const ISOLATION_LEVEL: &str = "25004";

/// One attempt of a step, as its handler sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StepContext(pub(super) Arc<Attempt>);

/// Asking again would give the same answer, so it fails the step for good.
fn missing(path: &str) -> StepError {
    StepError::permanent(format!("{path} is missing")).with_type("InvalidInput")
}

fn mistyped(path: &str, error: &serde_json::Error) -> StepError {
    StepError::permanent(format!("{path} cannot be read: {error}")).with_type("InvalidInput")
}

fn read<T: DeserializeOwned>(json: &str, path: &str) -> Result<T, StepError> {
    serde_json::from_str(json).map_err(|error| mistyped(path, &error))
}

fn read_key<T: DeserializeOwned>(
    json: Option<&str>,
    root: &str,
    key: &str,
) -> Result<T, StepError> {
    let path = format!("{root}.{key}");
    let object: Value = read(json.ok_or_else(|| missing(&path))?, root)?;
    let value = object.get(key).ok_or_else(|| missing(&path))?;
    T::deserialize(value).map_err(|error| mistyped(&path, &error))
}

/// Returns whether a result is that of a [placeholder](super::attempt::is_placeholder), as it was written
/// here or as PostgreSQL returns it.
fn is_of_placeholder(result: &StepResult) -> bool {
    let json = result.value.as_deref().map(RawValue::get);
    matches!(json, Some(r#"{"is_no_op":true}"# | r#"{"is_no_op": true}"#))
}

/// Values that are missing or of another type fail the step for good; the error names the path.
impl StepContext {
    /// Returns the task.
    #[must_use]
    pub fn task(&self) -> &TaskInfo {
        &self.0.task
    }

    /// Returns the step's id.
    #[must_use]
    pub fn step_uuid(&self) -> Uuid {
        self.0.id.step_uuid
    }

    /// Returns the step's name in the template. A batch worker's has its number, as `NAME_001`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the number of this run, from 1. Runs that were lost with their worker count here.
    #[must_use]
    pub fn attempt(&self) -> i32 {
        self.0.id.attempt
    }

    /// Returns how often the step is tried at most.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.0.max_attempts()
    }

    /// Returns whether the step ran before.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        self.0.id.attempt > 1
    }

    /// Returns whether a failure of this attempt fails the step.
    #[must_use]
    pub fn is_last_attempt(&self) -> bool {
        self.0.counted() >= self.0.max_attempts()
            || self
                .0
                .definition()
                .is_some_and(|step| !step.retry.retryable)
    }

    /// Reads the member `key` of the task's context.
    pub fn input<T: DeserializeOwned>(&self, key: &str) -> Result<T, StepError> {
        read_key(
            self.0.task.context.as_deref().map(RawValue::get),
            "context",
            key,
        )
    }

    /// Reads the whole context of the task.
    pub fn context<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        let json = self.0.task.context.as_deref().map_or("null", RawValue::get);
        read(json, "context")
    }

    /// Reads the step's own inputs, such as the cursor of a batch.
    pub fn inputs<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        let json = self.0.inputs.as_deref().map_or("null", RawValue::get);
        read(json, "inputs")
    }

    /// Returns the step's handler as the template describes it, with its `method` and `resolver`.
    #[must_use]
    pub fn handler(&self) -> Option<&HandlerDefinition> {
        self.0.definition().map(|step| &step.handler)
    }

    /// Reads the member `key` of the handler's `initialization`, with the overrides of the worker's
    /// environment.
    pub fn config<T: DeserializeOwned>(&self, key: &str) -> Result<T, StepError> {
        let settings = self
            .handler()
            .and_then(|handler| handler.initialization.as_ref());
        read_key(settings.map(FreeForm::as_json), "initialization", key)
    }

    /// Reads the result of the step `name`, which this step depends on directly or indirectly.
    pub fn dependency<T: DeserializeOwned>(&self, name: &str) -> Result<T, StepError> {
        let path = format!("dependencies.{name}");
        let found = walk(&self.0.parents).find(|result| *result.name == *name);
        let result = found.ok_or_else(|| missing(&path))?;
        read(result.value.as_deref().map_or("null", RawValue::get), &path)
    }

    /// Reads the results of all instances of the batch worker `name`, by the names of the instances. The
    /// placeholder of a batchable step that found nothing to do is left out.
    pub fn batch<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<(String, T)>, StepError> {
        let template = self.0.document.template.steps.iter();
        let template: HashSet<&str> = template.map(|step| step.name.as_str()).collect();
        let mut found: Vec<_> = walk(&self.0.parents)
            .filter(|result| !template.contains(&*result.name))
            .filter(|result| {
                let number = result
                    .name
                    .strip_prefix(name)
                    .and_then(|n| n.strip_prefix('_'));
                number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            })
            .filter(|result| !is_of_placeholder(result))
            .collect();
        found.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        let read_one = |result: &Arc<StepResult>| {
            let json = result.value.as_deref().map_or("null", RawValue::get);
            let path = format!("dependencies.{}", result.name);
            Ok((result.name.to_string(), read(json, &path)?))
        };
        found.into_iter().map(read_one).collect()
    }

    /// Returns the names of all steps that this step depends on, directly or indirectly.
    #[must_use]
    pub fn dependencies(&self) -> Vec<&str> {
        walk(&self.0.parents).map(|result| &*result.name).collect()
    }

    /// Reads the checkpoint that an earlier attempt saved, if there is one.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, StepError> {
        let checkpoint = self.0.checkpoint.as_deref();
        checkpoint
            .map(|json| read(json.get(), "checkpoint"))
            .transpose()
    }

    /// Saves a checkpoint for the next attempt. Its usual members are `cursor`, `items_processed`
    /// and `accumulated_results`.
    ///
    /// # Errors
    /// A permanent error if it has more than `max_result_bytes`, or cannot be stored as JSON. A retryable
    /// one if the claim was lost, because another worker may run the step now, or if
    /// the database cannot be reached.
    pub async fn save_checkpoint(
        &self,
        checkpoint: impl serde::Serialize,
    ) -> Result<(), StepError> {
        let limit = self.0.limits.max_result_bytes;
        let checkpoint = finish::CHECKPOINT.write(&checkpoint, limit)?;
        let (id, worker) = (self.0.id, self.0.worker);
        let saved = database::run_idempotent(&self.0.pool, QUERY_LIMIT, |connection| {
            let checkpoint = checkpoint.clone();
            Box::pin(async move {
                sqlx::query(
                    // The lock keeps the claim until this is committed. Else the claim could return
                    // beside this, and the next attempt would not see a checkpoint that was saved.
                    "UPDATE tasker.workflow_steps s SET checkpoint = $5, updated_at = now()
                     FROM (SELECT FROM tasker.step_queue
                           WHERE task_uuid = $1 AND workflow_step_uuid = $2 AND attempt = $3
                               AND claimed_by = $4
                           FOR NO KEY UPDATE) q
                     WHERE s.workflow_step_uuid = $2",
                )
                .bind(id.task_uuid)
                .bind(id.step_uuid)
                .bind(id.attempt)
                .bind(worker)
                .bind(sqlx::types::Json(checkpoint))
                .execute(connection)
                .await
            })
        });
        match saved.await {
            Ok(done) if done.rows_affected() == 1 => Ok(()),
            Ok(_) => {
                Err(StepError::retryable("the claim on the step was lost").with_type("ClaimLost"))
            }
            Err(error) => Err(checkpoint_failed(&error)),
        }
    }

    /// Completes the step in a transaction of the handler's own, so that what the handler writes in
    /// it and the step's result are committed together or not at all. The handler must then commit
    /// the transaction and return the outcome that this returns. It should commit right after this,
    /// because the rows of the step and its task stay locked until then, and the ends of other steps
    /// of the task wait for them.
    ///
    /// If the handler returns it without having committed, the step runs again.
    ///
    /// # Errors
    /// If the claim on the step was lost, because another worker may run it now; the transaction
    /// must be rolled back then. Also if the result cannot be stored, or PostgreSQL fails. A permanent
    /// error of the type `IsolationLevel` if the transaction is REPEATABLE READ or SERIALIZABLE, because
    /// it would not see which other steps of the task have ended, and the task might never end.
    pub async fn complete_in(
        &self,
        transaction: &mut PgConnection,
        outcome: impl Into<StepOutcome>,
    ) -> Result<StepOutcome, StepError> {
        let outcome = outcome.into();
        let worker = self.0.worker;
        let is_recorded = match finish::success(&self.0, &outcome)? {
            Finish::Create(end, branches) => {
                let creator = self.0.creator(&branches);
                let created =
                    execution::complete_creating(transaction, worker, &end, creator).await;
                created.map_err(|error| match error {
                    DynamicError::Outcome(error) => finish::invalid_outcome(&error),
                    DynamicError::Database(error) => not_completed(error),
                })?
            }
            Finish::Record(end) => {
                let scope = Scope::default();
                let rows = execution::complete(transaction, worker, &[&end], 0, &scope, None).await;
                let rows = rows.map_err(not_completed)?;
                !rows.iter().any(|row| row.kind == "refused")
            }
        };
        if !is_recorded {
            return Err(claim_lost());
        }
        self.0.completed.store(true, Ordering::Relaxed);
        Ok(StepOutcome {
            recorded: true,
            ..outcome
        })
    }

    /// Waits until the task is cancelled, the claim is lost or the worker has to stop. Results of
    /// the handler are discarded from then on.
    pub async fn cancelled(&self) {
        self.0.cancelled.cancelled().await;
    }

    /// Returns a key that is the same for all attempts of this step.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.0.id.step_uuid.to_string()
    }

    /// Returns a key of this attempt alone.
    #[must_use]
    pub fn attempt_key(&self) -> String {
        format!("{}-{}", self.0.id.step_uuid, self.0.id.attempt)
    }
}

/// The error of a statement that completes a step in a handler's transaction.
fn not_completed(error: sqlx::Error) -> StepError {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    if code.is_some_and(|code| code == ISOLATION_LEVEL) {
        return StepError::permanent(
            "complete_in needs a transaction of READ COMMITTED, because in others it does not see which \
             steps have ended meanwhile; begin the transaction without another ISOLATION LEVEL",
        )
        .with_type("IsolationLevel");
    }
    error.into()
}

fn claim_lost() -> StepError {
    StepError::retryable("the claim on the step was lost").with_type("ClaimLost")
}

fn checkpoint_failed(error: &DatabaseError) -> StepError {
    StepError::retryable(format!("the checkpoint was not saved: {error}"))
        .with_type("CheckpointFailed")
}
