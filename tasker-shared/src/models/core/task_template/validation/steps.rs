//! Checks a template's steps.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::checker::Checker;
use super::graph;
use super::names::max_length;
use super::template::{check_events, check_handler};
use crate::models::core::task_template::path::{At, clip};
use crate::models::core::task_template::problem::ProblemKind;
use crate::models::core::task_template::suggestion::nearest;
use crate::models::core::task_template::{BackoffStrategy, StepType};

const KEYS: &[&str] = &[
    "name",
    "description",
    "type",
    "step_type",
    "handler",
    "system_dependency",
    "dependencies",
    "retry",
    "timeout_seconds",
    "publishes_events",
    "batch_config",
];

const RETRY_KEYS: &[&str] = &[
    "retryable",
    "max_attempts",
    "backoff",
    "backoff_base_ms",
    "max_backoff_ms",
];

const CONDITIONS: &[&str] = &[
    "success",
    "failure",
    "retryable_failure",
    "permanent_failure",
    "always",
];

const DELIVERY_MODES: &[&str] = &["durable", "fast", "broadcast"];

/// Characters that the database has for a step's name.
const MAX_NAME: usize = 128;

/// What the database's integers hold.
const COUNT: RangeInclusive<u64> = 0..=2_147_483_647;

/// The names of a template's steps.
#[derive(Debug, Default)]
pub(super) struct StepNames<'v> {
    /// In the order of the document; None for a step whose name cannot be read.
    in_order: Vec<Option<&'v str>>,
    /// The first step of each name.
    places: HashMap<&'v str, usize>,
}

impl<'v> StepNames<'v> {
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        nearest(name, self.in_order.iter().copied().flatten()).map(clip)
    }

    pub(super) fn at(&self, place: usize) -> &'v str {
        self.in_order[place].unwrap_or_default()
    }
}

/// Checks all steps and answers their names.
pub(super) fn check<'v>(checker: &mut Checker, template: &'v Map<String, Value>) -> StepNames<'v> {
    let items = checker.list(template, "steps", &At::ROOT);
    let at = At::ROOT.key("steps");
    if matches!(template.get("steps"), None | Some(Value::Null)) || items.is_empty() {
        checker.warning(&at, ProblemKind::NoSteps);
    }
    let mut steps = Vec::with_capacity(items.len());
    let mut names = StepNames::default();
    for (index, item) in items.iter().enumerate() {
        let at = at.index(index);
        let step = checker.item_as_mapping(item, &at);
        let name = step.and_then(|step| check_step(checker, step, &at));
        if let Some(name) = name {
            let first = *names.places.entry(name).or_insert(index);
            if first != index {
                let name = clip(name);
                checker.error(&at.key("name"), ProblemKind::DuplicateStep { name, first });
            }
        }
        names.in_order.push(name);
        steps.push(step);
    }
    let mut graph = graph::Graph::new(steps.len());
    for (index, step) in steps.into_iter().enumerate() {
        if let Some(step) = step {
            let at = at.index(index);
            check_dependencies(checker, step, index, &names, &mut graph, &at);
            check_worker_template(checker, step, items, &names, &at);
        }
    }
    for cycle in graph.cycles() {
        let first = &at.index(cycle[0]);
        let at = first.key("dependencies");
        let steps = graph::shown(&cycle, |place| clip(names.at(place)));
        checker.error(&at, ProblemKind::Cycle { steps });
    }
    names
}

/// Checks one step but for what it says of others, and answers its name.
fn check_step<'v>(
    checker: &mut Checker,
    step: &'v Map<String, Value>,
    at: &At<'_>,
) -> Option<&'v str> {
    let name = checker.required_text(step, "name", at);
    if let Some(name) = name {
        let at = at.key("name");
        max_length(checker, &at, name, MAX_NAME);
        if name.chars().any(char::is_control) {
            let kind = ProblemKind::BadCharacters {
                text: clip(name),
                allowed: "printable ones",
            };
            checker.error(&at, kind);
        }
    }
    checker.text(step, "description", at);
    check_type(checker, step, at);
    match step.get("handler") {
        None | Some(Value::Null) => checker.error(&at.key("handler"), ProblemKind::Missing),
        Some(handler) => {
            let at = at.key("handler");
            if let Some(handler) = checker.as_mapping(handler, &at) {
                check_handler(checker, handler, &at);
            }
        }
    }
    checker.text(step, "system_dependency", at);
    check_timing(checker, step, at);
    for (index, event) in check_events(checker, step, "publishes_events", at) {
        let events = at.key("publishes_events");
        let at = events.index(index);
        checker.usually_one_of(event, "condition", &at, CONDITIONS);
        checker.usually_one_of(event, "delivery_mode", &at, DELIVERY_MODES);
        checker.text(event, "publisher", &at);
    }
    if let Some(batch) = checker.mapping(step, "batch_config", at) {
        let at = at.key("batch_config");
        for key in ["batch_size", "parallelism"] {
            checker.whole_number(batch, key, &at, &(1..=*COUNT.end()));
        }
        for key in ["cursor_field", "worker_template", "failure_strategy"] {
            checker.text(batch, key, &at);
        }
    }
    checker.misspelt_keys(step, at, KEYS);
    name
}

