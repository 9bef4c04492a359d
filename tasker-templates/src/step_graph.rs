//! Edges between the steps of a template.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{StepDefinition, StepType, TaskTemplate};

/// The reason why a step runs after another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEdgeKind {
    /// The later step depends on the earlier one.
    Dependency,
    /// The earlier step is a decision, which may create the later one.
    Decision,
    /// The earlier step divides work into batches, and the later one is the pattern of their steps.
    Batch,
}

/// An edge: `to` runs after `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepEdge<'a> {
    /// The name of the step that runs first.
    pub from: &'a str,
    /// The name of the step that runs later.
    pub to: &'a str,
    /// The kind of the edge.
    pub kind: StepEdgeKind,
}

impl TaskTemplate {
    /// Returns the edges between the steps, each once, in the order of the later steps.
    #[must_use]
    pub fn step_edges(&self) -> Vec<StepEdge<'_>> {
        let named: HashMap<&str, &StepDefinition> = self
            .steps
            .iter()
            .map(|step| (step.name.as_str(), step))
            .collect();
        let mut edges = Vec::new();
        let mut seen = HashSet::new();
        let batches: Vec<(&str, &str)> = self
            .steps
            .iter()
            .filter_map(|step| {
                let worker = step.batch_worker_name()?;
                let (worker, _) = named.get_key_value(worker.as_str())?;
                Some((step.name.as_str(), *worker))
            })
            .collect();
        for step in &self.steps {
            let to = step.name.as_str();
            let planners = batches.iter().filter(|(_, worker)| *worker == to);
            for (from, _) in planners {
                if seen.insert((*from, to)) {
                    let kind = StepEdgeKind::Batch;
                    edges.push(StepEdge { from, to, kind });
                }
            }
            for dependency in &step.dependencies {
                let Some((from, earlier)) = named.get_key_value(dependency.as_str()) else {
                    continue;
                };
                let kind = match earlier.step_type {
                    StepType::Decision => StepEdgeKind::Decision,
                    _ => StepEdgeKind::Dependency,
                };
                if seen.insert((*from, to)) {
                    edges.push(StepEdge { from, to, kind });
                }
            }
        }
        edges
    }

    /// Returns the names of the steps that a new task does not have: batch workers, the branches of
    /// decisions, and all that depends on any of these. They are created while the task runs.
    #[must_use]
    pub fn steps_created_later(&self) -> HashSet<&str> {
        let mut dependents: HashMap<&str, Vec<&str>> = HashMap::new();
        for step in &self.steps {
            for dependency in &step.dependencies {
                dependents.entry(dependency).or_default().push(&step.name);
            }
        }
        let mut later = HashSet::new();
        let mut follow = Vec::new();
        for step in &self.steps {
            match step.step_type {
                StepType::BatchWorker => follow.push(step.name.as_str()),
                StepType::Decision => {
                    follow.extend(dependents.get(step.name.as_str()).into_iter().flatten());
                }
                StepType::Standard | StepType::Batchable | StepType::DeferredConvergence => {}
            }
        }
        while let Some(name) = follow.pop() {
            if later.insert(name) {
                follow.extend(dependents.get(name).into_iter().flatten());
            }
        }
        later
    }
}

impl StepDefinition {
    /// Returns the name of the batch worker that this step names: in `batch_config`, or in
    /// `initialization.worker_template_name`, as handlers in the field do.
    #[must_use]
    pub fn batch_worker_name(&self) -> Option<String> {
        if self.step_type != StepType::Batchable {
            return None;
        }
        let configured = self.batch_config.as_ref();
        let configured = configured.and_then(|batch| batch.worker_template.clone());
        configured.or_else(|| self.worker_in_settings())
    }

    fn worker_in_settings(&self) -> Option<String> {
        let settings = self.handler.initialization.as_ref()?.to_value().ok()?;
        Some(settings["worker_template_name"].as_str()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::StepEdgeKind::{Batch, Decision, Dependency};
    use crate::TaskTemplate;

    fn template() -> TaskTemplate {
        let handler = json!({"callable": "h"});
        serde_json::from_value(json!({"name": "n", "steps": [
            {"name": "start", "handler": handler},
            {"name": "decide", "type": "decision", "dependencies": ["start"], "handler": handler},
            {"name": "yes", "dependencies": ["decide", "decide", "absent"], "handler": handler},
            {"name": "plan", "type": "batchable", "dependencies": ["start"],
             "handler": {"callable": "h", "initialization": {"worker_template_name": "rows"}}},
            {"name": "rows", "type": "batch_worker", "dependencies": ["plan"], "handler": handler},
            {"name": "sum", "type": "deferred_convergence", "dependencies": ["rows"],
             "handler": handler},
        ]}))
        .unwrap()
    }

    #[test]
    fn each_edge_is_listed_once_with_its_kind() {
        let template = template();
        let edges: Vec<_> = template
            .step_edges()
            .into_iter()
            .map(|edge| (edge.from, edge.to, edge.kind))
            .collect();
        assert_eq!(
            edges,
            [
                ("start", "decide", Dependency),
                ("decide", "yes", Decision),
                ("start", "plan", Dependency),
                ("plan", "rows", Batch),
                ("rows", "sum", Dependency),
            ]
        );
    }

    #[test]
    fn steps_of_decisions_and_batches_are_created_later() {
        let template = template();
        let mut later: Vec<_> = template.steps_created_later().into_iter().collect();
        later.sort_unstable();
        assert_eq!(later, ["rows", "sum", "yes"]);
    }
}
