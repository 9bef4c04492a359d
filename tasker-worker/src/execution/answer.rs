//! Reads the answer of a claim.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use tasker_shared::execution::{AttemptId, EndState, ExecutionRow};
use uuid::Uuid;

use super::claimed::{Claimed, Pending, TaskFields, TaskInfo};
use super::dependencies::{Loaded, StepResult, link};
use super::finish::copied;

/// A read of the queue.
pub(super) struct Scan {
    pub(super) read_at: DateTime<Utc>,
    /// The priorities and times of the steps that were found.
    pub(super) found: Vec<(i16, DateTime<Utc>)>,
    /// Rows that were taken and removed, because their tasks had ended.
    pub(super) removed: usize,
}

/// The answer of a claim.
#[derive(Default)]
pub(super) struct Answer {
    /// The claimed steps.
    pub(super) claimed: Vec<Claimed>,
    /// Attempts whose results were not recorded.
    pub(super) refused: Vec<AttemptId>,
    /// Nothing if the queue was not read.
    pub(super) scanned: Option<Scan>,
    /// Set if the worker was declared lost.
    pub(super) lost: bool,
}

impl Answer {
    /// Reads `rows`. `recorded` are the ends that the statement had: the answer leaves out what the
    /// worker knows from them.
    pub(super) fn read(rows: Vec<ExecutionRow>, recorded: &[Pending]) -> Self {
        let mut answer = Self::default();
        let mut tasks = HashMap::new();
        let mut results = HashMap::new();
        for pending in recorded {
            remember(pending, &mut tasks, &mut results);
        }
        let mut steps = Vec::new();
        let mut loaded = HashMap::new();
        let mut scanned = None;
        for row in rows {
            match (&*row.kind, row.task_uuid, row.workflow_step_uuid) {
                ("step", _, _) => steps.push(row),
                ("task", Some(task_uuid), _) => {
                    if let Some(task) = task_info(task_uuid, row) {
                        tasks.insert(task_uuid, Arc::new(task));
                    }
                }
                ("result", _, Some(step_uuid)) => {
                    let result = Loaded {
                        name: row.name.unwrap_or_default().into(),
                        value: row.value.map(|Json(raw)| raw),
                        parents: row.parents.unwrap_or_default(),
                    };
                    loaded.insert(step_uuid, result);
                }
                ("refused", Some(task_uuid), Some(step_uuid)) => answer.refused.push(AttemptId {
                    task_uuid,
                    step_uuid,
                    attempt: row.attempt.unwrap_or_default(),
                }),
                ("scanned", _, _) => scanned = row.due_at.zip(row.parents).zip(row.attempt),
                ("lost", _, _) => answer.lost = true,
                _ => tracing::warn!(kind = row.kind, "an unknown row of a claim was ignored"),
            }
        }
        link(loaded, &mut results);
        answer.scanned = scanned.map(|((read_at, found), taken)| {
            let times = steps
                .iter()
                .filter(|row| row.workflow_step_uuid.is_some_and(|id| found.contains(&id)))
                .filter_map(|row| row.priority.zip(row.due_at));
            Scan {
                read_at,
                found: times.collect(),
                removed: usize::try_from(taken)
                    .map_or(0, |taken| taken.saturating_sub(found.len())),
            }
        });
        let read = |row| claimed(row, &tasks, &results);
        answer.claimed = steps.into_iter().filter_map(read).collect();
        answer
    }
}

fn remember(
    pending: &Pending,
    tasks: &mut HashMap<Uuid, Arc<TaskInfo>>,
    results: &mut HashMap<Uuid, Arc<StepResult>>,
) {
    let Some(attempt) = &pending.attempt else {
        return;
    };
    let end = &pending.end;
    tasks.insert(end.id.task_uuid, Arc::clone(&attempt.task));
    if end.state == EndState::Complete {
        let result = StepResult {
            name: Arc::clone(&attempt.name),
            value: copied(end.result.as_ref()),
            parents: attempt.parents.clone(),
        };
        results.insert(end.id.step_uuid, Arc::new(result));
    }
}

fn task_info(task_uuid: Uuid, row: ExecutionRow) -> Option<TaskInfo> {
    let Json(extra) = row.extra?;
    let fields: TaskFields = serde_json::from_str(extra.get()).ok()?;
    Some(TaskInfo {
        task_uuid,
        correlation_id: fields.correlation_id,
        parent_correlation_id: fields.parent_correlation_id,
        tags: fields.tags.unwrap_or_default(),
        context: row.value.map(|Json(raw)| raw),
        template_hash: row.name.unwrap_or_default().into(),
    })
}

fn claimed(
    row: ExecutionRow,
    tasks: &HashMap<Uuid, Arc<TaskInfo>>,
    results: &HashMap<Uuid, Arc<StepResult>>,
) -> Option<Claimed> {
    let id = AttemptId {
        task_uuid: row.task_uuid?,
        step_uuid: row.workflow_step_uuid?,
        attempt: row.attempt?,
    };
    let parents = row.parents.unwrap_or_default();
    Some(Claimed {
        id,
        uncounted: row.uncounted?,
        name: row.name?.into(),
        callable: row.callable?,
        inputs: row.value,
        checkpoint: row.extra,
        task: Arc::clone(tasks.get(&id.task_uuid)?),
        parents: parents
            .iter()
            .filter_map(|id| results.get(id).cloned())
            .collect(),
    })
}
