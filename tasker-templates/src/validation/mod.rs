//! Checks a document and returns its errors and warnings.
//!
//! [`shape`] has the keys, types and bounds of the typed view, which [`checker`] compares with the
//! document. The other files check values against each other. A document without errors has a typed
//! view.

mod checker;
mod environments;
mod graph;
mod keys;
mod names;
mod shape;
mod steps;
mod strings;

use serde_json::{Map, Value};

use super::input_schema::{self, InputSchemaError};
use super::path::At;
use super::problem::{Problem, ProblemKind};
use checker::Checker;
use shape::Shape;

/// Returns the JSON Schema of the typed view, with the patterns of the names.
pub(super) fn schema() -> Value {
    let mut schema = shape::schema().to_value();
    for (key, pattern) in names::patterns() {
        schema["properties"][key]["pattern"] = pattern.into();
    }
    schema
}

/// Characters of a description that lists of templates show.
const SHOWN_DESCRIPTION: usize = 255;

/// The problems of a document.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// Checks a document. `text_is_checked` is true if its strings and its nesting are known to be
/// storable, because it was read from YAML.
pub(super) fn check(document: &Value, text_is_checked: bool) -> Findings {
    let mut checker = Checker::default();
    if !text_is_checked {
        strings::check(&mut checker, document, &At::ROOT, 0);
    }
    // Compiling descends into the schema, so its nesting must be limited.
    let is_compilable = !checker.has_errors();
    match document {
        Value::Object(template) => {
            check_template(&mut checker, document, template);
            if is_compilable {
                check_input_schema(&mut checker, template);
            }
        }
        Value::Null => checker.error(&At::ROOT, ProblemKind::Empty),
        other => checker.wrong_type(&At::ROOT, "a mapping", other),
    }
    checker.into_findings()
}

fn check_template(checker: &mut Checker, document: &Value, template: &Map<String, Value>) {
    names::check(checker, template);
    checker.value(Shape::of_template(), document, &At::ROOT);
    if let Some(Value::String(text)) = template.get("description") {
        let length = text.chars().count();
        if length > SHOWN_DESCRIPTION {
            let max = SHOWN_DESCRIPTION;
            let at = At::ROOT.key("description");
            checker.warning(&at, ProblemKind::LongDescription { length, max });
        }
    }
    let names = steps::check(checker, template);
    environments::check(checker, template, &names);
}

fn check_input_schema(checker: &mut Checker, template: &Map<String, Value>) {
    let Some(schema @ Value::Object(_)) = template.get("input_schema") else {
        return;
    };
    let Err(InputSchemaError::Invalid { reason, location }) = input_schema::compile(schema) else {
        return;
    };
    let segments: Vec<String> = location
        .split('/')
        .skip(1)
        .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
        .collect();
    let kind = ProblemKind::InputSchema { reason };
    report_within(
        checker,
        schema,
        &segments,
        &At::ROOT.key("input_schema"),
        kind,
    );
}

/// Reports an error about the value that `segments` lead to from `value`.
fn report_within(
    checker: &mut Checker,
    value: &Value,
    segments: &[String],
    at: &At<'_>,
    kind: ProblemKind,
) {
    match (segments.split_first(), value) {
        (Some((key, rest)), Value::Object(map)) if map.contains_key(key) => {
            report_within(checker, &map[key], rest, &at.key(key), kind);
        }
        (Some((index, rest)), Value::Array(items)) => {
            let index = index.parse().unwrap_or(0);
            let item = items.get(index).unwrap_or(&Value::Null);
            report_within(checker, item, rest, &at.index(index), kind);
        }
        _ => checker.error(at, kind),
    }
}
