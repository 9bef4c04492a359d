//! Strings that share the text which they were read from.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;

use arcstr::{ArcStr, Substr};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A string of a template, which is read as a `str` is.
///
/// What a registry resolves shares the text of the whole document: only strings with escapes are copied,
/// and clones are cheap. A clone that is kept keeps all of that text.
///
/// A string of more than 4 GiB panics; no document is so long.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedStr(Substr);

/// What a copied string takes beside its bytes: its counts, and what the allocator rounds up.
const COPY_OVERHEAD: usize = 32;

/// The text that is being read, and will be kept.
struct Kept {
    text: ArcStr,
    copied: usize,
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Reads JSON from the memory of `text`. Strings and free parts of what is read share the text instead
/// of copying from it. Answers also how many bytes are taken by copies all the same: of strings with
/// escapes.
///
/// `read` must read with `serde_json::from_str`, from that text itself: a part of another text is
/// copied, and a free part that a deserializer keeps to itself first, as for `#[serde(flatten)]`, is
/// refused.
pub(crate) fn sharing<T>(text: &ArcStr, read: impl FnOnce() -> T) -> (T, usize) {
    struct Restored(Option<Kept>);
    impl Drop for Restored {
        fn drop(&mut self) {
            KEPT.set(self.0.take());
        }
    }
    let _restored = Restored(KEPT.replace(Some(Kept {
        text: text.clone(),
        copied: 0,
    })));
    let read = read();
    let copied = KEPT.with_borrow(|kept| kept.as_ref().map_or(0, |kept| kept.copied));
    (read, copied)
}

/// Whether a text is being read that will be kept.
pub(super) fn is_sharing() -> bool {
    KEPT.with_borrow(Option::is_some)
}

/// `part`, which shares the text that is being read if it is of that text.
pub(super) fn shared(part: &str) -> Substr {
    KEPT.with_borrow_mut(|kept| {
        let Some(kept) = kept else { return part.into() };
        kept.text.try_substr_from(part).unwrap_or_else(|| {
            kept.copied += part.len() + COPY_OVERHEAD;
            part.into()
        })
    })
}

impl SharedStr {
    /// The string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for SharedStr {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for SharedStr {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SharedStr {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for SharedStr {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for SharedStr {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for SharedStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for SharedStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl From<&str> for SharedStr {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for SharedStr {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Serialize for SharedStr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for SharedStr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = SharedStr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<SharedStr, E> {
                Ok(SharedStr(shared(text)))
            }

            fn visit_string<E>(self, text: String) -> Result<SharedStr, E> {
                Ok(text.into())
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

#[cfg(test)]
mod tests {
    use arcstr::ArcStr;

    use super::{COPY_OVERHEAD, SharedStr, is_sharing, sharing};

    fn read(text: &str) -> Vec<SharedStr> {
        serde_json::from_str(text).unwrap()
    }

    /// Of each part that is not empty, whether it is of the memory of `text`.
    fn are_of(text: &ArcStr, parts: &[SharedStr]) -> Vec<bool> {
        let parts = parts.iter().filter(|part| !part.is_empty());
        parts
            .map(|part| text.try_substr_from(part).is_some())
            .collect()
    }

    #[test]
    fn what_is_read_from_a_text_that_is_kept_shares_it() {
        let text = ArcStr::from(r#"head ["a", "", "\u00e9x", "bé"]"#);
        let (shared, copied) = sharing(&text, || read(&text[5..]));
        assert_eq!(shared, ["a", "", "éx", "bé"]);
        assert_eq!(are_of(&text, &shared), [true, false, true]);
        assert_eq!(copied, "éx".len() + COPY_OVERHEAD);

        let apart = read(&text[5..]);
        assert_eq!(are_of(&text, &apart), [false; 3]);
        assert_eq!(apart, shared);
    }

    #[test]
    fn a_string_of_another_text_is_copied() {
        let kept = ArcStr::from("[]");
        let other = String::from(r#"["a"]"#);
        let (shared, copied) = sharing(&kept, || read(&other));
        drop(other);
        assert_eq!((shared, copied), (vec!["a".into()], 1 + COPY_OVERHEAD));
    }

    #[test]
    fn a_failed_read_leaves_nothing_behind() {
        let text = ArcStr::from("[1, ");
        let read = || serde_json::from_str::<Vec<SharedStr>>(&text);
        assert!(sharing(&text, read).0.is_err());
        assert!(!is_sharing());
        let panicked = std::panic::catch_unwind(|| sharing(&text, || panic!("as a reader may")));
        assert!(panicked.is_err());
        assert!(!is_sharing());
    }

    #[test]
    fn a_read_within_a_read_has_a_text_of_its_own() {
        let (outer, inner) = (ArcStr::from(r#"["a"]"#), ArcStr::from(r#"["b"]"#));
        let (both, _) = sharing(&outer, || {
            let (second, _) = sharing(&inner, || read(&inner));
            (read(&outer), second)
        });
        assert_eq!(are_of(&outer, &both.0), [true]);
        assert_eq!(are_of(&inner, &both.1), [true]);
    }

    #[test]
    fn it_is_read_and_written_as_a_string_is() {
        let tree = serde_json::json!(["a\n", "é"]);
        let strings: Vec<SharedStr> = serde_json::from_value(tree.clone()).unwrap();
        assert_eq!(serde_json::to_value(&strings).unwrap(), tree);
        assert_eq!(format!("{:?} {}", strings[0], strings[1]), r#""a\n" é"#);
        assert!(serde_json::from_str::<SharedStr>("1").is_err());
    }
}
