//! Random valid templates with one random typo in a known key: none may be silent. They are written as
//! JSON, which is YAML.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use super::read;
use crate::Problem;

/// Marks the misspelt key until its location in the text is known.
const MARK: char = '\u{2603}';

/// Parts of a template that belong to its author.
const FREE: &[&str] = &[
    "metadata",
    "initialization",
    "input_schema",
    "lifecycle",
    "schema",
];

#[derive(Debug, Default)]
struct Figures {
    errors: usize,
    warnings: usize,
    suggested: usize,
}

/// To check more templates: `TYPOS_SEED=7 TYPOS=1000 cargo test -p tasker-templates --lib typos --
/// --nocapture`.
#[test]
fn no_typo_of_a_known_key_is_silent() {
    let variable = |name, default| {
        std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
    };
    let (seed, count) = (variable("TYPOS_SEED", 1), variable("TYPOS", 200));
    let mut random = StdRng::seed_from_u64(seed);
    let mut figures = Figures::default();
    for _ in 0..count {
        let valid = template(&mut random);
        let text = format!("{valid:#}");
        let document = read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let warnings = document.warnings();
        assert!(warnings.is_empty(), "{warnings:?}\n{text}");
        check_typo(valid, &mut random, &mut figures);
    }
    eprintln!("seed {seed}, {count} templates: {figures:?}");
}

fn check_typo(mut template: Value, random: &mut StdRng, figures: &mut Figures) {
    let mut mappings = Vec::new();
    collect(&template, &mut String::new(), &mut mappings);
    let (pointer, keys) = mappings.choose(random).expect("a template is a mapping");
    let key = keys.choose(random).expect("the mapping has keys").clone();
    let misspelt = loop {
        let misspelt = misspell(&key, random);
        // Neither another known key of the mapping nor one that belongs to the author.
        let is_known =
            ["type", "step_type"].contains(&misspelt.as_str()) || keys.contains(&misspelt);
        if misspelt != key && !is_known && !misspelt.starts_with("x-") {
            break misspelt;
        }
    };
    let mapping = template
        .pointer_mut(pointer)
        .and_then(Value::as_object_mut)
        .expect("found above");
    let value = mapping.remove(&key).expect("found above");
    mapping.insert(format!("{MARK}{misspelt}"), value);
    let marked = format!("{template:#}");
    let before = &marked[..marked.find(MARK).expect("the key is marked")];
    let line = before.matches('\n').count() + 1;
    // The key begins with its quote.
    let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
    let text = marked.replace(MARK, "");

    let is_it = |problem: &&Problem| {
        let is_there = problem.line == Some(line) && problem.column == Some(column);
        is_there
            && problem
                .to_string()
                .contains(&format!("the key {misspelt:?}"))
    };
    let (problem, is_error) = match read(&text) {
        Ok(document) => (document.warnings().iter().find(is_it).cloned(), false),
        Err(error) => match error.problems().iter().find(is_it) {
            Some(problem) => (Some(problem.clone()), true),
            None => (error.warnings().iter().find(is_it).cloned(), false),
        },
    };
    let problem = problem.unwrap_or_else(|| {
        panic!("{misspelt:?} for {key:?} at {line}:{column} is silent:\n{text}")
    });
    figures.errors += usize::from(is_error);
    figures.warnings += usize::from(!is_error);
    figures.suggested += usize::from(problem.to_string().contains(&format!("{key:?} is")));
}

/// One typing error.
fn misspell(key: &str, random: &mut StdRng) -> String {
    let mut chars: Vec<char> = key.chars().collect();
    let at = random.random_range(0..chars.len());
    let letter = *b"abcdefghijklmnopqrstuvwxyz_-"
        .choose(random)
        .expect("there are letters");
    match random.random_range(0..6) {
        0 => drop(chars.remove(at)),
        1 => chars.insert(at, letter.into()),
        2 => chars[at] = letter.into(),
        3 if at > 0 => chars.swap(at - 1, at),
        4 => chars[at] = chars[at].to_ascii_uppercase(),
        _ => return key.replacen('_', ["", "-"].choose(random).expect("two"), 1),
    }
    chars.into_iter().collect()
}

