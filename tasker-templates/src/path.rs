//! Paths into a document, such as `steps[2].dependencies[0]`.

use std::fmt;

/// Characters of a key that a path shows.
const SHOWN_KEY: usize = 64;

/// A path as a chain up to the document's root, so that nothing is allocated until it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    segment: Segment<'a>,
}

/// One step down into a document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Segment<'a> {
    /// To the document itself.
    Root,
    /// To a mapping's value.
    Key(&'a str),
    /// To a list's item.
    Index(usize),
}

impl<'a> At<'a> {
    /// The document itself.
    pub(super) const ROOT: At<'static> = At {
        parent: None,
        segment: Segment::Root,
    };

    /// The value under `key`.
    pub(super) const fn key(&'a self, key: &'a str) -> At<'a> {
        At {
            parent: Some(self),
            segment: Segment::Key(key),
        }
    }

    /// The item at `index`.
    pub(super) const fn index(&'a self, index: usize) -> At<'a> {
        At {
            parent: Some(self),
            segment: Segment::Index(index),
        }
    }
}

impl At<'_> {
    /// Returns true if this is within the value of the template's `key`.
    pub(super) fn is_below(&self, key: &str) -> bool {
        let Some(parent) = self.parent else {
            return false;
        };
        match (parent.segment, self.segment) {
            (Segment::Root, Segment::Key(own)) => own == key,
            _ => parent.is_below(key),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            let is_first = matches!(parent.segment, Segment::Root);
            self.segment.write(f, is_first)?;
        }
        Ok(())
    }
}

impl Segment<'_> {
    /// Writes the segment as it looks in a path, the first of them without a leading dot.
    pub(super) fn write(self, out: &mut impl fmt::Write, is_first: bool) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Index(index) => write!(out, "[{index}]"),
            Self::Key(key) if is_plain(key) => {
                let dot = if is_first { "" } else { "." };
                write!(out, "{dot}{key}")
            }
            Self::Key(key) => write!(out, "[{:?}]", clip(key)),
        }
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= SHOWN_KEY
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Shortens an author's text for a message.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(SHOWN_KEY) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::At;

    #[test]
    fn a_path_reads_like_code() {
        let steps = At::ROOT.key("steps");
        let step = steps.index(2);
        let dependencies = step.key("dependencies");
        assert_eq!(
            dependencies.index(0).to_string(),
            "steps[2].dependencies[0]"
        );
        assert_eq!(At::ROOT.to_string(), "");
    }

    #[test]
    fn odd_keys_are_quoted_and_long_ones_clipped() {
        let odd = At::ROOT.key("a.b");
        assert_eq!(odd.key("c").to_string(), r#"["a.b"].c"#);
        let long = "x".repeat(100);
        assert_eq!(
            At::ROOT.key(&long).to_string(),
            format!("[\"{}…\"]", "x".repeat(64))
        );
    }
}
