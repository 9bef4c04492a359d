//! A task with its progress and its steps.

use crate::models::task::Task;
use crate::models::workflow_step::WorkflowStep;
use serde::Serialize;
use utoipa::ToSchema;

/// A task with its progress and its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskDetails {
    #[serde(flatten)]
    task: Task,
    /// The number of steps that it has now. Decisions and batches may add some.
    total_steps: usize,
    /// Steps that wait for others.
    pending_steps: usize,
    /// Steps that a worker runs.
    in_progress_steps: usize,
    /// Steps that are complete.
    completed_steps: usize,
    /// Steps that failed for good.
    failed_steps: usize,
    /// Steps that wait for a worker.
    ready_steps: usize,
    /// `has_ready_steps`, `processing`, `waiting_for_dependencies`, `blocked_by_failures`,
    /// `all_complete` or `cancelled`.
    execution_status: &'static str,
    /// The share of its steps that are complete, in percent.
    completion_percentage: f64,
    /// `healthy`, `recovering` if a failed step will run again, or `blocked`.
    health_status: &'static str,
    /// Its steps, oldest first.
    steps: Vec<WorkflowStep>,
}

impl TaskDetails {
    pub(super) fn new(task: Task, steps: Vec<WorkflowStep>) -> Self {
        let count = |test: fn(&WorkflowStep) -> bool| steps.iter().filter(|s| test(s)).count();
        let total = steps.len();
        let in_progress = count(|step| step.in_process);
        let completed = count(|step| step.processed);
        let failed = count(|step| step.current_state == "error");
        let ready = count(|step| step.ready_for_execution);
        let retrying = count(|step| step.retry_eligible);
        let execution_status = match () {
            () if task.status == "cancelled" => "cancelled",
            () if completed == total => "all_complete",
            () if ready > 0 => "has_ready_steps",
            () if in_progress > 0 => "processing",
            () if failed > 0 && retrying == 0 => "blocked_by_failures",
            () => "waiting_for_dependencies",
        };
        let health_status = match () {
            () if failed > 0 => "blocked",
            () if retrying > 0 => "recovering",
            () => "healthy",
        };
        Self {
            task,
            total_steps: total,
            pending_steps: count(|step| step.current_state == "pending"),
            in_progress_steps: in_progress,
            completed_steps: completed,
            failed_steps: failed,
            ready_steps: ready,
            execution_status,
            completion_percentage: percentage(completed, total),
            health_status,
            steps,
        }
    }
}

fn percentage(part: usize, total: usize) -> f64 {
    let exact = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    if total == 0 {
        100.0
    } else {
        (exact(part) * 10_000.0 / exact(total)).round() / 100.0
    }
}
