//! Checks steps against each other: names, dependencies, batches and events.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use super::checker::Checker;
use super::graph;
use crate::RetryConfiguration;
use crate::callable::url;
use crate::path::{At, clip};
use crate::problem::ProblemKind;
use crate::suggestion::nearest;

/// The most characters of a batch worker's name. Its batches add `_` and a number, and have a place for 128.
const MAX_WORKER_NAME: usize = 122;

/// The names of a template's steps.
#[derive(Debug, Default)]
pub(super) struct StepNames<'v> {
    /// In the order of the document; None for a step without a name.
    in_order: Vec<Option<&'v str>>,
    /// The index of the first step with each name.
    indexes: HashMap<&'v str, usize>,
}

impl<'v> StepNames<'v> {
    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.indexes.get(name).copied()
    }

    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        nearest(name, self.in_order.iter().copied().flatten()).map(clip)
    }

    fn at(&self, index: usize) -> &'v str {
        self.in_order[index].unwrap_or_default()
    }
}

/// Returns the items of the list under `key`, or none if there is no list.
pub(super) fn items<'v>(map: &'v Map<String, Value>, key: &str) -> &'v [Value] {
    map.get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str()
}

fn step_type(step: &Value) -> Option<&str> {
    text(step, "type").or_else(|| text(step, "step_type"))
}

/// Checks all steps and returns their names.
pub(super) fn check<'v>(checker: &mut Checker, template: &'v Map<String, Value>) -> StepNames<'v> {
    let steps = items(template, "steps");
    let at = At::ROOT.key("steps");
    if matches!(
        template.get("steps"),
        None | Some(Value::Null | Value::Array(_))
    ) && steps.is_empty()
    {
        checker.warning(&at, ProblemKind::NoSteps);
    }
    let mut names = StepNames::default();
    for (index, step) in steps.iter().enumerate() {
        let name = text(step, "name");
        if let Some(name) = name {
            check_name(checker, &mut names, name, index, &at.index(index));
        }
        names.in_order.push(name);
    }
    let mut graph = graph::Graph::new(steps.len());
    for (index, step) in steps.iter().enumerate() {
        if let Value::Object(step) = step {
            check_dependencies(checker, step, index, &names, &mut graph, &at.index(index));
        }
        check_kind(checker, step, &at.index(index));
        check_worker_template(checker, step, steps, &names, &at.index(index));
    }
    for cycle in graph.cycles() {
        let first = &at.index(cycle[0]);
        let at = first.key("dependencies");
        let steps = graph::shown(&cycle, |index| clip(names.at(index)));
        checker.error(&at, ProblemKind::Cycle { steps });
    }
    check_batch_workers(checker, steps, &names, &at);
    check_batch_names(checker, steps, &names, &at);
    check_events(checker, items(template, "domain_events"), steps, &at);
    names
}

fn check_name<'v>(
    checker: &mut Checker,
    names: &mut StepNames<'v>,
    name: &'v str,
    index: usize,
    at: &At<'_>,
) {
    let at = at.key("name");
    if name.chars().any(char::is_control) {
        let kind = ProblemKind::BadCharacters {
            text: clip(name),
            allowed: "printable ones",
        };
        checker.error(&at, kind);
    }
    let first = *names.indexes.entry(name).or_insert(index);
    if first != index {
        let name = clip(name);
        checker.error(&at, ProblemKind::DuplicateStep { name, first });
    }
}

fn check_kind(checker: &mut Checker, step: &Value, at: &At<'_>) {
    if step.get("type").is_some() && step.get("step_type").is_some() {
        checker.error(at, ProblemKind::TypeGivenTwice);
    }
    let has_dependencies =
        matches!(step.get("dependencies"), Some(Value::Array(items)) if !items.is_empty());
    let is_convergence = matches!(step_type(step), Some("deferred_convergence" | "deferred"));
    if is_convergence && !has_dependencies {
        checker.warning(&at.key("dependencies"), ProblemKind::NothingToConverge);
    }
    if let Some(callable) = step
        .get("handler")
        .and_then(|handler| text(handler, "callable"))
    {
        check_url(checker, callable, &at.key("handler").key("callable"));
    }
    let length = text(step, "name").map_or(0, |name| name.chars().count());
    // A longer one is refused by its shape.
    if step_type(step) == Some("batch_worker") && (MAX_WORKER_NAME + 1..=128).contains(&length) {
        let max = MAX_WORKER_NAME;
        checker.error(&at.key("name"), ProblemKind::TooLong { length, max });
    }
    check_limits(checker, step, true, at);
}

