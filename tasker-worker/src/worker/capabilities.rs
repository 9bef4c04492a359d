//! The step types that this worker can run.

use std::collections::BTreeSet;

use strum::VariantNames;
use tasker_shared::models::core::task_template::{StepType, TaskTemplate};

/// Returns the step types that this worker can run, sorted.
#[must_use]
pub fn worker_capabilities() -> Vec<String> {
    sorted(StepType::VARIANTS.iter().copied())
}

/// Returns the step types that `template` uses, sorted.
#[must_use]
pub fn required_capabilities(template: &TaskTemplate) -> Vec<String> {
    sorted(template.steps.iter().map(|step| step.step_type.into()))
}

fn sorted(names: impl Iterator<Item = &'static str>) -> Vec<String> {
    let names: BTreeSet<&str> = names.collect();
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use tasker_shared::models::core::task_template::StepType;

    use super::worker_capabilities;

    #[test]
    fn capabilities_are_the_names_that_templates_use_for_step_types() {
        for name in worker_capabilities() {
            let step_type: StepType = serde_json::from_value(name.clone().into()).unwrap();
            assert_eq!(<&str>::from(step_type), name);
        }
    }
}
