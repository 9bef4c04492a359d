//! Generates `docs/templates.md` and its pictures. A test fails if they are not current, and
//! rewrites them if `UPDATE_GENERATED=1` is set.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tasker_templates::{
    BackoffStrategy, RetryConfiguration, TemplateDocument, TemplateLimits, json_schema,
};
use tasker_test_support::assert_generated;

use super::{graph, retry_words};

const INTRODUCTION: &str = "\
# Task templates

This page is generated from the types that read templates; `cargo xtask generate` renews it.

A template is a YAML file. `tasker template new NAME` writes a commented one to begin with,
`tasker template validate PATH` checks files as a registration does, and an editor with a YAML language
server checks while you type if the file begins with this line:

```yaml
# yaml-language-server: $schema=PATH/config/template.schema.json
```

An unknown key is an error if it may stand for a key that decides which steps run; otherwise it is a
warning. Notes belong under `metadata`, or under a key that begins with `x-`, which are not read. A key
without a value, or with null, counts as missing.

";

const ENVIRONMENTS: &str = "\
\n## Environments

`environments.NAME` holds overrides for the environment that `TASKER_ENV` of a worker names. Only the
keys that are marked above can be overridden. Overrides for the step `ALL` apply first, then those for
single steps. Mappings are merged, other values are replaced, and null overrides nothing.
`tasker template explain FILE --environment NAME` shows the result.

";

/// Examples of keys that the template of the tests leaves empty, or that are long there.
const EXAMPLES: [(&str, &str); 18] = [
    ("system_dependency", "ledger"),
    ("method", "run"),
    ("resolver", "python"),
    ("batch_size", "1000"),
    ("cursor_field", "id"),
    ("failure_strategy", "continue"),
    ("parallelism", "4"),
    ("worker_template", "import_rows"),
    ("batch_config", "{worker_template: import_rows}"),
    ("publishes_events", "[{name: order.placed}]"),
    ("domain_events", "[{name: order.placed}]"),
    (
        "environments",
        "{test: {steps: [{name: ALL, timeout_seconds: 5}]}}",
    ),
    ("secondary", "[ledger]"),
    ("schema", "{type: object}"),
    ("metadata", "{author: Storefront}"),
    ("steps", "[{name: check, handler: {callable: Check}}]"),
    ("handler", "{callable: Check}"),
    ("description", "Takes an order"),
];

/// A kind of step: its name, its meaning and a template that shows it.
const KINDS: [(&str, &str, &str); 4] = [
    (
        "standard",
        "Runs once, when all its `dependencies` are complete.",
        "- {name: reserve, handler: {callable: h}}
- {name: charge, handler: {callable: h}}
- {name: ship, handler: {callable: h}, dependencies: [reserve, charge]}",
    ),
    (
        "decision",
        "Its result names which of the steps that depend on it are created. Those, and all that \
         depends on them, do not exist before.",
        "- {name: score, handler: {callable: h}}
- {name: route, type: decision, handler: {callable: h}, dependencies: [score]}
- {name: approve, handler: {callable: h}, dependencies: [route]}
- {name: review, handler: {callable: h}, dependencies: [route]}",
    ),
    (
        "deferred_convergence",
        "Waits for those of its dependencies that were created.",
        "- {name: route, type: decision, handler: {callable: h}}
- {name: approve, handler: {callable: h}, dependencies: [route]}
- {name: review, handler: {callable: h}, dependencies: [route]}
- {name: record, type: deferred_convergence, handler: {callable: h}, dependencies: [approve, review]}",
    ),
    (
        "batchable",
        "Its result divides work into batches. For each of them a step is created from the \
         `batch_worker` that `batch_config.worker_template` names, which never runs itself.",
        "- {name: plan, type: batchable, handler: {callable: h}, batch_config: {worker_template: import}}
- {name: import, type: batch_worker, handler: {callable: h}, dependencies: [plan]}
- {name: sum, type: deferred_convergence, handler: {callable: h}, dependencies: [import]}",
    ),
];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Returns the page.
fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let example = example();
    let schema = json_schema();
    let overridable = overridable(&schema);
    let mut sections = vec![(String::new(), &schema)];
    while !sections.is_empty() {
        let (at, schema) = sections.remove(0);
        let title = if at.is_empty() { "The template" } else { &at };
        let mark = if at.is_empty() { "" } else { "`" };
        let _ = writeln!(page, "## {mark}{title}{mark}\n");
        page.push_str("| key | type | default | meaning | override | example |\n");
        page.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            if key == "metadata" && !at.is_empty() {
                continue;
            }
            let path = join(&at, key);
            let is_required = schema["required"]
                .as_array()
                .is_some_and(|keys| keys.contains(&json!(key)));
            line(
                &mut page,
                &[
                    &format!("`{key}`"),
                    &type_of(property),
                    &default_of(&path, property, is_required),
                    &about(property),
                    if overridable.contains(&path) {
                        "yes"
                    } else {
                        ""
                    },
                    &example_at(&example, &path),
                ],
            );
            if let Some((below, schema)) = below(&path, property) {
                // The overrides of environments have a chapter of their own.
                if !path.starts_with("environments") {
                    sections.push((below, schema));
                }
            }
        }
        page.push('\n');
    }
    page.push_str("## Types of steps\n\n");
    for (kind, meaning, _) in KINDS {
        let _ = writeln!(
            page,
            "### `{kind}`\n\n{meaning}\n\n![{kind}](images/{kind}.svg)\n"
        );
    }
    page.push_str(&retries());
    page.push_str(ENVIRONMENTS);
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() {
        key.to_owned()
    } else {
        format!("{at}.{key}")
    }
}

