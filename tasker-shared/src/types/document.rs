//! A registered document, as text.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// JSON text that has been read as JSON. Clones share the text.
///
/// Unlike a [`RawValue`] it is made from text that was read as something typed, without being
/// scanned a second time: resolving a large template costs little else than its one parse. The
/// second scan is done when it is written into other JSON, which is rare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(Arc<str>);

impl Document {
    /// Reads `text` as a `T`, and keeps the text.
    ///
    /// # Errors
    /// When `text` is no JSON, or none that a `T` is read from.
    pub fn read<T: DeserializeOwned>(text: &str) -> Result<(Self, T), serde_json::Error> {
        let read = serde_json::from_str(text)?;
        Ok((Self(Arc::from(text)), read))
    }

    /// The text, spaced as it was read.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl From<Box<RawValue>> for Document {
    fn from(raw: Box<RawValue>) -> Self {
        Self(Box::<str>::from(raw).into())
    }
}

/// Writes the document itself, not a string that holds it. Only `serde_json` can.
impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::Document;

    #[test]
    fn it_is_written_as_it_was_read() {
        let text = r#"{"b":  1.50, "a": [null]}"#;
        let (document, value) = Document::read::<Value>(text).unwrap();
        assert_eq!(value["b"], json!(1.5));
        assert_eq!(document.get(), text);
        assert_eq!(
            serde_json::to_string(&json_of(&document)).unwrap(),
            format!(r#"{{"document":{text}}}"#)
        );
    }

    #[test]
    fn what_is_no_json_is_no_document() {
        assert!(Document::read::<Value>("{").is_err());
        assert!(Document::read::<Value>("{} {}").is_err());
        assert!(Document::read::<Vec<u8>>("{}").is_err());
    }

    #[test]
    fn a_raw_value_is_one_already() {
        let raw = to_raw_value(&json!({"a": 1})).unwrap();
        assert_eq!(Document::from(raw).get(), r#"{"a":1}"#);
    }

    #[derive(serde::Serialize)]
    struct Holder {
        document: Document,
    }

    fn json_of(document: &Document) -> Holder {
        Holder {
            document: document.clone(),
        }
    }
}
