//! A registered document, as text.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Valid JSON text that keeps its exact bytes, because its hash is the hash of these bytes. Clones
/// share the text.
///
/// Unlike a [`RawValue`] it can be made from text that was just parsed into a type, without a
/// second scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(Arc<str>);

impl Document {
    /// Parses `text` as a `T` and keeps the text.
    ///
    /// # Errors
    /// Fails if `text` is not JSON, or not the JSON of a `T`.
    pub fn read<T: DeserializeOwned>(
        text: impl Into<Arc<str>>,
    ) -> Result<(Self, T), serde_json::Error> {
        let text = text.into();
        let value = serde_json::from_str(&text)?;
        Ok((Self(text), value))
    }

    /// Returns the text, spaced as it was read.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl From<Box<RawValue>> for Document {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw.get().into())
    }
}

/// Writes the document itself, not a string that holds it. Only `serde_json` can.
impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Document;

    #[test]
    fn it_is_written_as_it_was_read() {
        let text = r#"{"b":  1.50, "a": [null]}"#;
        let (document, value) = Document::read::<Value>(text).unwrap();
        assert_eq!(value["b"], json!(1.5));
        assert_eq!(document.get(), text);
        assert_eq!(serde_json::to_string(&document).unwrap(), text);
        assert_eq!(serde_json::from_str::<Document>(text).unwrap(), document);
    }

    #[test]
    fn text_that_is_not_json_is_refused() {
        assert!(Document::read::<Value>("{").is_err());
        assert!(Document::read::<Value>("{} {}").is_err());
        assert!(Document::read::<Vec<u8>>("{}").is_err());
    }
}
