//! What is wrong with a request, whatever its template.

use chrono::{DateTime, Datelike, Utc};
use serde_json::Value;
use tasker_shared::models::core::task_request::TaskRequest;

use super::errors::Violation;

/// What the columns of `tasker.tasks` hold, in characters.
const MAX_TEXT: usize = 128;
const MAX_TAGS: usize = 64;
const MAX_IDEMPOTENCY_KEY: usize = 255;
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;

/// Everything that is wrong with `request`.
pub(super) fn violations(request: &TaskRequest) -> Vec<Violation> {
    let mut found = Vec::new();
    for (pointer, text) in [
        ("/name", &request.name),
        ("/namespace", &request.namespace),
        ("/version", &request.version),
    ] {
        if text.is_empty() {
            found.push(Violation::new(pointer, "must not be empty"));
        }
        check_nul(&mut found, pointer, text);
    }
    for (pointer, text) in [
        ("/initiator", &request.initiator),
        ("/source_system", &request.source_system),
        ("/reason", &request.reason),
    ] {
        check_text(&mut found, pointer, text, MAX_TEXT);
    }
    if request.tags.len() > MAX_TAGS {
        found.push(Violation::new(
            "/tags",
            format!("must have at most {MAX_TAGS} items"),
        ));
    } else {
        for (position, tag) in request.tags.iter().enumerate() {
            check_text(&mut found, &format!("/tags/{position}"), tag, MAX_TEXT);
        }
    }
    check_object(&mut found, "/context", &request.context);
    if let Some(options) = &request.options {
        check_object(&mut found, "/options", options);
    }
    if let Some(key) = &request.idempotency_key {
        if key.is_empty() {
            found.push(Violation::new("/idempotency_key", "must not be empty"));
        }
        check_text(&mut found, "/idempotency_key", key, MAX_IDEMPOTENCY_KEY);
    }
    if request.requested_at.is_some_and(|time| !is_storable(time)) {
        found.push(Violation::new(
            "/requested_at",
            format!(
                "must be within the years {} to {}",
                YEARS.start(),
                YEARS.end()
            ),
        ));
    }
    found
}

fn is_storable(time: DateTime<Utc>) -> bool {
    YEARS.contains(&time.year())
}

fn check_text(found: &mut Vec<Violation>, pointer: &str, text: &str, max: usize) {
    if text.chars().count() > max {
        found.push(Violation::new(
            pointer,
            format!("must have at most {max} characters"),
        ));
    }
    check_nul(found, pointer, text);
}

fn check_nul(found: &mut Vec<Violation>, pointer: &str, text: &str) {
    if text.contains('\0') {
        found.push(Violation::new(
            pointer,
            "must not contain the character U+0000, which PostgreSQL cannot store",
        ));
    }
}

fn check_object(found: &mut Vec<Violation>, pointer: &str, value: &Value) {
    if !value.is_object() {
        found.push(Violation::new(pointer, "must be an object"));
    } else if has_nul(value) {
        // Where exactly would need a path for every value that is looked at.
        found.push(Violation::new(
            pointer,
            "must not contain the character U+0000 anywhere, which PostgreSQL cannot store",
        ));
    }
}

/// Recursion is as deep as the value, which the JSON reader limits to 128 levels.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tasker_shared::models::core::task_request::TaskRequest;

    use super::violations;

    fn pointers(change: impl FnOnce(&mut TaskRequest)) -> Vec<String> {
        let mut request = TaskRequest::new("order", "shop");
        change(&mut request);
        violations(&request)
            .into_iter()
            .map(|v| v.pointer)
            .collect()
    }

    #[test]
    fn the_defaults_are_valid() {
        assert!(pointers(|_| {}).is_empty());
    }

    #[test]
    fn text_that_its_column_cannot_hold_is_refused() {
        assert_eq!(pointers(|r| r.name.clear()), ["/name"]);
        assert_eq!(pointers(|r| r.version = "1\0".into()), ["/version"]);
        assert!(pointers(|r| r.reason = "ü".repeat(128)).is_empty());
        assert_eq!(pointers(|r| r.reason = "ü".repeat(129)), ["/reason"]);
        assert_eq!(
            pointers(|r| r.tags = vec!["a".into(), "\0".into()]),
            ["/tags/1"]
        );
        assert_eq!(pointers(|r| r.tags = vec![String::new(); 65]), ["/tags"]);
        assert_eq!(
            pointers(|r| r.idempotency_key = Some(String::new())),
            ["/idempotency_key"]
        );
    }

    #[test]
    fn a_context_that_jsonb_cannot_hold_is_refused() {
        assert_eq!(pointers(|r| r.context = json!([1])), ["/context"]);
        assert_eq!(pointers(|r| r.context = json!(null)), ["/context"]);
        assert_eq!(
            pointers(|r| r.context = json!({"a": [{"b": "\0"}]})),
            ["/context"]
        );
        assert_eq!(pointers(|r| r.context = json!({"a\0": 1})), ["/context"]);
        assert_eq!(pointers(|r| r.options = Some(json!("x"))), ["/options"]);
    }

    #[test]
    fn a_time_that_timestamptz_cannot_hold_is_refused() {
        let far = "+262000-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(pointers(|r| r.requested_at = Some(far)), ["/requested_at"]);
    }
}
