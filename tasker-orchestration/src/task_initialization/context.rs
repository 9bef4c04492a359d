//! Checks the free JSON of a request: its `context` and `options`. Runs in the [check
//! pool](super::check_pool), because the JSON may be large and the check expensive.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::models::core::task_template::FreeForm;
use tasker_shared::models::core::task_template::input_schema::{Budget, InputSchema};

use super::errors::{TaskInitializationError as Error, Violation};

/// The budget of a first check, which nearly all contexts stay within: some 10 ms of one core.
pub(super) const QUICK: Budget = Budget {
    steps: 100_000,
    time: Duration::from_millis(50),
    stack: 2 * 1024 * 1024,
};
/// The budget of a check of its own: some 200 ms of one core. A valid context of 1 MB takes a tenth of it
/// with an ordinary schema.
pub(super) const THOROUGH: Budget = Budget {
    steps: 2_000_000,
    time: Duration::from_millis(500),
    ..QUICK
};
/// The most violations that are reported.
const MAX_VIOLATIONS: usize = 100;

/// Checks the JSON of `request`, and returns its context as a tree.
pub(super) fn check(
    request: &TaskRequest,
    schema: Option<&InputSchema>,
    budget: Budget,
) -> Result<Value, Error> {
    let mut violations = Vec::new();
    let context = read("/context", &request.context, &mut violations);
    if let Some(options) = &request.options {
        read("/options", options, &mut violations);
    }
    let context = context.filter(|_| violations.is_empty());
    let Some(context) = context else {
        return Err(Error::Invalid(violations));
    };
    if let Some(schema) = schema {
        let violations = schema
            .violations(&context, budget)
            .map_err(|_exceeded| Error::ContextTooComplex)?;
        if !violations.is_empty() {
            let violations = violations.into_iter().map(|violation| {
                Violation::new(format!("/context{}", violation.pointer), violation.message)
            });
            return Err(Error::Context(violations.collect()));
        }
    }
    Ok(context)
}

/// Returns the places of `json` that cannot be stored without loss.
pub(crate) fn lossy_integers(json: &FreeForm) -> Vec<Violation> {
    let mut violations = Vec::new();
    read("", json, &mut violations);
    violations
}

/// Reads JSON that can be stored without loss.
fn read(pointer: &str, json: &FreeForm, violations: &mut Vec<Violation>) -> Option<Value> {
    let value = json.to_value().inspect_err(|error| {
        violations.push(Violation::new(pointer, format!("cannot be read: {error}")));
    });
    let value = value.ok()?;
    if has_large_number(&value)
        && let Ok(raw) = serde_json::from_str(json.as_json())
    {
        large_integers(pointer, raw, &value, violations);
    }
    Some(value)
}

/// Returns true if `value` contains a number that may have been an integer beyond 64 bits, which the
/// JSON reader rounds to a float.
fn has_large_number(value: &Value) -> bool {
    match value {
        // The first integers that do not fit are 2^64 and -2^63 - 1.
        Value::Number(number) => number
            .as_f64()
            .is_some_and(|float| number.is_f64() && float.abs() >= 9.2e18),
        Value::Array(items) => items.iter().any(has_large_number),
        Value::Object(members) => members.values().any(has_large_number),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// Adds a violation for each integer beyond 64 bits, because two of them could become one float and,
/// with it, one task. Numbers that are written with a fraction or an exponent are floats anyway.
fn large_integers(pointer: &str, raw: &RawValue, value: &Value, violations: &mut Vec<Violation>) {
    if violations.len() >= MAX_VIOLATIONS || !has_large_number(value) {
        return;
    }
    match value {
        Value::Number(_) => {
            if !raw.get().contains(['.', 'e', 'E']) {
                violations.push(Violation::new(
                    pointer,
                    "is an integer beyond 64 bits, which would lose digits; send it as a string",
                ));
            }
        }
        Value::Array(items) => {
            let raws: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
            for (index, (raw, item)) in raws.into_iter().zip(items).enumerate() {
                large_integers(&format!("{pointer}/{index}"), raw, item, violations);
            }
        }
        Value::Object(members) => {
            let raws: BTreeMap<String, &RawValue> =
                serde_json::from_str(raw.get()).unwrap_or_default();
            for (key, raw) in raws {
                if let Some(member) = members.get(&key) {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    large_integers(&format!("{pointer}/{key}"), raw, member, violations);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use tasker_shared::models::core::task_request::TaskRequest;
    use tasker_shared::models::core::task_template::FreeForm;

    use super::super::errors::TaskInitializationError as Error;
    use super::{MAX_VIOLATIONS, QUICK, check};

    fn free_form(json: &str) -> FreeForm {
        serde_json::from_str(json).unwrap()
    }

    fn pointers(context: &str) -> Vec<String> {
        let mut request = TaskRequest::new("order", "shop");
        request.context = free_form(context);
        match check(&request, None, QUICK) {
            Ok(_) => Vec::new(),
            Err(Error::Invalid(violations)) => violations
                .into_iter()
                .map(|violation| violation.pointer)
                .collect(),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_context_that_cannot_be_read_is_refused() {
        assert!(pointers("{}").is_empty());
        for context in [r#"{"a": 1e999}"#, r#"{"a": "\ud800"}"#] {
            assert_eq!(pointers(context), ["/context"], "{context}");
        }
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(pointers(&deep), ["/context"]);
        let mut request = TaskRequest::new("order", "shop");
        request.options = Some(free_form(&deep));
        assert!(matches!(
            check(&request, None, QUICK),
            Err(Error::Invalid(_))
        ));
    }

    #[test]
    fn an_integer_that_would_lose_digits_is_named() {
        for (context, expected) in [
            (
                r#"{"a": 18446744073709551615, "b": -9223372036854775808}"#,
                &[][..],
            ),
            (
                r#"{"a": 1e30, "b": 6.02214076e23, "c": 18446744073709551616.0}"#,
                &[],
            ),
            (r#"{"a": 18446744073709551616}"#, &["/context/a"]),
            (r#"{"a": -9223372036854775809}"#, &["/context/a"]),
            (
                r#"{"a": {"x/y": [1, {"n": 18446744073709551617}]}, "b": [1e30, 100000000000000000000]}"#,
                &["/context/a/x~1y/1/n", "/context/b/1"],
            ),
        ] {
            assert_eq!(pointers(context), expected, "{context}");
        }
        let many = format!("{{\"a\": [{}0]}}", "99999999999999999999, ".repeat(1_000));
        assert_eq!(pointers(&many).len(), MAX_VIOLATIONS);
    }
}
