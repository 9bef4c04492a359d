//! Compiles a template's `input_schema`.

use jsonschema::{Retrieve, Uri, Validator};
use serde_json::Value;

/// An input schema cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputSchemaError {
    /// It is not readable as JSON: it is nested too deeply, or a number is out of range.
    #[error("it cannot be read as JSON")]
    Unreadable(#[source] serde_json::Error),
    /// It is not a JSON Schema.
    #[error("{reason} (at {} of input_schema)", shown(.location))]
    Invalid {
        /// The problem, without the schema's values.
        reason: String,
        /// A JSON pointer into the schema.
        location: String,
    },
}

/// Refuses each `$ref` to another document, because a template must not make the service send
/// requests.
struct NothingRemote;

/// A schema refers to another document.
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

/// Compiles `schema`.
///
/// `$schema` selects draft 4 to 2020-12; without it 2020-12 applies. `format` is checked only in
/// drafts before 2019-09.
///
/// # Errors
/// [`InputSchemaError::Invalid`] if it is not a JSON Schema, or refers to another document.
pub fn compile(schema: &Value) -> Result<Validator, InputSchemaError> {
    jsonschema::options()
        .with_retriever(NothingRemote)
        .build(schema)
        .map_err(|error| InputSchemaError::Invalid {
            reason: error.masked().to_string(),
            location: error.instance_path().as_str().to_owned(),
        })
}

fn shown(pointer: &str) -> &str {
    if pointer.is_empty() {
        "the top"
    } else {
        pointer
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::compile;

    #[test]
    fn a_schema_that_leads_elsewhere_is_refused() {
        for uri in [
            "http://127.0.0.1:1/x.json",
            "file:///etc/passwd",
            "other.json",
        ] {
            let error = compile(&json!({"$ref": uri})).unwrap_err();
            assert!(!error.to_string().contains("root:"), "{error}");
        }
        assert!(compile(&json!({"$ref": "#/$defs/a", "$defs": {"a": {}}})).is_ok());
    }

    #[test]
    fn a_text_that_is_not_a_schema_is_an_error() {
        for schema in [
            json!({"type": "integr"}),
            json!({"required": "payment_id"}),
            json!({"pattern": "("}),
            json!(7),
        ] {
            assert!(compile(&schema).is_err(), "{schema}");
        }
    }
}
