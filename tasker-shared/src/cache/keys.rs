//! Names of cache entries: `{prefix}:{kind}:{part}:{part}...`.
//!
//! Parts come from outside. Characters that would end a part, or that have a meaning in a pattern,
//! are percent-encoded. So two different lists of parts never share a key, and a pattern that is
//! built from parts matches exactly the keys below those parts.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// `%` is encoded, because it starts an encoded character. Characters beyond ASCII are encoded, too.
const AMBIGUOUS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b':')
    .add(b'*')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'\\')
    .add(b'%');

/// Returns the key of the entry of this kind with these parts.
///
/// ```
/// use tasker_shared::cache::keys;
/// assert_eq!(
///     keys::key("tasker", "task_template", &["payments", "refund", "1.0.0"]),
///     "tasker:task_template:payments:refund:1.0.0",
/// );
/// ```
#[must_use]
pub fn key(prefix: &str, kind: &str, parts: &[&str]) -> String {
    let mut key = String::with_capacity(
        prefix.len() + kind.len() + 1 + parts.iter().map(|part| part.len() + 1).sum::<usize>(),
    );
    key.push_str(prefix);
    push_kind_and_parts(&mut key, kind, parts);
    key
}

/// Returns the glob pattern of all entries of this kind whose parts begin with these and have more.
///
/// ```
/// use tasker_shared::cache::keys;
/// assert_eq!(keys::pattern("tasker", "task_template", &[]), "tasker:task_template:*");
/// ```
#[must_use]
pub fn pattern(prefix: &str, kind: &str, parts: &[&str]) -> String {
    let mut pattern = String::with_capacity(prefix.len() + kind.len() + 8);
    // Keys contain the operator's prefix unencoded, so it is escaped here.
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    push_kind_and_parts(&mut pattern, kind, parts);
    pattern.push_str(":*");
    pattern
}

fn push_kind_and_parts(text: &mut String, kind: &str, parts: &[&str]) {
    text.push(':');
    text.push_str(kind);
    for part in parts {
        text.push(':');
        text.extend(utf8_percent_encode(part, AMBIGUOUS));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{key, pattern};

    /// Matches like Redis, as far as our patterns need it.
    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|skipped| matches(rest, &text[skipped..])),
            [b'?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
            [b'[', ..] => panic!("no pattern of ours has a set"),
            [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
                text.first() == Some(literal) && matches(rest, &text[1..])
            }
        }
    }

    fn glob(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes())
    }

    /// Parts made of dangerous characters, so that collisions are likely if they are possible.
    fn part() -> impl Strategy<Value = String> {
        prop_oneof!["[:*?\\[\\]\\\\%ab3A ]{0,4}", "[a-z_]{1,8}", any::<String>()]
    }

    fn borrowed(parts: &[String]) -> Vec<&str> {
        parts.iter().map(String::as_str).collect()
    }

    #[test]
    fn ordinary_names_are_kept_as_they_are() {
        assert_eq!(
            key(
                "tasker",
                "task_template",
                &["data_pipeline", "sales-2", "1.0.0"]
            ),
            "tasker:task_template:data_pipeline:sales-2:1.0.0"
        );
        assert_eq!(
            pattern("tasker", "task_template", &["data_pipeline"]),
            "tasker:task_template:data_pipeline:*"
        );
    }

    #[test]
    fn separators_and_globs_in_a_part_are_encoded() {
        assert_eq!(
            key("t", "k", &["a:b", "*?[]\\%", "\n\u{7f} "]),
            "t:k:a%3Ab:%2A%3F%5B%5D%5C%25:%0A%7F%20"
        );
    }

    #[test]
    fn a_prefix_with_globs_matches_only_itself() {
        let all = pattern("a*[b]?\\", "k", &[]);
        assert!(glob(&all, &key("a*[b]?\\", "k", &["x"])));
        assert!(!glob(&all, &key("axb?\\", "k", &["x"])));
    }

    proptest! {
        #[test]
        fn different_parts_never_share_a_key(
            one in vec(part(), 0..4),
            other in vec(part(), 0..4),
        ) {
            prop_assert_eq!(
                key("t", "k", &borrowed(&one)) == key("t", "k", &borrowed(&other)),
                one == other
            );
        }

        #[test]
        fn a_pattern_matches_what_is_below_its_parts_and_nothing_else(
            scope in part(), namespace in part(), name in part(), version in part(),
        ) {
            let found = glob(
                &pattern("t", "k", &[&scope]),
                &key("t", "k", &[&namespace, &name, &version]),
            );
            prop_assert_eq!(found, scope == namespace);
        }

        #[test]
        fn the_pattern_without_parts_matches_every_key_of_its_kind(parts in vec(part(), 1..4)) {
            let text = key("t", "k", &borrowed(&parts));
            prop_assert!(glob(&pattern("t", "k", &[]), &text));
            prop_assert!(!glob(&pattern("t", "other", &[]), &text));
        }
    }
}
