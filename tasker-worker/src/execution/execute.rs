//! Runs a claimed step, and records its end if that creates steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Connection;
use sqlx::types::Json;
use tasker_shared::database::{self, DatabaseError};
use tasker_shared::execution::{self, AttemptEnd, DynamicError, Outcome};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use super::attempt::{self, Runner};
use super::claimed::{Attempt, Claimed, Ended, Limits, Pending};
use super::documents::DocumentError;
use super::finish::{self, Finish};
use super::heartbeat::Running;
use super::link::{STATEMENT_LIMIT, is_refusal, may_have_taken_effect};
use super::outcome::StepError;
use super::report;
use super::shared::Shared;

/// The pause before the database is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// The longest that steps which a step creates are tried to be stored, while the lease holds.
const CREATION_LIMIT: Duration = Duration::from_mins(2);

/// The pause before the lease is looked at again.
const LEASE_PAUSE: Duration = Duration::from_millis(10);

/// Runs a claimed step to its end.
pub(super) async fn execute(
    shared: Arc<Shared>,
    claimed: Claimed,
    cancelled: CancellationToken,
    worker: Uuid,
    running: &Running,
) -> Ended {
    let id = claimed.id;
    let document = loop {
        match shared.documents.get(&claimed.task.template_hash).await {
            Ok(document) => break document,
            Err(DocumentError::Database(error)) => {
                tracing::warn!(%error, "a template cannot be loaded; trying again");
                sleep(PAUSE).await;
            }
            Err(error) => {
                let error = StepError::from(error).with_type("TemplateUnusable");
                return Ended::Record(Pending {
                    end: finish::without_template(id, &error),
                    attempt: None,
                    duration: Duration::ZERO,
                    may_be_recorded: false,
                    refusals: 0,
                    not_before: None,
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
        document,
        cancelled,
        worker,
        pool: shared.pool.clone(),
        limits: Limits {
            max_result_bytes: shared.config.max_result_bytes,
            max_decision_depth: shared.config.max_decision_depth,
        },
        started: std::time::Instant::now(),
        completed: AtomicBool::new(false),
    });
    // A process that was frozen since it claimed the step must not start it, because others may run
    // it. Either the lease is renewed, or the session ends and drops this.
    while !running.has_lease() {
        sleep(LEASE_PAUSE).await;
    }
    // Lines of the handler's own carry these fields, too.
    let span = tracing::info_span!(
        "step",
        task_uuid = %id.task_uuid,
        step = &*attempt.name,
        attempt = id.attempt,
        correlation_id = %attempt.task.correlation_id,
    );
    let finish = attempt::run(&attempt, handler).instrument(span).await;
    let duration = attempt.started.elapsed();
    let (end, was_uncertain) = match finish {
        Finish::Record(end) => (end, false),
        Finish::Create(end, outcome) => match create(&attempt, &end, &outcome).await {
            Creation::Recorded => {
                report::recorded(Some(&attempt), &end, duration);
                return Ended::Recorded(id);
            }
            // Refused there, too, and counted.
            Creation::Refused { was_uncertain } => (end, was_uncertain),
            Creation::Failed {
                error,
                was_uncertain,
            } => (finish::failure(&attempt, &error), was_uncertain),
        },
    };
    Ended::Record(Pending {
        end,
        duration,
        // A handler may commit its own transaction, and fail after that.
        may_be_recorded: was_uncertain || attempt.completed.load(Ordering::Relaxed),
        refusals: 0,
        not_before: None,
        attempt: Some(attempt),
    })
}

/// The answer of the database to steps that a step creates. Uncertain if an earlier try may have been
/// recorded.
enum Creation {
    Recorded,
    /// The claim is lost, or the task has ended.
    Refused {
        was_uncertain: bool,
    },
    Failed {
        error: StepError,
        was_uncertain: bool,
    },
}

/// Records the end of a step with the steps that it creates, in one transaction. Tries until it is
/// recorded or refused, or takes too long.
async fn create(attempt: &Attempt, end: &AttemptEnd, outcome: &Outcome) -> Creation {
    let mut was_uncertain = false;
    let begun = std::time::Instant::now();
    loop {
        let error = match try_create(attempt, end, outcome).await {
            Ok(Ok(true)) => return Creation::Recorded,
            Ok(Ok(false)) => return Creation::Refused { was_uncertain },
            Ok(Err(DynamicError::Outcome(error))) => {
                let error = finish::invalid_outcome(&error);
                return Creation::Failed {
                    error,
                    was_uncertain,
                };
            }
            Ok(Err(DynamicError::Database(error))) => {
                let error = DatabaseError::from(error);
                if is_refusal(&error) {
                    let message = format!("PostgreSQL refused the created steps: {error}");
                    return Creation::Failed {
                        error: StepError::permanent(message).with_type("InvalidOutcome"),
                        was_uncertain,
                    };
                }
                error
            }
            // That of a commit may be about other things, such as a full queue of notifications.
            Err(error) => error,
        };
        database::note_failure(&error);
        was_uncertain |= may_have_taken_effect(&error);
        if begun.elapsed() > CREATION_LIMIT {
            let seconds = CREATION_LIMIT.as_secs();
            let message = format!("the created steps cannot be stored for {seconds} s: {error}");
            return Creation::Failed {
                error: StepError::retryable(message).with_type("StepsNotCreated"),
                was_uncertain,
            };
        }
        tracing::warn!(%error, "created steps cannot be stored; trying again");
        sleep(PAUSE.mul_f64(rand::random_range(0.1..1.0))).await;
    }
}

/// Tries once, within the limit of a statement. Returns whether the claim was still held. The outer error is
/// that of the connection or of the commit.
async fn try_create(
    attempt: &Attempt,
    end: &AttemptEnd,
    outcome: &Outcome,
) -> Result<Result<bool, DynamicError>, DatabaseError> {
    let mut connection = database::acquire(&attempt.pool).await?;
    let recorded = async {
        let mut transaction = match database::begin(&attempt.pool) {
            Some(begin) => connection.begin_with(begin).await?,
            None => connection.begin().await?,
        };
        let creator = attempt.creator(outcome);
        let recorded =
            execution::complete_creating(&mut transaction, attempt.worker, end, creator).await;
        match recorded {
            Ok(true) => transaction.commit().await?,
            Ok(false) => transaction.rollback().await?,
            Err(_) => drop(transaction),
        }
        Ok(recorded)
    };
    let recorded: Result<Result<_, sqlx::Error>, _> = timeout(STATEMENT_LIMIT, recorded).await;
    let recorded = recorded.map_err(|_elapsed| {
        // It may be half-open, and a pool would wait for it.
        drop(connection.detach());
        DatabaseError::Late(STATEMENT_LIMIT)
    })?;
    Ok(recorded?)
}
