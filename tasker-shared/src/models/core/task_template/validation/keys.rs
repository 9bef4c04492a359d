//! Unknown keys: a misspelt key would otherwise change a workflow without a word.

use super::checker::Checker;
use super::shape::{Keys, Shape};
use crate::models::core::task_template::path::{At, clip};
use crate::models::core::task_template::problem::ProblemKind;
use crate::models::core::task_template::suggestion::nearest;

/// Names for our keys in other workflow engines, without underscores.
const SYNONYMS: &[(&str, &str)] = &[
    ("dependson", "dependencies"),
    ("dependon", "dependencies"),
    ("depends", "dependencies"),
    ("dependency", "dependencies"),
    ("needs", "dependencies"),
    ("timeout", "timeout_seconds"),
    ("timeoutms", "timeout_seconds"),
    ("retries", "max_attempts"),
    ("maxretries", "max_attempts"),
    ("limit", "max_attempts"),
    ("retrylimit", "max_attempts"),
    ("attempts", "max_attempts"),
    ("initialdelay", "backoff_base_ms"),
    ("backoffms", "backoff_base_ms"),
    ("maxdelay", "max_backoff_ms"),
    ("namespace", "namespace_name"),
];

/// Keys that decide which steps run, and in which order.
const GRAPH_KEYS: &[&str] = &["steps", "dependencies", "type", "step_type"];

/// Returns true for keys that belong to the author and are never checked.
pub(super) fn is_free(key: &str) -> bool {
    key == "metadata" || key.starts_with("x-")
}

/// Reports a `key` that the mapping at `parent` does not have.
///
/// It is an error if it stands for a key that decides which steps run, or in which order. Otherwise
/// it is a warning, because other releases may know the key.
pub(super) fn unknown_key(checker: &mut Checker, keys: &'static Keys, key: &str, parent: &At<'_>) {
    let at = parent.key(key);
    if at.is_below("environments") {
        checker.warning_with(&at, || {
            let is_known = template_keys().has_anywhere(key);
            let key_text = clip(key);
            if is_known {
                ProblemKind::NotOverridable { key: key_text }
            } else {
                unknown(key_text, known_key(keys, key))
            }
        });
        return;
    }
    let graph_keys = GRAPH_KEYS.iter().copied();
    let known = synonym(key).or_else(|| nearest(key, graph_keys.clone()));
    let is_of_graph = |known: &&str| GRAPH_KEYS.contains(known) && keys.shapes.contains_key(*known);
    if let Some(known) = known.filter(is_of_graph) {
        let key = clip(key);
        checker.error(&at, ProblemKind::MisspeltGraphKey { key, known });
    } else {
        checker.warning_with(&at, || unknown(clip(key), known_key(keys, key)));
    }
}

fn unknown(key: String, suggestion: Option<String>) -> ProblemKind {
    ProblemKind::UnknownKey { key, suggestion }
}

fn template_keys() -> &'static Keys {
    match Shape::of_template() {
        Shape::Mapping(keys) => keys,
        _ => unreachable!("a template is a mapping"),
    }
}

/// Returns the known key that `key` is another name for.
fn synonym(key: &str) -> Option<&'static str> {
    let plain = key.replace(['_', '-'], "").to_lowercase();
    let found = SYNONYMS.iter().find(|(synonym, _)| *synonym == plain);
    found.map(|(_, known)| *known)
}

/// Returns the known key that `key` most likely stands for: a synonym, a misspelling, or a key of a
/// mapping below, such as `retry.max_attempts`.
fn known_key(keys: &Keys, key: &str) -> Option<String> {
    let here = keys.shapes.keys().map(|name| (name.as_str(), name.clone()));
    let below = keys.shapes.iter().flat_map(|(parent, shape)| {
        let Shape::Mapping(below) = shape else {
            return Vec::new();
        };
        let names = below.shapes.keys();
        names
            .map(|name| (name.as_str(), format!("{parent}.{name}")))
            .collect()
    });
    let known: Vec<(&str, String)> = here.chain(below).collect();
    let find = |name: &str| known.iter().find(|(known, _)| *known == name);
    let (_, path) = synonym(key)
        .and_then(find)
        .or_else(|| find(nearest(key, known.iter().map(|(name, _)| *name))?))?;
    Some(path.clone())
}
