//! Checks that the overrides of environments have an effect.

use serde_json::{Map, Value};

use super::checker::Checker;
use super::steps::{StepNames, check_limits, items};
use crate::environment::ALL_STEPS;
use crate::path::{At, clip};
use crate::problem::ProblemKind;

/// Checks the overrides of each environment.
pub(super) fn check(checker: &mut Checker, template: &Map<String, Value>, names: &StepNames<'_>) {
    let Some(Value::Object(environments)) = template.get("environments") else {
        return;
    };
    let root = At::ROOT.key("environments");
    for (name, environment) in environments {
        let Value::Object(environment) = environment else {
            continue;
        };
        let at = root.key(name);
        let has_handler = matches!(template.get("task_handler"), Some(Value::Object(_)));
        if matches!(environment.get("task_handler"), Some(Value::Object(_))) && !has_handler {
            checker.warning(&at.key("task_handler"), ProblemKind::NoTaskHandler);
        }
        let at = at.key("steps");
        for (index, step) in items(environment, "steps").iter().enumerate() {
            if let Value::Object(step) = step {
                check_step(checker, step, names, &at.index(index));
            }
            check_limits(checker, step, false, &at.index(index));
        }
    }
}

fn check_step(
    checker: &mut Checker,
    step: &Map<String, Value>,
    names: &StepNames<'_>,
    at: &At<'_>,
) {
    if let Some(Value::String(name)) = step.get("name")
        && name != ALL_STEPS
        && names.index(name).is_none()
    {
        checker.warning_with(&at.key("name"), || ProblemKind::UnknownStep {
            name: clip(name),
            suggestion: names.nearest(name),
        });
    }
    if step
        .iter()
        .all(|(key, value)| key == "name" || value.is_null())
    {
        checker.warning(at, ProblemKind::EmptyOverride);
    }
}