/// Warns of a URL that no request can be sent to. A step with such a callable fails.
fn check_url(checker: &mut Checker, callable: &str, at: &At<'_>) {
    if url(callable).is_some() && !callable.bytes().all(|byte| byte.is_ascii_graphic()) {
        let kind = ProblemKind::BadCharacters {
            text: clip(callable),
            allowed: "those of a URL; encode them, as %20",
        };
        checker.warning(at, kind);
    }
}

/// Checks the retries and the timeout of a step or of an override. Keys that an override leaves out
/// are those of its step, which may differ, so that it is checked only by the keys that it has.
pub(super) fn check_limits(checker: &mut Checker, step: &Value, defaults: bool, at: &At<'_>) {
    if let Some(Value::Object(retry)) = step.get("retry") {
        check_retry(checker, retry, defaults, &at.key("retry"));
    }
    if step.get("timeout_seconds").and_then(Value::as_u64) == Some(0) {
        checker.warning(&at.key("timeout_seconds"), ProblemKind::ZeroTimeout);
    }
}

/// Warns of settings that have no effect because of others.
fn check_retry(checker: &mut Checker, retry: &Map<String, Value>, defaults: bool, at: &At<'_>) {
    let number = |key: &str| retry.get(key).and_then(Value::as_u64);
    let standard = RetryConfiguration::default();
    let is_off = retry.get("retryable") == Some(&Value::Bool(false));
    match number("max_attempts") {
        Some(0) if !is_off => {
            checker.warning(&at.key("max_attempts"), ProblemKind::ZeroAttempts);
        }
        Some(2..) if is_off => {
            checker.warning(&at.key("max_attempts"), ProblemKind::AttemptsWithoutRetry);
        }
        _ => {}
    }
    let Some(base) = number("backoff_base_ms").filter(|base| *base > 0) else {
        return;
    };
    let at = at.key("backoff_base_ms");
    let max = number("max_backoff_ms").or(defaults.then_some(standard.max_backoff_ms));
    if retry.get("backoff").and_then(Value::as_str) == Some("none") {
        checker.warning(&at, ProblemKind::BaseWithoutBackoff);
    } else if let Some(max) = max.filter(|max| *max < base) {
        checker.warning(&at, ProblemKind::BaseAboveMax { base, max });
    }
}

fn check_dependencies(
    checker: &mut Checker,
    step: &Map<String, Value>,
    index: usize,
    names: &StepNames<'_>,
    graph: &mut graph::Graph,
    at: &At<'_>,
) {
    let items = items(step, "dependencies");
    let at = at.key("dependencies");
    let mut seen = HashSet::with_capacity(items.len());
    for (item_index, item) in items.iter().enumerate() {
        let at = at.index(item_index);
        let Value::String(name) = item else {
            continue;
        };
        if !seen.insert(name) {
            let name = clip(name);
            checker.warning(&at, ProblemKind::RepeatedDependency { name });
            continue;
        }
        match names.index(name) {
            Some(other) if other == index => checker.error(&at, ProblemKind::SelfDependency),
            Some(other) => graph.waits_for(index, other),
            None => checker.error_with(&at, || ProblemKind::UnknownDependency {
                name: clip(name),
                suggestion: names.nearest(name),
            }),
        }
    }
}

/// Warns if the batch worker that a step names is none. It is no error, because a handler may choose
/// another worker at run time.
fn check_worker_template(
    checker: &mut Checker,
    step: &Value,
    steps: &[Value],
    names: &StepNames<'_>,
    at: &At<'_>,
) {
    let batch = at.key("batch_config");
    let handler = at.key("handler");
    let settings = handler.key("initialization");
    let [configured, in_settings] = named_workers(step);
    // The settings of handlers belong to them, but those of batchable steps.
    let in_settings = in_settings.filter(|_| step_type(step) == Some("batchable"));
    for (worker, at) in [
        (configured, batch.key("worker_template")),
        (in_settings, settings.key("worker_template_name")),
    ] {
        let Some(worker) = worker else { continue };
        match names.index(worker) {
            None => checker.warning_with(&at, || ProblemKind::UnknownStep {
                name: clip(worker),
                suggestion: names.nearest(worker),
            }),
            Some(index) if step_type(&steps[index]) != Some("batch_worker") => {
                let name = clip(worker);
                checker.warning(&at, ProblemKind::NotABatchWorker { name });
            }
            Some(_) => {}
        }
    }
}

/// Returns the batch workers that a step names, in `batch_config` and in the
/// `initialization.worker_template_name` that handlers in the field read.
fn named_workers(step: &Value) -> [Option<&str>; 2] {
    let handler = step.get("handler");
    let settings = handler.and_then(|handler| handler.get("initialization"));
    let batch = step.get("batch_config");
    [
        batch.and_then(|batch| text(batch, "worker_template")),
        settings.and_then(|settings| text(settings, "worker_template_name")),
    ]
}

