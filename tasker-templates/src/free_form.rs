//! Parts of a template that Tasker hands on without reading.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// JSON that belongs to the author: a handler's settings, a schema, notes.
///
/// Kept as text, because a template is read far more often than this part of it, and reading a
/// template then builds no tree for it. Two are equal if they are equal as JSON, whatever their
/// spacing. Only `serde_json` can read and write it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FreeForm(Box<RawValue>);

impl FreeForm {
    /// Returns the JSON text, spaced as it was read.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    /// Parses the text into a tree. Each call parses anew.
    ///
    /// # Errors
    /// Fails if the JSON is nested more deeply than `serde_json` reads, or holds a number that no
    /// `f64` holds. [`TemplateDocument`](super::TemplateDocument) lets neither in, but other
    /// software writes to the database too.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(self.as_json())
    }
}

impl PartialEq for FreeForm {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
            || matches!((self.to_value(), other.to_value()), (Ok(left), Ok(right)) if left == right)
    }
}

impl From<Box<RawValue>> for FreeForm {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}

impl From<Value> for FreeForm {
    fn from(value: Value) -> Self {
        let raw = RawValue::from_string(value.to_string());
        Self(raw.expect("serde_json reads back the JSON that it wrote"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::FreeForm;

    #[test]
    fn spacing_and_order_do_not_matter_to_equality() {
        let left: FreeForm = serde_json::from_str(r#"{"a": 1,  "b": [2]}"#).unwrap();
        let right: FreeForm = serde_json::from_str(r#"{"b":[2],"a":1}"#).unwrap();
        assert_eq!(left, right);
        assert_ne!(left, FreeForm::from(json!({"a": 1})));
    }

    #[test]
    fn a_value_survives_the_round_trip_through_text() {
        let value = json!({"a": [1, 2.5, null, "x"], "b": {}});
        assert_eq!(FreeForm::from(value.clone()).to_value().unwrap(), value);
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        let text = r#"[{"a":  "\u00e9"},"x",null]"#;
        let parts: Vec<Option<FreeForm>> = serde_json::from_str(text).unwrap();
        assert_eq!(parts[2], None);
        assert_eq!(serde_json::to_string(&parts).unwrap(), text);
    }
}
