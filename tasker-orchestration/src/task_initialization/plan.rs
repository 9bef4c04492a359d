//! The steps that a new task has, and their dependencies.
//!
//! Steps that are created while the task runs are left out: batch workers, the branches of a decision,
//! and everything that depends on any of these. A step that was created without all that it waits for
//! would run too early.

use std::collections::HashMap;

use tasker_shared::models::core::task_template::{StepDefinition, TaskTemplate, queued_callable};

/// The initial steps of a template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct StepPlan {
    /// The steps, in the template's order.
    pub(super) steps: Vec<PlannedStep>,
    /// `(from, to)`: positions in `steps`; `to` waits for `from`.
    pub(super) edges: Vec<(usize, usize)>,
}

/// A step to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedStep {
    pub(super) name: String,
    pub(super) callable: String,
    /// The number of steps of the plan that it waits for.
    pub(super) dependencies: i32,
    pub(super) retryable: bool,
    pub(super) max_attempts: i32,
}

impl StepPlan {
    /// The initial steps of `template`.
    pub(super) fn new(template: &TaskTemplate) -> Self {
        let later = template.steps_created_later();
        let initial: Vec<_> = template
            .steps
            .iter()
            .filter(|step| !later.contains(step.name.as_str()))
            .collect();
        let position: HashMap<_, _> = initial
            .iter()
            .enumerate()
            .map(|(position, step)| (step.name.as_str(), position))
            .collect();
        let mut edges: Vec<_> = initial
            .iter()
            .enumerate()
            .flat_map(|(to, step)| {
                let position = &position;
                step.dependencies
                    .iter()
                    .filter_map(move |from| Some((*position.get(from.as_str())?, to)))
            })
            .collect();
        // A dependency that is named twice is one edge.
        edges.sort_unstable();
        edges.dedup();
        let mut steps: Vec<_> = initial.into_iter().map(PlannedStep::new).collect();
        for &(_, to) in &edges {
            steps[to].dependencies += 1;
        }
        Self { steps, edges }
    }
}

impl PlannedStep {
    fn new(step: &StepDefinition) -> Self {
        Self {
            name: step.name.clone(),
            callable: queued_callable(&step.handler.callable).into_owned(),
            dependencies: 0,
            retryable: step.retry.retryable,
            max_attempts: i32::try_from(step.retry.max_attempts).unwrap_or(i32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::StepPlan;

    fn plan(steps: &[(&str, &str, &[&str])]) -> (Vec<String>, Vec<(usize, usize)>) {
        let steps: Vec<Value> = steps
            .iter()
            .map(|(name, kind, dependencies)| {
                json!({
                    "name": name, "type": kind, "dependencies": dependencies,
                    "handler": {"callable": "h"},
                })
            })
            .collect();
        let template = json!({
            "name": "t", "namespace_name": "n", "version": "1.0.0", "steps": steps,
        });
        let plan = StepPlan::new(&serde_json::from_value(template).unwrap());
        (
            plan.steps.into_iter().map(|step| step.name).collect(),
            plan.edges,
        )
    }

    #[test]
    fn a_diamond_is_made_whole() {
        let (steps, edges) = plan(&[
            ("start", "standard", &[]),
            ("left", "standard", &["start"]),
            ("right", "standard", &["start"]),
            ("end", "standard", &["left", "right", "left"]),
        ]);
        assert_eq!(steps, ["start", "left", "right", "end"]);
        assert_eq!(edges, [(0, 1), (0, 2), (1, 3), (2, 3)]);
    }

    #[test]
    fn nothing_downstream_of_a_decision_is_made() {
        let (steps, edges) = plan(&[
            ("validate", "standard", &[]),
            ("route", "decision", &["validate"]),
            ("finish", "deferred_convergence", &["approve", "review"]),
            ("approve", "standard", &["route"]),
            ("review", "standard", &["approve"]),
            ("audit", "standard", &["validate"]),
        ]);
        assert_eq!(steps, ["validate", "route", "audit"]);
        assert_eq!(edges, [(0, 1), (0, 2)]);
    }

    #[test]
    fn a_batch_begins_with_its_analysis_only() {
        let (steps, edges) = plan(&[
            ("analyze", "batchable", &[]),
            ("process", "batch_worker", &["analyze"]),
            ("aggregate", "deferred_convergence", &["process"]),
            ("notify", "standard", &["aggregate"]),
        ]);
        assert_eq!(steps, ["analyze"]);
        assert!(edges.is_empty());
    }

    #[test]
    fn a_convergence_of_steps_that_are_known_is_made() {
        let (steps, edges) = plan(&[
            ("left", "standard", &[]),
            ("right", "standard", &[]),
            ("join", "deferred_convergence", &["left", "right"]),
        ]);
        assert_eq!(steps, ["left", "right", "join"]);
        assert_eq!(edges, [(0, 2), (1, 2)]);
    }

    #[test]
    fn a_template_without_steps_makes_a_task_without_steps() {
        assert_eq!(plan(&[]), (vec![], vec![]));
    }
}
