//! Checks the characters of a template's name, namespace and version.

use serde_json::{Map, Value};

use super::checker::Checker;
use crate::path::{At, clip};
use crate::problem::ProblemKind;

/// The characters of a name beside letters and digits. A name becomes a part of cache keys, key
/// patterns and URL paths, so it cannot begin with a dot: a URL path would resolve `..` away.
struct Rule {
    key: &'static str,
    allowed: &'static str,
    others: &'static [char],
}

const RULES: [Rule; 3] = [
    Rule {
        key: "name",
        allowed: "A-Z a-z 0-9 _ . -, the first of them a letter, a digit or _",
        others: &['_', '.', '-'],
    },
    Rule {
        key: "namespace_name",
        allowed: "A-Z a-z 0-9 _",
        others: &['_'],
    },
    Rule {
        key: "version",
        allowed: "A-Z a-z 0-9 . _ + -, the first of them a letter, a digit or _",
        others: &['.', '_', '+', '-'],
    },
];

/// Returns the keys with their rules as regular expressions.
pub(super) fn patterns() -> impl Iterator<Item = (&'static str, String)> {
    RULES.iter().map(|rule| {
        // `-` stands last, where it is no range.
        let mut others: Vec<char> = rule.others.to_vec();
        others.sort_unstable_by_key(|char| *char == '-');
        let others: String = others.into_iter().collect();
        (rule.key, format!("^[A-Za-z0-9_][A-Za-z0-9{others}]*$"))
    })
}

/// Checks the names under which a template is registered. A blank one was reported as missing.
pub(super) fn check(checker: &mut Checker, template: &Map<String, Value>) {
    for rule in &RULES {
        if let Some(Value::String(text)) = template.get(rule.key)
            && !text.trim().is_empty()
            && !rule.fits(text)
        {
            let kind = ProblemKind::BadCharacters {
                text: clip(text),
                allowed: rule.allowed,
            };
            checker.error(&At::ROOT.key(rule.key), kind);
        }
    }
}

impl Rule {
    fn fits(&self, text: &str) -> bool {
        text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && text
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || self.others.contains(&char))
    }
}
