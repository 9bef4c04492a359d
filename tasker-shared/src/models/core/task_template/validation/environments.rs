//! Checks what a template says of environments.

use serde_json::{Map, Value};

use super::checker::Checker;
use super::steps::{StepNames, check_timing};
use crate::models::core::task_template::environment::ALL_STEPS;
use crate::models::core::task_template::path::{At, clip};
use crate::models::core::task_template::problem::ProblemKind;

const STEP_KEYS: &[&str] = &["name", "handler", "timeout_seconds", "retry"];

/// Checks every environment's overrides, so that applying them leaves a valid template.
pub(super) fn check(checker: &mut Checker, template: &Map<String, Value>, names: &StepNames<'_>) {
    let Some(environments) = checker.mapping(template, "environments", &At::ROOT) else {
        return;
    };
    let at = At::ROOT.key("environments");
    for (name, environment) in environments {
        let at = at.key(name);
        let Some(environment) = checker.as_mapping(environment, &at) else {
            continue;
        };
        if let Some(handler) = checker.mapping(environment, "task_handler", &at) {
            checker.mapping(handler, "initialization", &at.key("task_handler"));
        }
        let items = checker.list(environment, "steps", &at);
        let steps = at.key("steps");
        for (index, item) in items.iter().enumerate() {
            let at = steps.index(index);
            if let Some(step) = checker.item_as_mapping(item, &at) {
                check_step(checker, step, names, &at);
            }
        }
        checker.misspelt_keys(environment, &at, &["task_handler", "steps"]);
    }
}

fn check_step(
    checker: &mut Checker,
    step: &Map<String, Value>,
    names: &StepNames<'_>,
    at: &At<'_>,
) {
    if let Some(name) = checker.required_text(step, "name", at)
        && name != ALL_STEPS
        && names.place(name).is_none()
    {
        let suggestion = (!checker.is_full_of_warnings())
            .then(|| names.nearest(name))
            .flatten();
        let name = clip(name);
        let kind = ProblemKind::UnknownStep { name, suggestion };
        checker.warning(&at.key("name"), kind);
    }
    if let Some(handler) = checker.mapping(step, "handler", at) {
        checker.mapping(handler, "initialization", &at.key("handler"));
    }
    check_timing(checker, step, at);
    checker.misspelt_keys(step, at, STEP_KEYS);
}
