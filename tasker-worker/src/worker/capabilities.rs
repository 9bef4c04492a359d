//! The step types that this worker can run.

use std::collections::BTreeSet;

use tasker_shared::models::core::task_template::{StepType, TaskTemplate};

/// Sorted by name.
const STEP_TYPES: [StepType; 5] = [
    StepType::BatchWorker,
    StepType::Batchable,
    StepType::Decision,
    StepType::DeferredConvergence,
    StepType::Standard,
];

const fn capability(step_type: StepType) -> &'static str {
    match step_type {
        StepType::BatchWorker => "batch_worker",
        StepType::Batchable => "batchable",
        StepType::Decision => "decision",
        StepType::DeferredConvergence => "deferred_convergence",
        StepType::Standard => "standard",
    }
}

/// Returns the step types that this worker can run, sorted.
#[must_use]
pub fn worker_capabilities() -> Vec<String> {
    STEP_TYPES
        .iter()
        .map(|step_type| capability(*step_type).to_owned())
        .collect()
}

/// Returns the step types that `template` uses, sorted.
#[must_use]
pub fn required_capabilities(template: &TaskTemplate) -> Vec<String> {
    let types: BTreeSet<&str> = template
        .steps
        .iter()
        .map(|step| capability(step.step_type))
        .collect();
    types.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{STEP_TYPES, capability, worker_capabilities};

    #[test]
    fn capabilities_are_the_sorted_names_that_templates_use_for_step_types() {
        let capabilities = worker_capabilities();
        assert!(capabilities.is_sorted());
        for step_type in STEP_TYPES {
            let written = serde_json::to_value(step_type).unwrap();
            assert_eq!(written, capability(step_type));
            assert!(capabilities.iter().any(|name| written == **name));
        }
    }
}
