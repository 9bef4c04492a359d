//! Checks that bytes are text that YAML allows.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::IgnoredAny;

use crate::problem::{Problem, ProblemKind};
use crate::{TemplateError, TemplateLimits};

/// Returns the bytes as text if they are within the limit, UTF-8, and without control characters.
/// Escapes that JSON has and YAML does not are those of YAML in it.
pub(in super::super) fn checked_text(
    bytes: &[u8],
    limits: TemplateLimits,
) -> Result<Cow<'_, str>, TemplateError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > limits.max_bytes {
        let kind = ProblemKind::TooLarge {
            bytes: size,
            limit: limits.max_bytes,
        };
        return Err(unreadable(None, kind));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = line_at(bytes, error.valid_up_to());
        unreadable(Some(line), ProblemKind::NotUtf8)
    })?;
    let control = bytes
        .iter()
        .position(|byte| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r'));
    if let Some(position) = control {
        let kind = ProblemKind::ControlCharacter {
            code: bytes[position].into(),
        };
        return Err(unreadable(Some(line_at(bytes, position)), kind));
    }
    Ok(with_joined_surrogates(text))
}

/// Replaces the two escapes with which JSON writes one character beyond U+FFFF, such as
/// `\ud83d\ude80`, by the one of YAML, such as `\U0001f680`. Other texts than JSON stay as they are,
/// because a backslash may be one there.
fn with_joined_surrogates(text: &str) -> Cow<'_, str> {
    let is_json = || serde_json::from_str::<IgnoredAny>(text).is_ok();
    if !text.trim_start().starts_with('{') || !text.contains("\\u") || !is_json() {
        return Cow::Borrowed(text);
    }
    let unit = |escape: &str| u16::from_str_radix(escape.get(2..6)?, 16).ok();
    let mut joined = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        joined.push_str(&rest[..at]);
        rest = &rest[at..];
        // In JSON a backslash is followed by an ASCII character, and `u` by four digits.
        let (one, two) = (rest.get(..6), rest.get(6..12));
        let pair = one
            .zip(two)
            .filter(|(one, two)| one.starts_with("\\u") && two.starts_with("\\u"));
        let units = pair.and_then(|(one, two)| Some([unit(one)?, unit(two)?]));
        let char = units.and_then(|units| char::decode_utf16(units).next()?.ok());
        let length = match char {
            Some(char) if char > '\u{ffff}' => {
                let _ = write!(joined, "\\U{:08x}", u32::from(char));
                12
            }
            _ => {
                joined.push_str(&rest[..2]);
                2
            }
        };
        rest = &rest[length..];
    }
    joined.push_str(rest);
    Cow::Owned(joined)
}

fn unreadable(line: Option<usize>, kind: ProblemKind) -> TemplateError {
    let problem = Problem {
        line,
        column: None,
        path: String::new(),
        kind,
    };
    TemplateError::Unreadable {
        problems: vec![problem],
        warnings: Vec::new(),
    }
}

/// Returns the line of the byte at `position`.
fn line_at(bytes: &[u8], position: usize) -> usize {
    let before = &bytes[..position];
    before.split(|byte| *byte == b'\n').count()
}
