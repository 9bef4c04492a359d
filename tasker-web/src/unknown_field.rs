//! Unknown names in requests, and the nearest known ones.

use std::fmt;

/// Similarity from which a known name is suggested, from 0 to 1.
const SUGGESTED_FROM: f64 = 0.6;

/// The longest name that is compared, in bytes. The time of a comparison grows with the square.
const MAX_COMPARED: usize = 256;

/// A field that a struct with `deny_unknown_fields` does not have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownField {
    pub(crate) name: String,
    nearest: Option<String>,
    known: Vec<String>,
}

impl UnknownField {
    /// Reads serde's message, because serde has no other form of this error: "unknown field `a`,
    /// expected `b`", "... one of `b`, `c`", or "... there are no fields".
    pub(crate) fn in_message(message: &str) -> Option<Self> {
        // Another message may quote a value of the client, which may contain this text.
        let rest = message.strip_prefix("unknown field `")?;
        let (name, rest) = rest.split_once("`, ")?;
        let known: Vec<String> = rest
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        Some(Self {
            nearest: nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
            name: name.to_owned(),
            known,
        })
    }
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown field `{}`", self.name)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None if self.known.is_empty() => write!(f, "; no field is expected"),
            None => write!(f, "; expected one of {}", self.known.join(", ")),
        }
    }
}

/// Returns the known name that is most similar to `name`, if one is similar at all. A long `name` is similar
/// to none.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_COMPARED {
        return None;
    }
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SUGGESTED_FROM)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::{MAX_COMPARED, UnknownField, nearest};

    #[test]
    fn a_name_that_would_take_long_to_compare_is_similar_to_none() {
        for (length, found) in [(MAX_COMPARED, Some("aa")), (MAX_COMPARED + 1, None)] {
            assert_eq!(nearest(&"a".repeat(length), ["aa"].into_iter()), found);
        }
    }

    fn text(message: &str) -> String {
        UnknownField::in_message(message)
            .expect("it is one")
            .to_string()
    }

    #[test]
    fn the_nearest_name_is_suggested_and_otherwise_all_are_listed() {
        assert_eq!(
            text("unknown field `contxt`, expected one of `name`, `context` at line 1 column 9"),
            "unknown field `contxt`; did you mean `context`?"
        );
        assert_eq!(
            text("unknown field `zzz`, expected `a` or `b`"),
            "unknown field `zzz`; expected one of a, b"
        );
        assert_eq!(
            text("unknown field `x`, there are no fields"),
            "unknown field `x`; no field is expected"
        );
        let quoted = "invalid type: string \"unknown field `a`, expected `b`\", expected u32";
        for message in ["missing field `name`", quoted] {
            assert_eq!(UnknownField::in_message(message), None);
        }
    }
}
