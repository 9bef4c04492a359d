//! Checks a template's name, namespace and version.

use serde_json::{Map, Value};

use super::checker::Checker;
use crate::models::core::task_template::path::{At, clip};
use crate::models::core::task_template::problem::ProblemKind;

/// The characters of a name. A name becomes a part of cache keys, key patterns and URL paths, so it
/// cannot begin with a dot: a URL path would resolve `..` away.
struct Rule {
    key: &'static str,
    max: usize,
    allowed: &'static str,
    others: &'static [char],
}

const RULES: [Rule; 3] = [
    Rule {
        key: "name",
        max: 64,
        allowed: "A-Z a-z 0-9 _ . -, the first of them a letter, a digit or _",
        others: &['_', '.', '-'],
    },
    Rule {
        key: "namespace_name",
        max: 29,
        allowed: "A-Z a-z 0-9 _",
        others: &['_'],
    },
    Rule {
        key: "version",
        max: 16,
        allowed: "A-Z a-z 0-9 . _ + -, the first of them a letter, a digit or _",
        others: &['.', '_', '+', '-'],
    },
];

/// Checks the names that a template is registered under.
pub(super) fn check(checker: &mut Checker, template: &Map<String, Value>) {
    for rule in &RULES {
        if let Some(text) = checker.required_text(template, rule.key, &At::ROOT) {
            rule.check(checker, text);
        }
    }
}

impl Rule {
    fn check(&self, checker: &mut Checker, text: &str) {
        let at = At::ROOT.key(self.key);
        if !self.fits(text) {
            let kind = ProblemKind::BadCharacters {
                text: clip(text),
                allowed: self.allowed,
            };
            checker.error(&at, kind);
        }
        max_length(checker, &at, text, self.max);
    }

    fn fits(&self, text: &str) -> bool {
        text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && text
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || self.others.contains(&char))
    }
}

/// Checks that `text` is not longer than its database column.
pub(super) fn max_length(checker: &mut Checker, at: &At<'_>, text: &str, max: usize) {
    let length = text.chars().count();
    if length > max {
        checker.error(at, ProblemKind::TooLong { length, max });
    }
}
