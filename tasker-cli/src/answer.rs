//! Answers of a service. JSON output has their numbers digit by digit, as the service wrote them.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// JSON: a value to look into, which has rounded large numbers, and the text to print.
#[derive(Debug)]
pub(crate) struct Answer {
    value: Value,
    text: String,
}

impl Answer {
    pub(crate) fn parse(text: String) -> Result<Self, serde_json::Error> {
        let value = serde_json::from_str(&text)?;
        Ok(Self { value, text })
    }

    pub(crate) fn into_value(self) -> Value {
        self.value
    }
}

impl Deref for Answer {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.text).map_err(S::Error::custom)?;
        Exact(raw).serialize(serializer)
    }
}

/// JSON whose scalars are serialized as they are written, within objects and lists that the
/// serializer may indent.
struct Exact<'a>(&'a RawValue);

impl Serialize for Exact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.get();
        if text.starts_with('{') {
            let map: BTreeMap<String, &RawValue> =
                serde_json::from_str(text).map_err(S::Error::custom)?;
            serializer.collect_map(map.into_iter().map(|(key, raw)| (key, Exact(raw))))
        } else if text.starts_with('[') {
            let list: Vec<&RawValue> = serde_json::from_str(text).map_err(S::Error::custom)?;
            serializer.collect_seq(list.into_iter().map(Exact))
        } else {
            self.0.serialize(serializer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn an_answer_is_printed_digit_by_digit() {
        let text = r#"{"a": [12345678901234567890123, 1.10, "\u00e9", {}, []], "b": {"c": null}}"#;
        let answer = Answer::parse(text.to_owned()).unwrap();
        assert_eq!(answer["a"][1], 1.1);
        let pretty = serde_json::to_string_pretty(&answer).unwrap();
        assert!(
            pretty.contains("    12345678901234567890123,\n    1.10,\n"),
            "{pretty}"
        );
        let compact = serde_json::to_string(&answer).unwrap();
        assert_eq!(compact, text.replace(' ', ""));
    }
}
