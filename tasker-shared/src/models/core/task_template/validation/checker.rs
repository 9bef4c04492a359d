//! Reads values of an expected type and collects what is wrong with them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::Findings;
use crate::models::core::task_template::path::{At, clip};
use crate::models::core::task_template::problem::{ProblemKind, Problems};
use crate::models::core::task_template::suggestion::nearest;

/// Collects problems. Its readers answer None for what is missing, null or wrong; they tell only
/// of what is wrong.
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

    pub(super) fn error(&mut self, at: &At<'_>, kind: ProblemKind) {
        self.errors.push(None, at, kind);
    }

    pub(super) fn warning(&mut self, at: &At<'_>, kind: ProblemKind) {
        self.warnings.push(None, at, kind);
    }

    /// Whether further errors are only counted, so that looking for a suggestion is in vain.
    pub(super) fn is_full_of_errors(&self) -> bool {
        self.errors.is_full()
    }

    pub(super) fn is_full_of_warnings(&self) -> bool {
        self.warnings.is_full()
    }

    pub(super) fn wrong_type(&mut self, at: &At<'_>, expected: &'static str, found: &Value) {
        let found = type_name(found);
        self.error(at, ProblemKind::WrongType { expected, found });
    }

    /// The mapping under `key`.
    pub(super) fn mapping<'v>(
        &mut self,
        map: &'v Map<String, Value>,
        key: &str,
        at: &At<'_>,
    ) -> Option<&'v Map<String, Value>> {
        self.as_mapping(map.get(key)?, &at.key(key))
    }

    /// `value` as a mapping.
    pub(super) fn as_mapping<'v>(
        &mut self,
        value: &'v Value,
        at: &At<'_>,
    ) -> Option<&'v Map<String, Value>> {
        match value {
            Value::Object(map) => Some(map),
            Value::Null => None,
            other => {
                self.wrong_type(at, "a mapping", other);
                None
            }
        }
    }

    /// `value`, an item of a list, as a mapping; a null is no item.
    pub(super) fn item_as_mapping<'v>(
        &mut self,
        value: &'v Value,
        at: &At<'_>,
    ) -> Option<&'v Map<String, Value>> {
        if value.is_null() {
            self.wrong_type(at, "a mapping", value);
        }
        self.as_mapping(value, at)
    }

    /// The list under `key`, empty when there is none.
    pub(super) fn list<'v>(
        &mut self,
        map: &'v Map<String, Value>,
        key: &str,
        at: &At<'_>,
    ) -> &'v [Value] {
        match map.get(key) {
            Some(Value::Array(items)) => items,
            Some(Value::Null) | None => &[],
            Some(other) => {
                self.wrong_type(&at.key(key), "a list", other);
                &[]
            }
        }
    }

    /// The text under `key`.
    pub(super) fn text<'v>(
        &mut self,
        map: &'v Map<String, Value>,
        key: &str,
        at: &At<'_>,
    ) -> Option<&'v str> {
        match map.get(key)? {
            Value::String(text) => Some(text),
            Value::Null => None,
            other => {
                self.wrong_type(&at.key(key), "text", other);
                None
            }
        }
    }

    /// The text under `key`, which has to be there and say something.
    pub(super) fn required_text<'v>(
        &mut self,
        map: &'v Map<String, Value>,
        key: &str,
        at: &At<'_>,
    ) -> Option<&'v str> {
        let value = map.get(key).unwrap_or(&Value::Null);
        let text = match value {
            Value::String(text) => text.as_str(),
            Value::Null => "",
            other => {
                self.wrong_type(&at.key(key), "text", other);
                return None;
            }
        };
        if text.trim().is_empty() {
            self.error(&at.key(key), ProblemKind::Missing);
            return None;
        }
        Some(text)
    }

    /// The whole number under `key`.
    pub(super) fn whole_number(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        at: &At<'_>,
        range: &RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = map.get(key)?;
        let number = match value {
            Value::Number(number) => number,
            Value::Null => return None,
            other => {
                self.wrong_type(&at.key(key), "a whole number", other);
                return None;
            }
        };
        let fitting = number.as_u64().filter(|number| range.contains(number));
        if fitting.is_none() {
            let kind = ProblemKind::OutOfRange {
                value: number.to_string(),
                min: *range.start(),
                max: *range.end(),
            };
            self.error(&at.key(key), kind);
        }
        fitting
    }

    /// The boolean under `key`.
    pub(super) fn boolean(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        at: &At<'_>,
    ) -> Option<bool> {
        match map.get(key)? {
            Value::Bool(is) => Some(*is),
            Value::Null => None,
            other => {
                self.wrong_type(&at.key(key), "true or false", other);
                None
            }
        }
    }

    /// The text under `key`, which has to be one of `known`.
    pub(super) fn one_of<'v>(
        &mut self,
        map: &'v Map<String, Value>,
        key: &str,
        at: &At<'_>,
        known: &'static [&'static str],
    ) -> Option<&'v str> {
        let text = self.text(map, key, at)?;
        if known.contains(&text) {
            return Some(text);
        }
        self.error(&at.key(key), unknown_value(text, known));
        None
    }

    /// The text under `key`, which is doubtful when it is none of `known`: nothing here depends
    /// on it, and other releases may know more.
    pub(super) fn usually_one_of(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        at: &At<'_>,
        known: &'static [&'static str],
    ) {
        if let Some(text) = self.text(map, key, at)
            && !known.contains(&text)
        {
            self.warning(&at.key(key), unknown_value(text, known));
        }
    }

    /// Doubts keys that are nearly a known one. Others are the author's own, and none of our
    /// business.
    pub(super) fn misspelt_keys(
        &mut self,
        map: &Map<String, Value>,
        at: &At<'_>,
        known: &'static [&'static str],
    ) {
        for key in map.keys() {
            if self.is_full_of_warnings() || known.contains(&key.as_str()) {
                continue;
            }
            if let Some(known) = nearest(key, known.iter().copied()) {
                let key = clip(key);
                self.warning(at, ProblemKind::PerhapsMisspelt { key, known });
            }
        }
    }
}

fn unknown_value(text: &str, known: &'static [&'static str]) -> ProblemKind {
    ProblemKind::UnknownValue {
        value: clip(text),
        known,
        suggestion: nearest(text, known.iter().copied()),
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