/// Returns the mapping below a key, with its path.
fn below<'a>(path: &str, property: &'a Value) -> Option<(String, &'a Value)> {
    let variants = property["anyOf"].as_array();
    let property = variants
        .and_then(|variants| variants.first())
        .unwrap_or(property);
    if property["properties"].is_object() {
        return Some((path.to_owned(), property));
    }
    let items = &property["items"];
    items["properties"]
        .is_object()
        .then(|| (format!("{path}[]"), items))
}

/// Returns the paths of the keys that an environment can override.
fn overridable(schema: &Value) -> BTreeSet<String> {
    let environments = &schema["properties"]["environments"];
    let one = &environments["additionalProperties"];
    let one = if one["anyOf"].is_array() {
        &one["anyOf"][0]
    } else {
        one
    };
    let mut paths = BTreeSet::new();
    let mut follow = vec![(String::new(), one)];
    while let Some((at, schema)) = follow.pop() {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = join(&at, key);
            match below(&path, property) {
                Some((below, schema)) => {
                    if key == "retry" {
                        paths.insert(path);
                    }
                    follow.push((below, schema));
                }
                None if key != "name" && key != "metadata" => {
                    paths.insert(path);
                }
                None => {}
            }
        }
    }
    paths
}

fn about(property: &Value) -> String {
    let text = property["description"].as_str().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace("[`apply_environment`](super::apply_environment)", "below")
        .replace("see [`apply_environment`]", "see below")
}

fn type_of(property: &Value) -> String {
    if let Some(variants) = property["anyOf"].as_array() {
        let words: Vec<String> = words(&variants[0]);
        if !words.is_empty() {
            return words.join(", ");
        }
        return type_of(&variants[0]);
    }
    let words = words(property);
    if !words.is_empty() {
        return words.join(", ");
    }
    let kinds: Vec<&str> = match &property["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return String::from("any value"),
    };
    let bounds = || match (property["minimum"].as_u64(), property["maximum"].as_u64()) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) if least > 0 => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        _ => String::new(),
    };
    let kind = kinds.iter().find(|kind| **kind != "null").copied();
    match kind {
        Some("string") => match property["maxLength"].as_u64() {
            Some(most) => format!("text, at most {most} characters"),
            None => String::from("text"),
        },
        Some("integer") => format!("whole number{}", bounds()),
        Some("boolean") => String::from("true or false"),
        Some("array") => format!("list of: {}", type_of(&property["items"])),
        Some("object") => String::from("mapping"),
        _ => String::from("any value"),
    }
}

fn words(property: &Value) -> Vec<String> {
    let constants = property["oneOf"].as_array().into_iter().flatten();
    let constants = constants.filter_map(|one| one["const"].as_str());
    let listed = property["enum"].as_array().into_iter().flatten();
    let all = constants.chain(listed.filter_map(Value::as_str));
    all.map(|word| format!("`{word}`")).collect()
}

