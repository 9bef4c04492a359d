//! The part of running steps that both services share: the statements on the queue, and their rows.
//!
//! The statements are functions in the database (`0004_step_execution.sql`), because each of them
//! changes several tables in an order that matters. What follows from a result, such as a retry, is
//! decided by the worker before it sends the result.

mod dynamic;
mod failures;
mod rows;
mod statements;

pub use dynamic::{Creator, DynamicError, complete_creating, create};
pub use failures::Failures;
pub use rows::{ExecutionRow, Raw};
pub use statements::{
    AttemptEnd, AttemptId, Bounds, EndState, LostSteps, Scope, WorkerRow, claim, complete,
    heartbeat, keep_document, leave, recover, register_worker, requeue_lost, requeue_orphans,
};
pub use tasker_templates::expansion::{ExpansionError, Outcome, outcome};

/// The channel on which new steps in the queue are announced.
pub const STEPS_CHANNEL: &str = "tasker_steps";
/// The channel on which ends of tasks that somebody waits for are announced.
pub const TASKS_CHANNEL: &str = "tasker_tasks";
