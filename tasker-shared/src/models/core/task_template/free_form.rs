//! Parts of a template that Tasker hands on without reading.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// JSON that belongs to the author: a handler's settings, a schema, notes.
///
/// It is kept as text, because a template is read far more often than this part of it is:
/// reading a template then builds no tree for it. Two are equal when they are equal as JSON,
/// however they are spaced.
///
/// What a registry resolves shares the text of the whole document, so that nothing is copied, and
/// clones are cheap; a clone that is kept keeps all of that text.
///
/// Only `serde_json` can read and write it.
#[derive(Clone)]
pub struct FreeForm {
    /// JSON, of which this is a part, or all.
    text: Arc<String>,
    start: u32,
    end: u32,
}

thread_local! {
    /// The text that is being read on this thread, and will be kept.
    static KEPT: RefCell<Option<Arc<String>>> = const { RefCell::new(None) };
}

/// Reads JSON from the text that `text` holds. What is read shares the text instead of copying from
/// it.
///
/// `read` must read with `serde_json::from_str`, from that text itself: a part of another text is
/// copied, and one that a deserializer keeps to itself first, as for `#[serde(flatten)]`, is refused.
pub(crate) fn sharing<T>(text: &Arc<String>, read: impl FnOnce() -> T) -> T {
    struct Restored(Option<Arc<String>>);
    impl Drop for Restored {
        fn drop(&mut self) {
            KEPT.set(self.0.take());
        }
    }
    let _restored = Restored(KEPT.replace(Some(Arc::clone(text))));
    read()
}

impl FreeForm {
    /// The JSON text, spaced as it was read.
    #[must_use]
    pub fn as_json(&self) -> &str {
        let range = self.start as usize..self.end as usize;
        &self.text[range]
    }

    /// The JSON as a tree, built anew by each call.
    ///
    /// # Errors
    /// When it is nested more deeply than `serde_json` reads, or holds a number that no `f64`
    /// does. [`TemplateDocument`](super::TemplateDocument) lets neither in, but other software
    /// writes to the database too.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(self.as_json())
    }

    /// `None` if it is longer than PostgreSQL lets any document be.
    fn part(text: Arc<String>, range: Range<usize>) -> Option<Self> {
        Some(Self {
            start: u32::try_from(range.start).ok()?,
            end: u32::try_from(range.end).ok()?,
            text,
        })
    }

    fn owned(raw: Box<RawValue>) -> Option<Self> {
        let text = String::from(Box::<str>::from(raw));
        let all = 0..text.len();
        Self::part(Arc::new(text), all)
    }
}

impl PartialEq for FreeForm {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
            || matches!((self.to_value(), other.to_value()), (Ok(left), Ok(right)) if left == right)
    }
}

impl std::fmt::Debug for FreeForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FreeForm").field(&self.as_json()).finish()
    }
}

impl<'de> Deserialize<'de> for FreeForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kept = KEPT.with_borrow(Clone::clone);
        let read = match kept {
            Some(text) => {
                let raw = <&RawValue>::deserialize(deserializer)?;
                match place(&text, raw.get()) {
                    Some(range) => Self::part(text, range),
                    None => Self::owned(raw.to_owned()),
                }
            }
            None => Self::owned(Box::deserialize(deserializer)?),
        };
        read.ok_or_else(|| serde::de::Error::custom("a part of it is longer than 4 GiB"))
    }
}

/// Where in `text` this part of its memory is; `None` if it is not.
fn place(text: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let range = start..start.checked_add(part.len())?;
    (range.end <= text.len()).then_some(range)
}

impl Serialize for FreeForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue =
            serde_json::from_str(self.as_json()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl From<Value> for FreeForm {
    fn from(value: Value) -> Self {
        let raw = RawValue::from_string(value.to_string());
        Self::owned(raw.expect("what serde_json writes, serde_json reads"))
            .expect("a tree of more than 4 GiB is no part of a template")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::{FreeForm, sharing};

    #[test]
    fn spacing_and_order_do_not_matter_to_equality() {
        let left: FreeForm = serde_json::from_str(r#"{"a": 1,  "b": [2]}"#).unwrap();
        let right: FreeForm = serde_json::from_str(r#"{"b":[2],"a":1}"#).unwrap();
        assert_eq!(left, right);
        assert_ne!(left, FreeForm::from(json!({"a": 1})));
    }

    #[test]
    fn a_value_comes_back_as_it_went_in() {
        let value = json!({"a": [1, 2.5, null, "x"], "b": {}});
        assert_eq!(FreeForm::from(value.clone()).to_value().unwrap(), value);
    }

    #[test]
    fn what_is_read_from_a_text_that_is_kept_shares_it() {
        let text = Arc::new(String::from(r#"head [{"a":  "\u00e9"}, "x", null]"#));
        let read = || serde_json::from_str::<Vec<Option<FreeForm>>>(&text[5..]).unwrap();
        let shared = sharing(&text, read);
        assert_eq!(Arc::strong_count(&text), 3);
        let parts: Vec<_> = shared.iter().flatten().map(FreeForm::as_json).collect();
        assert_eq!(parts, [r#"{"a":  "\u00e9"}"#, r#""x""#]);
        assert_eq!(shared[2], None);
        assert_eq!(
            serde_json::to_string(&shared).unwrap(),
            r#"[{"a":  "\u00e9"},"x",null]"#
        );

        let copied = read();
        assert_eq!(Arc::strong_count(&text), 3);
        assert_eq!(copied, shared);
        drop(shared);
        assert_eq!(Arc::strong_count(&text), 1);
    }

    #[test]
    fn a_text_that_is_not_the_kept_one_is_copied() {
        let kept = Arc::new(String::from("[1, 2]"));
        let other = String::from("[3]");
        let read: Vec<FreeForm> = sharing(&kept, || serde_json::from_str(&other)).unwrap();
        assert_eq!(Arc::strong_count(&kept), 1);
        drop(other);
        assert_eq!(read[0].as_json(), "3");
    }

    #[test]
    fn a_failed_read_leaves_nothing_behind() {
        let text = Arc::new(String::from("[1, "));
        let read = || serde_json::from_str::<Vec<FreeForm>>(&text);
        assert!(sharing(&text, read).is_err());
        let panicked = std::panic::catch_unwind(|| sharing(&text, || panic!("as a reader may")));
        assert!(panicked.is_err());
        assert_eq!(Arc::strong_count(&text), 1);
        let value: FreeForm = serde_json::from_value(json!({"a": 1})).unwrap();
        assert_eq!(value.as_json(), r#"{"a":1}"#);
    }
}
