//! The identity of a request: requests with one identity make one task.

use serde_json::Value;
use sha2::{Digest, Sha256};
use tasker_shared::models::core::identity_strategy::IdentityStrategy;
use uuid::Uuid;

use super::context::Checked;

/// Returns the identity of a request for `named_task`, or `None` if the strategy needs a key and there is
/// none. A given key decides, with every strategy.
pub(super) fn identity_hash(
    strategy: IdentityStrategy,
    named_task: Uuid,
    Checked { context, rounded }: &Checked,
    idempotency_key: Option<&str>,
) -> Option<String> {
    // The first byte distinguishes a key from a context.
    let mut hasher = Sha256::new();
    match (idempotency_key, strategy) {
        (Some(key), _) => {
            hasher.update(b"k");
            hasher.update(named_task);
            hasher.update(key);
        }
        (None, IdentityStrategy::Strict) => {
            hasher.update(b"c");
            hasher.update(named_task);
            feed(&mut hasher, context);
            // Only these, so that other contexts keep the identity that they had before.
            for digits in rounded {
                hasher.update(digits);
            }
        }
        (None, IdentityStrategy::CallerProvided) => return None,
        (None, IdentityStrategy::AlwaysUnique) => {
            hasher.update(b"u");
            hasher.update(Uuid::now_v7());
        }
    }
    Some(hex::encode(hasher.finalize()))
}

/// Hashes a value so that the order of an object's keys does not matter and all else does: every part
/// has a tag, and texts and containers have their length.
///
/// Recursion is as deep as the value, which the JSON reader limits to 128 levels.
fn feed(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(false) => hasher.update(b"f"),
        Value::Bool(true) => hasher.update(b"t"),
        Value::Number(number) => feed_text(hasher, b"#", &number.to_string()),
        Value::String(text) => feed_text(hasher, b"s", text),
        Value::Array(items) => {
            feed_length(hasher, b"a", items.len());
            for item in items {
                feed(hasher, item);
            }
        }
        Value::Object(members) => {
            feed_length(hasher, b"o", members.len());
            // Sorted here, because the map's own order depends on features of `serde_json`.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in members {
                feed_text(hasher, b"s", key);
                feed(hasher, value);
            }
        }
    }
}

fn feed_text(hasher: &mut Sha256, tag: &[u8], text: &str) {
    feed_length(hasher, tag, text.len());
    hasher.update(text);
}

fn feed_length(hasher: &mut Sha256, tag: &[u8], length: usize) {
    hasher.update(tag);
    hasher.update((length as u64).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tasker_shared::models::core::identity_strategy::IdentityStrategy::{
        self, AlwaysUnique, CallerProvided, Strict,
    };
    use tasker_shared::models::core::task_request::TaskRequest;
    use uuid::Uuid;

    use super::super::context::{Checked, QUICK, check};

    fn checked(context: &Value) -> Checked {
        let mut request = TaskRequest::new("order", "shop");
        request.context = context.clone().into();
        check(&request, None, QUICK).unwrap()
    }

    fn identity(strategy: IdentityStrategy, context: &Value, key: Option<&str>) -> Option<String> {
        super::identity_hash(strategy, Uuid::nil(), &checked(context), key)
    }

    #[test]
    fn digits_beyond_a_float_count_and_other_identities_stay() {
        let identity = |json: &str| {
            let mut request = TaskRequest::new("order", "shop");
            request.context = serde_json::from_str(json).unwrap();
            let context = check(&request, None, QUICK).unwrap();
            super::identity_hash(Strict, Uuid::nil(), &context, None).unwrap()
        };
        let one = identity(r#"{"amount": 12345678901234567.89}"#);
        assert_eq!(one, identity(r#"{"amount":  1234567890123456789e-2}"#));
        for other in ["67.91", "67.9", "68"] {
            let other = identity(&format!("{{\"amount\": 123456789012345{other}}}"));
            assert_ne!(one, other);
        }
        // As the first release computed it.
        assert_eq!(
            identity(r#"{"b": [1, 2.50, 1e30], "a": 0.30000000000000004, "c": null}"#),
            "d50cdcfecf4b2b80b9aa8865c863b1970ed5763d4980d9f4ce11555ea0f84a17"
        );
    }

    #[test]
    fn strict_identity_ignores_the_order_of_keys() {
        let one: Value =
            serde_json::from_str(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#).unwrap();
        let two: Value =
            serde_json::from_str(r#"{"b": {"d": null, "c": [1, 2]}, "a": 1}"#).unwrap();
        assert_eq!(identity(Strict, &one, None), identity(Strict, &two, None));
        for other in [
            json!({"a": 1, "b": {"c": [2, 1], "d": null}}),
            json!({"a": "1", "b": {"c": [1, 2], "d": null}}),
            json!({"a": 1, "b": {"c": [1, 2]}}),
            json!({"a": 1, "b": {"c": [1, 2, null], "d": null}}),
        ] {
            assert_ne!(identity(Strict, &one, None), identity(Strict, &other, None));
        }
        let other_task = super::identity_hash(Strict, Uuid::max(), &checked(&one), None);
        assert_ne!(identity(Strict, &one, None), other_task);
    }

    #[test]
    fn a_key_decides_with_every_strategy() {
        let (one, two) = (json!({"a": 1}), json!({"a": 2}));
        for strategy in [Strict, CallerProvided, AlwaysUnique] {
            let first = identity(strategy, &one, Some("order-7"));
            assert!(first.is_some());
            assert_eq!(first, identity(strategy, &two, Some("order-7")));
            assert_ne!(first, identity(strategy, &one, Some("order-8")));
        }
    }

    #[test]
    fn without_a_key_caller_provided_has_no_identity_and_always_unique_a_new_one() {
        assert_eq!(identity(CallerProvided, &json!({}), None), None);
        let first = identity(AlwaysUnique, &json!({}), None);
        assert!(first.is_some());
        assert_ne!(first, identity(AlwaysUnique, &json!({}), None));
    }
}
