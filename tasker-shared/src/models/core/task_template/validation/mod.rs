//! Checks a document: everything that is wrong with it, and everything that is doubtful.
//!
//! What passes has a typed view. An `input_schema` is only checked to be a mapping: those who
//! apply it compile it.

mod checker;
mod environments;
mod graph;
mod names;
mod steps;
mod strings;
mod template;

use serde_json::Value;

use super::path::At;
use super::problem::{Problem, ProblemKind};
use checker::Checker;

/// What a check found.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// Checks a document. `text_is_checked` says that its strings and its nesting are known to be
/// storable, as they are when it was read from YAML.
pub(super) fn check(document: &Value, text_is_checked: bool) -> Findings {
    let mut checker = Checker::default();
    if !text_is_checked {
        strings::check(&mut checker, document, &At::ROOT, 0);
    }
    match document {
        Value::Object(map) => template::check(&mut checker, map),
        Value::Null => checker.error(&At::ROOT, ProblemKind::Empty),
        other => checker.wrong_type(&At::ROOT, "a mapping", other),
    }
    checker.into_findings()
}
