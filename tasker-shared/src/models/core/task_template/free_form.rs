//! Parts of a template that Tasker hands on without reading.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// JSON that belongs to the author: a handler's settings, a schema, notes.
///
/// It is kept as text, because a template is read far more often than this part of it is:
/// reading a template then builds no tree for it. Two are equal when they are equal as JSON,
/// however they are spaced.
///
/// Only `serde_json` can read and write it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FreeForm(Box<RawValue>);

impl FreeForm {
    /// The JSON text, spaced as it was read.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    /// The JSON as a tree, built anew by each call.
    ///
    /// # Errors
    /// When it is nested more deeply than `serde_json` reads, or holds a number that no `f64`
    /// does. [`TemplateDocument`](super::TemplateDocument) lets neither in, but other software
    /// writes to the database too.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }
}

impl PartialEq for FreeForm {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
            || matches!((self.to_value(), other.to_value()), (Ok(left), Ok(right)) if left == right)
    }
}

impl From<Value> for FreeForm {
    fn from(value: Value) -> Self {
        Self(
            RawValue::from_string(value.to_string())
                .expect("what serde_json writes, serde_json reads"),
        )
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
    fn a_value_comes_back_as_it_went_in() {
        let value = json!({"a": [1, 2.5, null, "x"], "b": {}});
        assert_eq!(FreeForm::from(value.clone()).to_value().unwrap(), value);
    }
}
