//! A registered document, as text.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::models::core::task_template::sharing;

/// JSON text that has been read as JSON. Clones share the text.
///
/// Unlike a [`RawValue`] it is made from text that was read as something typed, without being
/// scanned a second time, and keeps the text where it is, without copying it: resolving a large
/// template costs little else than its one parse. The second scan is done when it is written into
/// other JSON, which is rare.
#[derive(Clone)]
pub struct Document {
    text: Arc<String>,
    /// Where in the text the document begins; it ends with the text.
    start: usize,
}

impl Document {
    /// Reads what follows the first `start` bytes of `text` as a `T`, and keeps the text, which free
    /// parts of the `T` share.
    ///
    /// # Errors
    /// When that is no JSON, or none that a `T` is read from.
    ///
    /// # Panics
    /// When no character of `text` begins at `start`, and it does not end there.
    pub fn read<T: DeserializeOwned>(
        text: String,
        start: usize,
    ) -> Result<(Self, T), serde_json::Error> {
        let text = Arc::new(text);
        let read = sharing(&text, || serde_json::from_str(&text[start..]))?;
        Ok((Self { text, start }, read))
    }

    /// The text, spaced as it was read.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.text[self.start..]
    }

    /// How many bytes are kept for it.
    pub(crate) fn held_bytes(&self) -> usize {
        self.text.capacity()
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Document {}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Document").field(&self.get()).finish()
    }
}

impl From<Box<RawValue>> for Document {
    fn from(raw: Box<RawValue>) -> Self {
        Self {
            text: Arc::new(Box::<str>::from(raw).into()),
            start: 0,
        }
    }
}

/// Writes the document itself, not a string that holds it. Only `serde_json` can.
impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.get()).map_err(serde::ser::Error::custom)?;
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
        let (document, value) = Document::read::<Value>(text.to_owned(), 0).unwrap();
        assert_eq!(value["b"], json!(1.5));
        assert_eq!(document.get(), text);
        assert_eq!(
            serde_json::to_string(&json_of(&document)).unwrap(),
            format!(r#"{{"document":{text}}}"#)
        );
    }

    #[test]
    fn what_is_no_json_is_no_document() {
        let text = String::from;
        assert!(Document::read::<Value>(text("{"), 0).is_err());
        assert!(Document::read::<Value>(text("{} {}"), 0).is_err());
        assert!(Document::read::<Vec<u8>>(text("{}"), 0).is_err());
    }

    #[test]
    fn what_stands_before_it_is_no_part_of_it() {
        let read = |text: &str, start| Document::read::<Value>(text.to_owned(), start).unwrap().0;
        let tail = read("head\n{\"a\": 1}", 5);
        let alone = read("{\"a\": 1}", 0);
        assert_eq!(tail.get(), "{\"a\": 1}");
        assert_eq!(tail, alone);
        assert_eq!(format!("{tail:?}"), format!("{alone:?}"));
        assert_eq!(
            serde_json::to_string(&json_of(&tail)).unwrap(),
            serde_json::to_string(&json_of(&alone)).unwrap()
        );
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
