//! Checks that PostgreSQL can store a document and that JSON readers can read it again.

use serde_json::Value;

use super::checker::Checker;
use crate::limits::MAX_DEPTH;
use crate::path::At;
use crate::problem::ProblemKind;

/// Reports NUL characters, which PostgreSQL refuses, and too deep nesting, at which the recursion
/// ends.
pub(super) fn check(checker: &mut Checker, value: &Value, at: &At<'_>, depth: usize) {
    let is_collection = value.is_array() || value.is_object();
    if is_collection && depth >= MAX_DEPTH {
        checker.error(at, ProblemKind::TooDeep { limit: MAX_DEPTH });
        return;
    }
    match value {
        Value::String(text) if text.contains('\0') => {
            checker.error(at, ProblemKind::NulCharacter);
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(checker, item, &at.index(index), depth + 1);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let at = at.key(key);
                if key.contains('\0') {
                    checker.error(&at, ProblemKind::NulCharacter);
                }
                check(checker, item, &at, depth + 1);
            }
        }
        _ => {}
    }
}
