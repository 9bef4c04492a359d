//! A registered document, as text.

use arcstr::{ArcStr, Substr};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::models::core::task_template::sharing;

/// JSON text that has been read as JSON. Clones share the text.
///
/// Unlike a [`RawValue`] it is made from text that was read as something typed, without being
/// scanned a second time, and shares the text with what was read: resolving a large template costs
/// little else than its one parse. The second scan is done when it is written into
/// other JSON, which is rare.
#[derive(Clone)]
pub struct Document {
    text: Substr,
    /// How many bytes are kept for the text, and for what was read from it and could not share it.
    held_bytes: usize,
}

impl Document {
    /// Reads what follows the first `start` bytes of `text` as a `T`, and keeps the text, which strings
    /// and free parts of a template share.
    ///
    /// # Errors
    /// When that is no JSON, or none that a `T` is read from.
    ///
    /// # Panics
    /// When no character of `text` begins at `start`, and it does not end there; when it is longer than
    /// 4 GiB, which neither PostgreSQL nor Redis hands out.
    pub fn read<T: DeserializeOwned>(
        text: impl Into<ArcStr>,
        start: usize,
    ) -> Result<(Self, T), serde_json::Error> {
        let text = text.into();
        let (read, copied) = sharing(&text, || serde_json::from_str(&text[start..]));
        let document = Self {
            held_bytes: text.len() + copied,
            text: text.substr(start..),
        };
        Ok((document, read?))
    }

    /// The text, spaced as it was read.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.text
    }

    /// How many bytes are kept for it, and for strings that were read from it.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
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
            text: raw.get().into(),
            held_bytes: raw.get().len(),
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
