//! Differences between two JSON values, by path.

use serde::Serialize;
use serde_json::Value;

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Change {
    /// The path of the value, such as `handler.initialization.url`.
    pub(super) path: String,
    /// The value before; nothing if there was none.
    pub(super) before: Option<Value>,
    /// The value after; nothing if there is none.
    pub(super) after: Option<Value>,
}

impl Change {
    /// Returns the change as `path: before -> after`.
    pub(super) fn text(&self) -> String {
        let shown = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => String::from("(none)"),
        };
        format!(
            "{}: {} -> {}",
            self.path,
            shown(&self.before),
            shown(&self.after)
        )
    }
}

/// Returns the differing leaves below two values, in the order of keys. Lists are leaves.
pub(super) fn between(path: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<Change> {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            keys.into_iter()
                .flat_map(|key| {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    between(&path, before.get(key), after.get(key))
                })
                .collect()
        }
        (before, after) if before == after => Vec::new(),
        (before, after) => vec![Change {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::between;

    #[test]
    fn differing_leaves_are_listed_with_their_paths() {
        let before = json!({"a": {"b": 1, "c": [1]}, "same": null});
        let after = json!({"a": {"c": [2], "d": "x"}, "same": null});
        let texts: Vec<_> = between("s", Some(&before), Some(&after))
            .iter()
            .map(super::Change::text)
            .collect();
        assert_eq!(
            texts,
            [
                "s.a.b: 1 -> (none)",
                "s.a.c: [1] -> [2]",
                "s.a.d: (none) -> \"x\""
            ]
        );
    }
}
