//! Rows of tasks and steps, and the statements that create and list them.

pub(crate) mod task;
pub(crate) mod workflow_step;
