//! Checks a template's own keys.

use serde_json::{Map, Value};

use super::checker::Checker;
use super::{environments, names, steps};
use crate::models::core::task_template::path::At;
use crate::models::core::task_template::problem::ProblemKind;

const KEYS: &[&str] = &[
    "name",
    "namespace_name",
    "version",
    "description",
    "metadata",
    "task_handler",
    "system_dependencies",
    "domain_events",
    "input_schema",
    "lifecycle",
    "identity_strategy",
    "steps",
    "environments",
];

const IDENTITY_STRATEGIES: &[&str] = &["strict", "caller_provided", "always_unique"];

/// Characters of a description that the database's lists of templates show.
const SHOWN_DESCRIPTION: usize = 255;

/// Checks a template.
pub(super) fn check(checker: &mut Checker, template: &Map<String, Value>) {
    let root = At::ROOT;
    names::check(checker, template);
    if let Some(text) = checker.text(template, "description", &root) {
        let length = text.chars().count();
        if length > SHOWN_DESCRIPTION {
            let max = SHOWN_DESCRIPTION;
            let at = root.key("description");
            checker.warning(&at, ProblemKind::LongDescription { length, max });
        }
    }
    if let Some(handler) = checker.mapping(template, "task_handler", &root) {
        check_handler(checker, handler, &root.key("task_handler"));
    }
    if let Some(systems) = checker.mapping(template, "system_dependencies", &root) {
        check_systems(checker, systems, &root.key("system_dependencies"));
    }
    check_events(checker, template, "domain_events", &root);
    for key in ["input_schema", "lifecycle"] {
        checker.mapping(template, key, &root);
    }
    checker.one_of(template, "identity_strategy", &root, IDENTITY_STRATEGIES);
    let names = steps::check(checker, template);
    environments::check(checker, template, &names);
    checker.misspelt_keys(template, &root, KEYS);
}

/// Checks a task's or a step's handler.
pub(super) fn check_handler(checker: &mut Checker, handler: &Map<String, Value>, at: &At<'_>) {
    checker.required_text(handler, "callable", at);
    checker.text(handler, "method", at);
    checker.text(handler, "resolver", at);
    checker.mapping(handler, "initialization", at);
    let known = &["callable", "method", "resolver", "initialization"];
    checker.misspelt_keys(handler, at, known);
}

fn check_systems(checker: &mut Checker, systems: &Map<String, Value>, at: &At<'_>) {
    checker.text(systems, "primary", at);
    let others = checker.list(systems, "secondary", at);
    let at = at.key("secondary");
    for (index, system) in others.iter().enumerate() {
        if !system.is_string() {
            checker.wrong_type(&at.index(index), "text", system);
        }
    }
}

/// Checks a list of events under `key` and answers its items that are mappings, with their places
/// in the list.
pub(super) fn check_events<'v>(
    checker: &mut Checker,
    map: &'v Map<String, Value>,
    key: &str,
    at: &At<'_>,
) -> Vec<(usize, &'v Map<String, Value>)> {
    let mut events = Vec::new();
    let items = checker.list(map, key, at);
    let at = at.key(key);
    for (index, item) in items.iter().enumerate() {
        let at = at.index(index);
        if let Some(event) = checker.item_as_mapping(item, &at) {
            checker.required_text(event, "name", &at);
            checker.text(event, "description", &at);
            events.push((index, event));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::IDENTITY_STRATEGIES;
    use crate::models::core::identity_strategy::IdentityStrategy;

    #[test]
    fn every_listed_name_is_an_identity_strategy() {
        for name in IDENTITY_STRATEGIES {
            let strategy: IdentityStrategy = serde_json::from_value((*name).into()).unwrap();
            assert_eq!(serde_json::to_value(strategy).unwrap(), *name);
        }
    }
}