/// The mappings whose keys Tasker knows, by JSON pointer, with their keys.
fn collect(value: &Value, pointer: &mut String, found: &mut Vec<(String, Vec<String>)>) {
    let length = pointer.len();
    match value {
        Value::Object(map) => {
            if pointer != "/environments" && !map.is_empty() {
                found.push((pointer.clone(), map.keys().cloned().collect()));
            }
            for (key, value) in map.iter().filter(|(key, _)| !FREE.contains(&key.as_str())) {
                pointer.extend(["/", key]);
                collect(value, pointer, found);
                pointer.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.extend(["/", index.to_string().as_str()]);
                collect(item, pointer, found);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

fn template(random: &mut StdRng) -> Value {
    let mut template =
        object(json!({"name": "orders", "namespace_name": "shop", "version": "1.0.0"}));
    let count = random.random_range(1..6);
    let mut steps: Vec<Value> = (0..count).map(|index| step(index, random)).collect();
    // It names no worker, because any of them may be its.
    if steps[1..].iter().any(is_batch_worker) {
        steps[0]["type"] = json!("batchable");
    }
    template.insert("steps".into(), steps.into());
    maybe(&mut template, random, "description", json!("text"));
    maybe(
        &mut template,
        random,
        "metadata",
        json!({"author": "me", "tags": ["a"]}),
    );
    maybe(
        &mut template,
        random,
        "system_dependencies",
        json!({"primary": "db", "secondary": ["mail"]}),
    );
    maybe(
        &mut template,
        random,
        "input_schema",
        json!({"type": "object"}),
    );
    maybe(
        &mut template,
        random,
        "lifecycle",
        json!({"max_duration_minutes": 5}),
    );
    maybe(&mut template, random, "identity_strategy", json!("strict"));
    let mut event = object(json!({"name": "order.placed"}));
    maybe(&mut event, random, "description", json!("text"));
    maybe(&mut event, random, "schema", json!({"type": "object"}));
    template.insert("domain_events".into(), json!([event]));
    template.insert("task_handler".into(), handler(random));
    if random.random() {
        let overrides = json!({
            "task_handler": {"initialization": {"url": "test"}},
            "steps": [
                {"name": "ALL", "timeout_seconds": 5, "retry": retry(random)},
                {"name": "step_0", "handler": {"initialization": {"debug": true}}},
            ],
        });
        template.insert(
            "environments".into(),
            json!({"test": overrides, "development": null}),
        );
    }
    Value::Object(template)
}

fn is_batch_worker(step: &Value) -> bool {
    ["type", "step_type"]
        .iter()
        .any(|key| step[key] == "batch_worker")
}

fn step(index: usize, random: &mut StdRng) -> Value {
    let mut step = object(json!({"name": format!("step_{index}"), "handler": handler(random)}));
    if index > 0 {
        let dependency = random.random_range(0..index);
        step.insert("dependencies".into(), json!([format!("step_{dependency}")]));
        let types = [
            "standard",
            "decision",
            "deferred_convergence",
            "batch_worker",
        ];
        let key = *["type", "step_type"].choose(random).expect("two");
        let kind = *types.choose(random).expect("four");
        step.insert(key.into(), json!(kind));
        if kind == "batch_worker" {
            // The first step is batchable, so that others may be its workers.
            step.insert("dependencies".into(), json!(["step_0"]));
            let name = format!("step_{index}");
            let mut batch = object(json!({"worker_template": name}));
            maybe(&mut batch, random, "batch_size", json!(10));
            maybe(&mut batch, random, "parallelism", json!(2));
            maybe(&mut batch, random, "cursor_field", json!("id"));
            maybe(&mut batch, random, "failure_strategy", json!("fail_fast"));
            step.insert("batch_config".into(), Value::Object(batch));
        }
    }
    maybe(&mut step, random, "description", json!("text"));
    maybe(&mut step, random, "system_dependency", json!("db"));
    maybe(&mut step, random, "timeout_seconds", json!(30));
    let retry = retry(random);
    maybe(&mut step, random, "retry", retry);
    let mut event = object(json!({"name": "order.placed"}));
    maybe(&mut event, random, "description", json!("text"));
    maybe(&mut event, random, "condition", json!("success"));
    maybe(&mut event, random, "schema", json!({"type": "object"}));
    maybe(&mut event, random, "delivery_mode", json!("durable"));
    maybe(&mut event, random, "publisher", json!("shop.Publisher"));
    maybe(&mut step, random, "publishes_events", json!([event]));
    Value::Object(step)
}

fn handler(random: &mut StdRng) -> Value {
    let mut handler = object(json!({"callable": "shop.Handler"}));
    maybe(&mut handler, random, "method", json!("run"));
    maybe(&mut handler, random, "resolver", json!("python"));
    maybe(
        &mut handler,
        random,
        "initialization",
        json!({"retries": 3, "steps": [1]}),
    );
    Value::Object(handler)
}

fn retry(random: &mut StdRng) -> Value {
    let mut retry = object(json!({"max_attempts": 3}));
    maybe(&mut retry, random, "retryable", json!(true));
    maybe(&mut retry, random, "backoff", json!("linear"));
    maybe(&mut retry, random, "backoff_base_ms", json!(100));
    maybe(&mut retry, random, "max_backoff_ms", json!(1000));
    Value::Object(retry)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no mapping"),
    }
}

fn maybe(map: &mut Map<String, Value>, random: &mut StdRng, key: &str, value: Value) {
    if random.random() {
        map.insert(key.into(), value);
    }
}
