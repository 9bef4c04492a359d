//! A claimed step: before its handler runs, meanwhile, and until its end is recorded.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::PgPool;
use tasker_shared::execution::{self, AttemptEnd, AttemptId, Creator, Outcome};
use tasker_shared::models::core::task_template::StepDefinition;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dependencies::StepResult;
use super::documents::Document;

/// The task that a step belongs to.
#[derive(Debug)]
pub struct TaskInfo {
    /// Its id.
    pub task_uuid: Uuid,
    /// Ties tasks of one business operation together.
    pub correlation_id: Uuid,
    /// The correlation id of the request's cause.
    pub parent_correlation_id: Option<Uuid>,
    /// Free labels.
    pub tags: Vec<String>,
    pub(super) context: Option<Box<RawValue>>,
    pub(super) template_hash: Arc<str>,
}

/// The fields of a task that an `ExecutionRow` has in `extra`.
#[derive(Debug, Deserialize)]
pub(super) struct TaskFields {
    pub(super) correlation_id: Uuid,
    pub(super) parent_correlation_id: Option<Uuid>,
    pub(super) tags: Option<Vec<String>>,
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

/// A claimed step whose handler runs.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) uncounted: i32,
    pub(super) name: Arc<str>,
    pub(super) task: Arc<TaskInfo>,
    pub(super) inputs: Option<Box<RawValue>>,
    pub(super) checkpoint: Option<Box<RawValue>>,
    pub(super) parents: Vec<Arc<StepResult>>,
    pub(super) document: Arc<Document>,
    pub(super) cancelled: CancellationToken,
    pub(super) worker: Uuid,
    pub(super) pool: PgPool,
    pub(super) limits: Limits,
    pub(super) started: Instant,
    /// Set if the handler has completed the step in a transaction of its own. Only PostgreSQL knows
    /// whether that was committed.
    pub(super) completed: AtomicBool,
}

/// The limits of the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_result_bytes: u64,
    pub(super) max_decision_depth: u32,
}

impl Attempt {
    /// The attempts that count against the limit, this one included.
    pub(super) fn counted(&self) -> u32 {
        u32::try_from(self.id.attempt - self.uncounted).unwrap_or(1)
    }

    pub(super) fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The step as one that creates others.
    pub(super) fn creator<'a>(&'a self, outcome: &'a Outcome) -> Creator<'a> {
        Creator {
            template: &self.document.template,
            name: &self.name,
            outcome,
            max_depth: self.limits.max_decision_depth,
        }
    }

    pub(super) fn definition(&self) -> Option<&StepDefinition> {
        self.document.definition(&self.name)
    }

    /// The limit of attempts. The first is always allowed.
    pub(super) fn max_attempts(&self) -> u32 {
        self.definition()
            .map_or(1, |step| step.retry.max_attempts.max(1))
    }
}

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
    /// The duration of the handler.
    pub(super) duration: Duration,
    /// Set if the step may be complete already, by the handler itself or by a try whose answer was
    /// lost. If the end is refused, it was.
    pub(super) may_be_recorded: bool,
    /// The number of times that PostgreSQL refused it. After the first it has an error without details.
    pub(super) refusals: u32,
    /// When it may be tried again after it took too long by itself.
    pub(super) not_before: Option<tokio::time::Instant>,
}
