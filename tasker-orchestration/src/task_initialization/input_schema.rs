//! A template's `input_schema`, compiled.

use jsonschema::Validator;
use serde_json::Value;
use tasker_shared::models::core::task_template::FreeForm;
use tasker_shared::models::core::task_template::input_schema::{self, InputSchemaError};

use super::errors::Violation;

/// A context with more violations than this is wrong enough; a hostile one could have millions.
const MAX_VIOLATIONS: usize = 100;

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

    fn compile(schema: &Value) -> Result<Self, InputSchemaError> {
        input_schema::compile(schema).map(Self)
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
    fn a_hostile_context_does_not_make_an_endless_answer() {
        let schema = InputSchema::compile(&json!({"items": {"type": "string"}})).unwrap();
        let context = json!(vec![0; MAX_VIOLATIONS * 10]);
        assert_eq!(schema.violations(&context).len(), MAX_VIOLATIONS);
    }
}
