//! A template's `input_schema`, compiled.

use jsonschema::{Retrieve, Uri, Validator};
use serde_json::Value;
use tasker_shared::models::core::task_template::FreeForm;

use super::errors::Violation;

/// A context with more violations than this is wrong enough; a hostile one could have millions.
const MAX_VIOLATIONS: usize = 100;

/// Why an input schema cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputSchemaError {
    /// It is no JSON that can be read: nested too deeply, or with a number out of range.
    #[error("it cannot be read as JSON")]
    Unreadable(#[source] serde_json::Error),
    /// It is no JSON Schema.
    #[error("{reason} (at {location} of input_schema)")]
    Invalid {
        /// What is wrong with it, without its values.
        reason: String,
        /// A JSON pointer into the schema.
        location: String,
    },
}

/// Refuses `$ref`s that leave the schema: a template must not make the service send requests.
struct NothingRemote;

/// A schema refers to a document that it does not hold.
#[derive(Debug, thiserror::Error)]
#[error("`$ref` to {uri} is not allowed; put the definition into the schema's `$defs`")]
struct RemoteReference {
    uri: String,
}

impl Retrieve for NothingRemote {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(Box::new(RemoteReference {
            uri: uri.to_string(),
        }))
    }
}

/// A compiled schema.
///
/// Drafts 4 to 2020-12, as `$schema` says, 2020-12 without it. `format` is checked where its draft
/// says that it is: not in 2019-09 and later.
#[derive(Debug)]
pub(super) struct InputSchema(Validator);

impl InputSchema {
    /// Compiles the schema that a template holds.
    pub(super) fn read(schema: &FreeForm) -> Result<Self, InputSchemaError> {
        Self::compile(&schema.to_value().map_err(InputSchemaError::Unreadable)?)
    }

    /// Compiles `schema`.
    fn compile(schema: &Value) -> Result<Self, InputSchemaError> {
        jsonschema::options()
            .with_retriever(NothingRemote)
            .build(schema)
            .map(Self)
            .map_err(|error| InputSchemaError::Invalid {
                reason: error.masked().to_string(),
                location: root_or(error.instance_path().as_str()),
            })
    }

    /// What is wrong with `context`; pointers are into the request. Values are not repeated.
    pub(super) fn violations(&self, context: &Value) -> Vec<Violation> {
        self.0
            .iter_errors(context)
            .take(MAX_VIOLATIONS)
            .map(|error| {
                Violation::new(
                    format!("/context{}", error.instance_path().as_str()),
                    error.masked().to_string(),
                )
            })
            .collect()
    }
}

fn root_or(pointer: &str) -> String {
    if pointer.is_empty() {
        String::from("the top")
    } else {
        pointer.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{InputSchema, MAX_VIOLATIONS};

    #[test]
    fn every_violation_is_located_and_no_value_is_repeated() {
        let schema = InputSchema::compile(&json!({
            "type": "object",
            "required": ["order_id"],
            "properties": {
                "amount": {"type": "number", "minimum": 0},
                "lines": {"type": "array", "items": {"type": "object", "required": ["a/b"]}},
            },
        }))
        .unwrap();
        let violations = schema.violations(&json!({
            "amount": "hunter2",
            "lines": [{"a/b": 1}, {}],
        }));
        let found: Vec<_> = violations.iter().map(|v| v.pointer.as_str()).collect();
        assert_eq!(found.len(), 3, "{violations:?}");
        for pointer in ["/context", "/context/amount", "/context/lines/1"] {
            assert!(found.contains(&pointer), "{violations:?}");
        }
        assert!(violations.iter().all(|v| !v.message.contains("hunter2")));
        assert!(schema.violations(&json!({"order_id": 1})).is_empty());
    }

    #[test]
    fn a_schema_that_leads_elsewhere_is_refused() {
        for uri in [
            "http://127.0.0.1:1/x.json",
            "file:///etc/passwd",
            "other.json",
        ] {
            let error = InputSchema::compile(&json!({"$ref": uri})).unwrap_err();
            assert!(!error.to_string().contains("root:"), "{error}");
        }
        assert!(InputSchema::compile(&json!({"$ref": "#/$defs/a", "$defs": {"a": {}}})).is_ok());
    }

    #[test]
    fn a_schema_that_is_none_is_an_error() {
        for schema in [json!({"type": "integr"}), json!({"pattern": "("}), json!(7)] {
            assert!(InputSchema::compile(&schema).is_err(), "{schema}");
        }
    }

    #[test]
    fn a_hostile_context_does_not_make_an_endless_answer() {
        let schema = InputSchema::compile(&json!({"items": {"type": "string"}})).unwrap();
        let context = json!(vec![0; MAX_VIOLATIONS * 10]);
        assert_eq!(schema.violations(&context).len(), MAX_VIOLATIONS);
    }
}
