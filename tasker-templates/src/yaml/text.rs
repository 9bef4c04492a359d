//! Checks that bytes are text that YAML allows.

use crate::problem::{Problem, ProblemKind};
use crate::{TemplateError, TemplateLimits};

/// Returns the bytes as text if they are within the limit, UTF-8, and without control characters.
pub(in super::super) fn checked_text(
    bytes: &[u8],
    limits: TemplateLimits,
) -> Result<&str, TemplateError> {
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
    Ok(text)
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