fn check_type(checker: &mut Checker, step: &Map<String, Value>, at: &At<'_>) {
    checker.one_of(step, "type", at, StepType::NAMES);
    checker.one_of(step, "step_type", at, StepType::NAMES);
    if step.contains_key("type") && step.contains_key("step_type") {
        checker.error(at, ProblemKind::TypeGivenTwice);
    }
}

/// Checks what a step, and an environment's override of it, says of time and attempts.
pub(super) fn check_timing(checker: &mut Checker, step: &Map<String, Value>, at: &At<'_>) {
    checker.whole_number(step, "timeout_seconds", at, &COUNT);
    let Some(retry) = checker.mapping(step, "retry", at) else {
        return;
    };
    let at = at.key("retry");
    let retryable = checker.boolean(retry, "retryable", &at);
    let attempts = checker.whole_number(retry, "max_attempts", &at, &COUNT);
    if attempts == Some(0) && retryable != Some(false) {
        checker.warning(&at.key("max_attempts"), ProblemKind::ZeroAttempts);
    }
    checker.one_of(retry, "backoff", &at, BackoffStrategy::NAMES);
    for key in ["backoff_base_ms", "max_backoff_ms"] {
        checker.whole_number(retry, key, &at, &COUNT);
    }
    checker.misspelt_keys(retry, &at, RETRY_KEYS);
}

fn check_dependencies(
    checker: &mut Checker,
    step: &Map<String, Value>,
    index: usize,
    names: &StepNames<'_>,
    graph: &mut graph::Graph,
    at: &At<'_>,
) {
    let items = checker.list(step, "dependencies", at);
    let at = at.key("dependencies");
    let mut seen = HashSet::with_capacity(items.len());
    for (item_index, item) in items.iter().enumerate() {
        let at = at.index(item_index);
        let Value::String(name) = item else {
            checker.wrong_type(&at, "the name of a step", item);
            continue;
        };
        if !seen.insert(name) {
            let name = clip(name);
            checker.warning(&at, ProblemKind::RepeatedDependency { name });
            continue;
        }
        match names.place(name) {
            Some(other) if other == index => checker.error(&at, ProblemKind::SelfDependency),
            Some(other) => graph.waits_for(index, other),
            None => {
                let suggestion = (!checker.is_full_of_errors())
                    .then(|| names.nearest(name))
                    .flatten();
                let name = clip(name);
                checker.error(&at, ProblemKind::UnknownDependency { name, suggestion });
            }
        }
    }
}

/// Doubts a batch worker's name that names no batch worker. It is no error: batches whose worker
/// is made another way never use it.
fn check_worker_template(
    checker: &mut Checker,
    step: &Map<String, Value>,
    steps: &[Value],
    names: &StepNames<'_>,
    at: &At<'_>,
) {
    let worker = step
        .get("batch_config")
        .and_then(|batch| batch.get("worker_template"));
    let Some(Value::String(worker)) = worker else {
        return;
    };
    let batch = at.key("batch_config");
    let at = batch.key("worker_template");
    let Some(place) = names.place(worker) else {
        let suggestion = (!checker.is_full_of_warnings())
            .then(|| names.nearest(worker))
            .flatten();
        let name = clip(worker);
        checker.warning(&at, ProblemKind::UnknownStep { name, suggestion });
        return;
    };
    let kind = steps[place].get("type").or(steps[place].get("step_type"));
    if kind.and_then(Value::as_str) != Some("batch_worker") {
        let name = clip(worker);
        checker.warning(&at, ProblemKind::NotABatchWorker { name });
    }
}
