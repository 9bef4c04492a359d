//! Parts of a template that Tasker hands on without reading.

use arcstr::Substr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::shared_str;

/// JSON that belongs to the author: a handler's settings, a schema, notes.
///
/// It is kept as text, because a template is read far more often than this part of it is:
/// reading a template then builds no tree for it. Two are equal when they are equal as JSON,
/// however they are spaced.
///
/// What a registry resolves shares the text of the whole document, so that nothing is copied, and
/// clones are cheap; a clone that is kept keeps all of that text.
///
/// Only `serde_json` can read and write it. One of more than 4 GiB panics; no document is so long.
#[derive(Clone)]
pub struct FreeForm(Substr);

impl FreeForm {
    /// The JSON text, spaced as it was read.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The JSON as a tree, built anew by each call.
    ///
    /// # Errors
    /// When it is nested more deeply than `serde_json` reads, or holds a number that no `f64`
    /// does. [`TemplateDocument`](super::TemplateDocument) lets neither in, but other software
    /// writes to the database too.
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

impl std::fmt::Debug for FreeForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FreeForm").field(&self.as_json()).finish()
    }
}

impl<'de> Deserialize<'de> for FreeForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if shared_str::is_sharing() {
            let raw = <&RawValue>::deserialize(deserializer)?;
            return Ok(Self(shared_str::shared(raw.get())));
        }
        Ok(Box::<RawValue>::deserialize(deserializer)?.into())
    }
}

impl Serialize for FreeForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue =
            serde_json::from_str(self.as_json()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl From<Box<RawValue>> for FreeForm {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw.get().into())
    }
}

impl From<Value> for FreeForm {
    fn from(value: Value) -> Self {
        RawValue::from_string(value.to_string())
            .expect("what serde_json writes, serde_json reads")
            .into()
    }
}

#[cfg(test)]
mod tests {
    use arcstr::ArcStr;
    use serde_json::json;

    use super::FreeForm;
    use crate::models::core::task_template::sharing;

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

    #[test]
    fn what_is_read_from_a_text_that_is_kept_shares_it() {
        let text = ArcStr::from(r#"head [{"a":  "\u00e9"}, "x", null]"#);
        let read = || serde_json::from_str::<Vec<Option<FreeForm>>>(&text[5..]).unwrap();
        let (shared, copied) = sharing(&text, read);
        assert_eq!(copied, 0);
        let parts: Vec<_> = shared.iter().flatten().map(FreeForm::as_json).collect();
        assert_eq!(parts, [r#"{"a":  "\u00e9"}"#, r#""x""#]);
        assert!(
            parts
                .iter()
                .all(|part| text.as_bytes().as_ptr_range().contains(&part.as_ptr()))
        );
        assert_eq!(shared[2], None);
        assert_eq!(
            serde_json::to_string(&shared).unwrap(),
            r#"[{"a":  "\u00e9"},"x",null]"#
        );
        assert_eq!(read(), shared);
    }

    #[test]
    fn a_text_that_is_not_the_kept_one_is_copied() {
        let kept = ArcStr::from("[1, 2]");
        let other = String::from("[3]");
        let (read, copied) = sharing(&kept, || serde_json::from_str::<Vec<FreeForm>>(&other));
        drop(other);
        assert_eq!(read.unwrap()[0].as_json(), "3");
        assert!(copied > 0);
    }
}
