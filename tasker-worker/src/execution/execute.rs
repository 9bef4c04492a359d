//! Runs a claimed step, and records its end if that creates steps.

use std::sync::Arc;
use std::time::Duration;

use sqlx::types::Json;
use tasker_shared::database::DatabaseError;
use tasker_shared::execution::{self, AttemptEnd, AttemptId, DynamicError, EndState, Outcome};
use tasker_shared::metrics::{STEP_ATTEMPTS, STEP_DURATION};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attempt::{self, Finish, Runner};
use super::context::{Attempt, Limits, TaskInfo};
use super::dependencies::StepResult;
use super::documents::DocumentError;
use super::link::is_refusal;
use super::outcome::StepError;
use super::session::Shared;

/// The pause before the database is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// The end of a handler.
pub(super) enum Ended {
    /// It has to be recorded.
    Record(Pending),
    /// It was recorded.
    Recorded(AttemptId),
}

/// An end that is not recorded yet, with what the next steps of its task need of it.
pub(super) struct Pending {
    pub(super) end: AttemptEnd,
    /// Nothing if the template could not be loaded.
    pub(super) attempt: Option<Arc<Attempt>>,
    /// Set if the handler has recorded the end itself, so that it is refused as a rule.
    pub(super) is_recorded: bool,
}

/// The parts of a step that is claimed.
pub(super) struct Claimed {
    pub(super) id: AttemptId,
    pub(super) uncounted: i32,
    pub(super) name: Arc<str>,
    pub(super) callable: String,
    pub(super) inputs: Option<execution::Raw>,
    pub(super) checkpoint: Option<execution::Raw>,
    pub(super) task: Arc<TaskInfo>,
    pub(super) parents: Vec<Arc<StepResult>>,
}

/// Runs a claimed step to its end.
pub(super) async fn execute(
    shared: Arc<Shared>,
    claimed: Claimed,
    cancelled: CancellationToken,
    worker: Uuid,
) -> Ended {
    let id = claimed.id;
    let template = loop {
        match shared.documents.get(&claimed.task.template_hash).await {
            Ok(template) => break template,
            Err(DocumentError::Database(error)) => {
                tracing::warn!(%error, "a template cannot be loaded; trying again");
                sleep(PAUSE).await;
            }
            Err(error) => {
                let error = StepError::from(error).with_type("TemplateUnusable");
                return Ended::Record(Pending {
                    end: attempt::without_template(id, &error),
                    attempt: None,
                    is_recorded: false,
                });
            }
        }
    };
    let function = shared.handlers.get(&claimed.callable).map(Runner::Function);
    let handler = function.or_else(|| {
        let http = shared.http.as_ref()?;
        let uri = http.allowed(&claimed.callable)?;
        Some(Runner::Http(http, uri))
    });
    let attempt = Arc::new(Attempt {
        id,
        uncounted: claimed.uncounted,
        name: claimed.name,
        task: claimed.task,
        inputs: claimed.inputs.map(|Json(raw)| raw),
        checkpoint: claimed.checkpoint.map(|Json(raw)| raw),
        parents: claimed.parents,
        template,
        cancelled,
        worker,
        pool: shared.pool.clone(),
        limits: Limits {
            max_result_bytes: shared.config.max_result_bytes,
            max_decision_depth: shared.config.max_decision_depth,
        },
        started: std::time::Instant::now(),
    });
    let finish = attempt::run(&attempt, handler).await;
    count(&finish, attempt.started.elapsed());
    let (end, is_recorded) = match finish {
        Finish::Record(end) => (end, false),
        Finish::Recorded(end) => (end, true),
        Finish::Create(end, outcome) => match create(&attempt, &end, &outcome).await {
            Ok(()) => return Ended::Recorded(id),
            Err(error) => (attempt::failure(&attempt, &error), false),
        },
    };
    Ended::Record(Pending {
        end,
        attempt: Some(attempt),
        is_recorded,
    })
}

fn count(finish: &Finish, duration: Duration) {
    let result = match finish {
        Finish::Record(end) => match end.state {
            EndState::Complete => "complete",
            EndState::Retry(_) => "retry",
            EndState::Error => "error",
        },
        Finish::Create(..) | Finish::Recorded(_) => "complete",
    };
    metrics::counter!(STEP_ATTEMPTS.name, "result" => result).increment(1);
    metrics::histogram!(STEP_DURATION.name, "result" => result).record(duration);
}

/// Records the end of a step with the steps that it creates, in one transaction. Tries until it is
/// recorded, or the claim is lost.
async fn create(attempt: &Attempt, end: &AttemptEnd, outcome: &Outcome) -> Result<(), StepError> {
    loop {
        let recorded = async {
            let mut transaction = attempt.pool.begin().await?;
            let worker = attempt.worker;
            let creator = attempt.creator(outcome);
            let is_held =
                execution::complete_creating(&mut transaction, worker, end, creator).await?;
            transaction.commit().await?;
            Ok::<_, DynamicError>(is_held)
        };
        match recorded.await {
            Ok(is_held) => {
                if !is_held {
                    tracing::warn!(
                        task_uuid = %end.id.task_uuid, step_uuid = %end.id.step_uuid,
                        attempt = end.id.attempt,
                        "a result that creates steps was not recorded now; the claim is gone"
                    );
                }
                return Ok(());
            }
            Err(DynamicError::Outcome(error)) => return Err(attempt::invalid_outcome(&error)),
            Err(DynamicError::Database(error)) => {
                let error = DatabaseError::from(error);
                if is_refusal(&error) {
                    let message = format!("PostgreSQL refused the created steps: {error}");
                    return Err(StepError::permanent(message).with_type("InvalidOutcome"));
                }
                tracing::warn!(%error, "created steps cannot be stored; trying again");
                sleep(PAUSE.mul_f64(rand::random_range(0.1..1.0))).await;
            }
        }
    }
}
