//! Applies the overrides of an environment to a registered document.

use serde_json::Value;
use serde_json::value::to_raw_value;
use tasker_shared::models::core::task_template::apply_environment;
use tasker_shared::types::Document;

/// Returns `document` with the overrides of `environment` applied, or `None` if they change nothing,
/// so that the registered document can be shared.
pub(crate) fn override_document(
    document: &Document,
    environment: &str,
) -> Result<Option<Document>, serde_json::Error> {
    let registered: Value = serde_json::from_str(document.get())?;
    let overridden = apply_environment(&registered, environment);
    if overridden == registered {
        return Ok(None);
    }
    to_raw_value(&overridden).map(|raw| Some(raw.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use tasker_shared::types::Document;

    use super::override_document;

    fn document(value: &Value) -> Document {
        to_raw_value(value).unwrap().into()
    }

    #[test]
    fn a_document_that_an_environment_does_not_change_is_not_copied() {
        let document = document(&json!({
            "name": "task",
            "steps": [{"name": "only", "timeout_seconds": 5}],
        }));
        assert!(override_document(&document, "test").unwrap().is_none());
    }

    #[test]
    fn an_environment_changes_its_own_steps_only() {
        let document = document(&json!({
            "name": "task",
            "steps": [
                {"name": "first", "timeout_seconds": 5},
                {"name": "second", "timeout_seconds": 5},
            ],
            "environments": {
                "test": {"steps": [{"name": "first", "timeout_seconds": 1}]},
            },
        }));

        let overridden = override_document(&document, "test").unwrap().unwrap();
        let overridden: Value = serde_json::from_str(overridden.get()).unwrap();
        assert_eq!(overridden["steps"][0]["timeout_seconds"], 1);
        assert_eq!(overridden["steps"][1]["timeout_seconds"], 5);
    }
}