/// Returns the names that a step lists as its dependencies.
fn dependencies_of(step: &Value) -> HashSet<&str> {
    let dependencies = step.get("dependencies").and_then(Value::as_array);
    let dependencies = dependencies.into_iter().flatten();
    dependencies.filter_map(Value::as_str).collect()
}

/// Warns of batch workers and batchable steps that do not belong to each other. No batch can be made
/// of them, but a handler may choose another worker.
fn check_batch_workers(checker: &mut Checker, steps: &[Value], names: &StepNames<'_>, at: &At<'_>) {
    let mut workers: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    // Batchable steps that name no worker, because their handlers do, with their indexes.
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        let (Some(name), Some("batchable")) = (text(step, "name"), step_type(step)) else {
            continue;
        };
        match named_workers(step) {
            [None, None] => {
                open.insert(name, index);
            }
            chosen => {
                for worker in chosen.into_iter().flatten() {
                    workers.entry(worker).or_default().insert(name);
                }
            }
        }
    }
    let mut served: HashSet<usize> = HashSet::new();
    let mut is_sure = true;
    for (index, step) in steps.iter().enumerate() {
        let (Some(name), Some("batch_worker")) = (text(step, "name"), step_type(step)) else {
            continue;
        };
        if names.index(name) != Some(index) {
            // An error by itself. All that name this step would be looked at again for each repetition.
            continue;
        }
        let at = at.index(index);
        let dependencies = dependencies_of(step);
        served.extend(dependencies.iter().filter_map(|name| open.get(name)));
        let is_known = |other: &&str| **other != *name && names.index(other).is_some();
        if !dependencies.iter().all(is_known) {
            // These are errors. A misspelt one may be the missing one.
            is_sure = false;
            continue;
        }
        let Some(by) = workers.get(name) else {
            // The handler of a batchable step may choose it.
            let is_batchable = |name: &&str| {
                let index = names.index(name);
                index.is_some_and(|index| step_type(&steps[index]) == Some("batchable"))
            };
            if !dependencies.iter().any(is_batchable) {
                checker.warning(&at, ProblemKind::UnusedBatchWorker);
            }
            continue;
        };
        for batchable in by {
            if !dependencies.contains(batchable) {
                let batchable = clip(batchable);
                let kind = ProblemKind::MissingBatchable { batchable };
                checker.warning(&at.key("dependencies"), kind);
            }
        }
    }
    let mut unserved: Vec<usize> = open.into_values().collect();
    unserved.retain(|index| is_sure && !served.contains(index));
    unserved.sort_unstable();
    for index in unserved {
        checker.warning(&at.index(index), ProblemKind::NoBatchWorker);
    }
}

/// Refuses steps with the name that a batch may get.
fn check_batch_names(checker: &mut Checker, steps: &[Value], names: &StepNames<'_>, at: &At<'_>) {
    for (index, step) in steps.iter().enumerate() {
        let Some(name) = text(step, "name") else {
            continue;
        };
        let Some((worker, number)) = name.rsplit_once('_') else {
            continue;
        };
        let is_number = number.len() >= 3 && number.bytes().all(|byte| byte.is_ascii_digit());
        let is_worker = names
            .index(worker)
            .is_some_and(|worker| step_type(&steps[worker]) == Some("batch_worker"));
        if is_number && is_worker {
            let worker = clip(worker);
            let step = at.index(index);
            checker.error(&step.key("name"), ProblemKind::BatchName { worker });
        }
    }
}

/// Warns of published events that the template does not declare. Without `domain_events`, an event
/// with a schema of its own is declared by the step.
fn check_events(checker: &mut Checker, declared: &[Value], steps: &[Value], at: &At<'_>) {
    let known: HashSet<&str> = declared
        .iter()
        .filter_map(|event| text(event, "name"))
        .collect();
    for (step_index, step) in steps.iter().enumerate() {
        let events = step.get("publishes_events").and_then(Value::as_array);
        for (index, event) in events.into_iter().flatten().enumerate() {
            let Some(name) = text(event, "name") else {
                continue;
            };
            let has_schema = event.get("schema").is_some_and(|schema| !schema.is_null());
            if known.contains(name) || (known.is_empty() && has_schema) {
                continue;
            }
            let step = at.index(step_index);
            let events = step.key("publishes_events");
            let event = events.index(index);
            checker.warning_with(&event.key("name"), || ProblemKind::UndeclaredEvent {
                name: clip(name),
                suggestion: nearest(name, known.iter().copied()).map(clip),
            });
        }
    }
}
