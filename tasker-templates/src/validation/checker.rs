//! Compares a document with the shape of templates and collects problems.

use serde_json::{Map, Value};

use super::Findings;
use super::keys::{is_free, misspelt_graph_key, unknown_key};
use super::shape::{Keys, Shape};
use crate::path::{At, clip};
use crate::problem::{ProblemKind, Problems};
use crate::suggestion::nearest;

/// Collects errors and warnings.
#[derive(Debug, Default)]
pub(super) struct Checker {
    errors: Problems,
    warnings: Problems,
}

impl Checker {
    pub(super) fn into_findings(self) -> Findings {
        Findings {
            errors: self.errors.into_vec(),
            warnings: self.warnings.into_vec(),
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(super) fn error(&mut self, at: &At<'_>, kind: ProblemKind) {
        self.errors.push(None, at, kind);
    }

    pub(super) fn warning(&mut self, at: &At<'_>, kind: ProblemKind) {
        self.warnings.push(None, at, kind);
    }

    /// Reports an error whose suggestion takes time: `kind` runs unless errors are only counted.
    pub(super) fn error_with(&mut self, at: &At<'_>, kind: impl FnOnce() -> ProblemKind) {
        self.errors.push_with(None, at, kind);
    }

    /// Reports a warning whose suggestion takes time: `kind` runs unless warnings are only counted.
    pub(super) fn warning_with(&mut self, at: &At<'_>, kind: impl FnOnce() -> ProblemKind) {
        self.warnings.push_with(None, at, kind);
    }

    pub(super) fn wrong_type(&mut self, at: &At<'_>, expected: &'static str, found: &Value) {
        let found = type_name(found);
        self.error(at, ProblemKind::WrongType { expected, found });
    }

    /// Checks that `value` has this shape.
    pub(super) fn value(&mut self, shape: &'static Shape, value: &Value, at: &At<'_>) {
        match (shape, value) {
            (Shape::Any, _)
            | (_, Value::Null)
            | (Shape::AnyMapping, Value::Object(_))
            | (Shape::Bool, Value::Bool(_)) => {}
            (Shape::Mapping(keys), Value::Object(map)) => self.mapping(keys, map, at),
            (Shape::Named(shape), Value::Object(map)) => {
                for (name, value) in map {
                    self.value(shape, value, &at.key(name));
                }
            }
            (Shape::List(shape), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let at = at.index(index);
                    if item.is_null() {
                        self.wrong_type(&at, shape.name(), item);
                    }
                    self.value(shape, item, &at);
                }
            }
            (Shape::Text(max), Value::String(text)) => {
                if let Some(max) = *max {
                    self.length(text, max, at);
                }
            }
            (Shape::Word { known, strict }, Value::String(text)) => {
                if known.contains(text) {
                    return;
                }
                let kind = || ProblemKind::UnknownValue {
                    value: clip(text),
                    known,
                    suggestion: nearest(text, known.iter().map(String::as_str)),
                };
                if *strict {
                    self.error_with(at, kind);
                } else {
                    self.warning_with(at, kind);
                }
            }
            (Shape::Whole(range), Value::Number(number)) => {
                if !number
                    .as_u64()
                    .is_some_and(|number| range.contains(&number))
                {
                    let kind = ProblemKind::OutOfRange {
                        value: number.to_string(),
                        min: *range.start(),
                        max: *range.end(),
                    };
                    self.error(at, kind);
                }
            }
            (shape, other) => self.wrong_type(at, shape.name(), other),
        }
    }

    fn mapping(&mut self, keys: &'static Keys, map: &Map<String, Value>, at: &At<'_>) {
        for (key, value) in map {
            match keys.shapes.get(key) {
                Some(shape) => self.value(shape, value, &at.key(key)),
                None if is_free(key) => {}
                None => {
                    let at = at.key(key);
                    match misspelt_graph_key(keys, key, &at) {
                        Some(kind) => self.error(&at, kind),
                        None => self.warning_with(&at, || unknown_key(keys, key, &at)),
                    }
                }
            }
        }
        for key in &keys.required {
            let is_missing = match map.get(key) {
                None | Some(Value::Null) => true,
                Some(Value::String(text)) => text.trim().is_empty(),
                Some(_) => false,
            };
            if is_missing {
                self.error(&at.key(key), ProblemKind::Missing);
            }
        }
    }

    /// Checks that `text` is not longer than its database column.
    pub(super) fn length(&mut self, text: &str, max: usize, at: &At<'_>) {
        let length = text.chars().count();
        if length > max {
            self.error(at, ProblemKind::TooLong { length, max });
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
