//! Checks a request, apart from its template and its free JSON.

use chrono::{DateTime, Datelike, Utc};
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::models::core::task_template::FreeForm;

use super::errors::Violation;

/// The width of the columns of `tasker.named_tasks`, `tasker.task_namespaces` and `tasker.tasks`, in
/// characters.
const MAX_NAME: usize = 64;
const MAX_VERSION: usize = 16;
const MAX_TEXT: usize = 128;
const MAX_TAGS: usize = 64;
const MAX_IDEMPOTENCY_KEY: usize = 255;
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;

/// Returns all violations of `request`.
pub(super) fn violations(request: &TaskRequest) -> Vec<Violation> {
    let mut found = Vec::new();
    for (pointer, text, max) in [
        ("/name", &request.name, MAX_NAME),
        ("/namespace", &request.namespace, MAX_NAME),
        ("/version", &request.version, MAX_VERSION),
    ] {
        if text.is_empty() {
            found.push(Violation::new(pointer, "must not be empty"));
        }
        check_text(&mut found, pointer, text, max);
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
    check_json(&mut found, "/context", &request.context);
    if let Some(options) = &request.options {
        check_json(&mut found, "/options", options);
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

/// Checks as much of free JSON as its text shows.
fn check_json(found: &mut Vec<Violation>, pointer: &str, json: &FreeForm) {
    if !json.as_json().starts_with('{') {
        found.push(Violation::new(pointer, "must be an object"));
    }
    if has_nul(json.as_json()) {
        // Naming the exact key would need a parser.
        found.push(Violation::new(
            pointer,
            "must not contain the character U+0000 anywhere, which PostgreSQL cannot store",
        ));
    }
}

/// Returns true if a string of this JSON text contains U+0000, which JSON can only escape.
fn has_nul(json: &str) -> bool {
    json.match_indices(r"\u0000").any(|(position, _)| {
        // After an odd number of backslashes, this one is itself escaped.
        let before = json.as_bytes()[..position].iter().rev();
        before.take_while(|byte| **byte == b'\\').count() % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
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
        assert!(pointers(|r| r.name = "ü".repeat(64)).is_empty());
        assert_eq!(pointers(|r| r.name = "ü".repeat(65)), ["/name"]);
        assert_eq!(pointers(|r| r.namespace = "n".repeat(65)), ["/namespace"]);
        assert_eq!(pointers(|r| r.version = "1".repeat(17)), ["/version"]);
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
        let context = |context: Value| pointers(|request| request.context = context.into());
        assert_eq!(context(json!([1])), ["/context"]);
        assert_eq!(context(json!(null)), ["/context"]);
        assert_eq!(context(json!({"a": [{"b": "\0"}]})), ["/context"]);
        assert_eq!(context(json!({"a\0": 1})), ["/context"]);
        assert!(context(json!({"a": "\\u0000"})).is_empty());
        assert_eq!(context(json!({"a": "\\\0"})), ["/context"]);
        assert_eq!(
            pointers(|request| request.options = Some(json!("x").into())),
            ["/options"]
        );
    }

    #[test]
    fn a_time_that_timestamptz_cannot_hold_is_refused() {
        let far = "+262000-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(pointers(|r| r.requested_at = Some(far)), ["/requested_at"]);
    }
}
