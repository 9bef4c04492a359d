//! Checks the free JSON of a request: its `context` and `options`. Runs in the [check
//! pool](super::check_pool), because the JSON may be large and the check expensive.

use std::time::Duration;

use serde_json::Value;
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::models::core::task_template::FreeForm;
use tasker_shared::models::core::task_template::input_schema::{Budget, InputSchema};

use super::errors::{TaskInitializationError as Error, Violation};
use super::numbers;

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
/// The most bytes of pointers to large integers but for the last one. A key may be as long as the body.
const MAX_POINTERS: usize = 64 * 1024;

/// A context without violations.
#[derive(Debug)]
pub(super) struct Checked {
    /// The context as a tree, whose numbers are rounded to 64 bits.
    pub(super) context: Value,
    /// A hash of the place and the digits of each number that lost digits in the tree, sorted.
    pub(super) rounded: Vec<[u8; 32]>,
}

/// Checks the JSON of `request`, and returns its context.
pub(super) fn check(
    request: &TaskRequest,
    schema: Option<&InputSchema>,
    budget: Budget,
) -> Result<Checked, Error> {
    let mut violations = Vec::new();
    let mut rounded = Vec::new();
    let context = read("/context", &request.context, &mut violations, |digits| {
        rounded.push(digits);
    });
    if let Some(options) = &request.options {
        read("/options", options, &mut violations, drop);
    }
    rounded.sort_unstable();
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
    Ok(Checked { context, rounded })
}

/// Returns the places of `json` that cannot be stored without loss.
pub(crate) fn lossy_integers(json: &FreeForm) -> Vec<Violation> {
    let mut violations = Vec::new();
    read("", json, &mut violations, drop);
    violations
}

/// Reads JSON. Adds a violation for each integer beyond 64 bits, which handlers would get without its last
/// digits, and calls `rounded` for each other number that loses digits.
fn read(
    pointer: &str,
    json: &FreeForm,
    violations: &mut Vec<Violation>,
    mut rounded: impl FnMut([u8; 32]),
) -> Option<Value> {
    let value = json.to_value().inspect_err(|error| {
        violations.push(Violation::new(pointer, format!("cannot be read: {error}")));
    });
    let value = value.ok()?;
    let mut pointers = 0;
    numbers::visit_numbers(json.as_json(), |place, number| {
        if !numbers::is_large_integer(number) {
            numbers::rounded(place, number)
                .into_iter()
                .for_each(&mut rounded);
        } else if violations.len() < MAX_VIOLATIONS && pointers < MAX_POINTERS {
            let pointer = place.pointer(pointer);
            pointers += pointer.len();
            violations.push(Violation::new(
                pointer,
                "is an integer beyond 64 bits, which would lose digits; send it as a string",
            ));
        }
    });
    Some(value)
}

#[cfg(test)]
mod tests {
    use tasker_shared::models::core::task_request::TaskRequest;
    use tasker_shared::models::core::task_template::FreeForm;

    use super::super::errors::TaskInitializationError as Error;
    use super::{MAX_POINTERS, MAX_VIOLATIONS, QUICK, check};

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
        let long_key = many.replace('a', &"a".repeat(MAX_POINTERS));
        assert_eq!(pointers(&long_key).len(), 1);
    }
}
