//! A registered document, as text, and its hash.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

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

/// SHA-256 of a document in the text form that PostgreSQL gives its `jsonb`.
///
/// Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Computes the hash of `document`.
    #[must_use]
    pub fn of(document: &str) -> Self {
        Self(Sha256::digest(document).into())
    }

    /// Returns the hash with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for ContentHash {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

impl std::str::FromStr for ContentHash {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        digits.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{ContentHash, Document};

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

    #[test]
    fn text_and_bytes_are_the_same_hash() {
        let hash = ContentHash::from_bytes([0xab; 32]);
        assert_eq!(hash.to_string(), "ab".repeat(32));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!("ab".parse::<ContentHash>().is_err());
    }
}
