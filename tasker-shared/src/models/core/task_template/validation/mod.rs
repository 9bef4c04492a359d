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

use super::path::At;
use super::problem::{Problem, ProblemKind};
use checker::Checker;
use shape::Shape;

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
    match document {
        Value::Object(template) => check_template(&mut checker, document, template),
        Value::Null => checker.error(&At::ROOT, ProblemKind::Empty),
        other => checker.wrong_type(&At::ROOT, "a mapping", other),
    }
    checker.into_findings()
}

fn check_template(checker: &mut Checker, document: &Value, template: &Map<String, Value>) {
    checker.value(Shape::of_template(), document, &At::ROOT);
    names::check(checker, template);
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