fn default_of(path: &str, property: &Value, is_required: bool) -> String {
    if is_required {
        return String::from("required");
    }
    let retry = serde_json::to_value(RetryConfiguration::default()).unwrap_or_default();
    if let Some(key) = path.strip_prefix("steps[].retry.") {
        return format!("`{}`", plain(&retry[key]));
    }
    match path {
        "steps[].type" | "steps[].step_type" => String::from("`standard`"),
        "identity_strategy" => String::from("`strict`"),
        _ => match &property["default"] {
            Value::Null | Value::Object(_) => String::from("none"),
            default => format!("`{}`", plain(default)),
        },
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns a template that has every key.
fn example() -> Value {
    let tests = "../tasker-templates/src/tests/complete.yaml";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(tests);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let limits = TemplateLimits::default();
    let document = TemplateDocument::from_yaml(&bytes, limits);
    document.expect("the template is good").json().clone()
}

/// Returns the first value at a path of the example, if it is short.
fn example_at(example: &Value, path: &str) -> String {
    let mut values = vec![example];
    for part in path.split('.') {
        let (key, is_list) = match part.strip_suffix("[]") {
            Some(key) => (key, true),
            None => (part, false),
        };
        values = values.into_iter().map(|value| &value[key]).collect();
        if is_list {
            let lists = values.into_iter().filter_map(Value::as_array);
            values = lists.flatten().collect();
        }
    }
    let empty = [json!(null), json!([]), json!({})];
    let is_short = |value: &&Value| !empty.contains(value) && value.to_string().len() < 64;
    if let Some(value) = values.into_iter().find(is_short) {
        return format!("`{}`", plain(value).trim_end());
    }
    let known = EXAMPLES.iter().find(|(key, _)| path.ends_with(key));
    known.map_or_else(String::new, |(_, example)| format!("`{example}`"))
}

fn line(page: &mut String, cells: &[&str]) {
    for cell in cells {
        page.push_str("| ");
        page.push_str(&cell.replace('|', "\\|"));
        page.push(' ');
    }
    page.push_str("|\n");
}

/// Returns the chapter on retries.
fn retries() -> String {
    let mut text = String::from(
        "## Retries\n\nA failed attempt is followed by another one if `retryable` is true, the failure \
         is not permanent, and fewer than\n`max_attempts` were made. The pauses before the retries, \
         with a `backoff_base_ms` of 1000 and a\n`max_backoff_ms` of 30000, are these, with a jitter \
         of 10 %:\n\n| backoff | 1st | 2nd | 3rd | 4th | 5th | 6th |\n| --- | --- | --- | --- | --- \
         | --- | --- |\n",
    );
    for backoff in [
        BackoffStrategy::None,
        BackoffStrategy::Linear,
        BackoffStrategy::Exponential,
        BackoffStrategy::Fibonacci,
    ] {
        let retry = RetryConfiguration {
            backoff,
            ..RetryConfiguration::default()
        };
        let name = plain(&serde_json::to_value(backoff).unwrap_or_default());
        let mut cells = vec![format!("`{name}`")];
        cells.extend((1..=6).map(|attempt| retry_words::duration(retry.pause(attempt))));
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        line(&mut text, &cells);
    }
    text
}

#[test]
fn the_generated_page_is_current() {
    for (kind, _, steps) in KINDS {
        let text =
            format!("name: {kind}\nnamespace_name: types\nversion: \"1\"\nsteps:\n{steps}\n");
        let limits = TemplateLimits::default();
        let document =
            TemplateDocument::from_yaml(text.as_bytes(), limits).expect("a good template");
        assert!(document.warnings().is_empty(), "{:?}", document.warnings());
        let picture = graph::svg(document.template());
        assert_generated(&docs().join(format!("images/{kind}.svg")), &picture);
    }
    assert_generated(&docs().join("templates.md"), &page());
}

/// Collects the keys that a check knows, from its schema.
fn keys(schema: &Value, keys: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(properties) = schema["properties"].as_object() {
                keys.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| self::keys(value, keys));
        }
        Value::Array(items) => items.iter().for_each(|value| self::keys(value, keys)),
        _ => {}
    }
}

#[test]
fn the_page_names_every_key_that_a_check_knows() {
    let mut known = BTreeSet::new();
    keys(&json_schema(), &mut known);
    assert!(known.len() > 40, "{known:?}");
    let page = page();
    for key in known {
        assert!(page.contains(&format!("| `{key}` |")), "{key}");
    }
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        assert!(!row.ends_with("|  |"), "there is no example in {row}");
    }
}
