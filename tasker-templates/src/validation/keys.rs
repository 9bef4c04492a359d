//! Unknown keys: a misspelt key would otherwise change a workflow without a word.

use super::shape::{Keys, Shape};
use crate::path::{At, clip};
use crate::problem::ProblemKind;
use crate::suggestion::nearest;

/// Names for our keys in other workflow engines, without underscores.
const SYNONYMS: &[(&str, &str)] = &[
    ("dependson", "dependencies"),
    ("dependon", "dependencies"),
    ("depends", "dependencies"),
    ("depend", "dependencies"),
    ("dependsonsteps", "dependencies"),
    ("after", "dependencies"),
    ("requires", "dependencies"),
    ("waitfor", "dependencies"),
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

/// Returns the error of an unknown `key` that stands for one that decides which steps run, or in
/// which order.
pub(super) fn misspelt_graph_key(keys: &Keys, key: &str, at: &At<'_>) -> Option<ProblemKind> {
    if at.is_below("environments") {
        return None;
    }
    let known = synonym(key).or_else(|| nearest(key, GRAPH_KEYS.iter().copied()))?;
    if !GRAPH_KEYS.contains(&known) || !keys.shapes.contains_key(known) {
        return None;
    }
    let key = clip(key);
    Some(ProblemKind::MisspeltGraphKey { key, known })
}

/// Returns the warning about any other unknown `key`. It is no error, because other releases may
/// know the key.
pub(super) fn unknown_key(keys: &Keys, key: &str, at: &At<'_>) -> ProblemKind {
    if at.is_below("environments") && template_keys().has_anywhere(key) {
        return ProblemKind::NotOverridable { key: clip(key) };
    }
    ProblemKind::UnknownKey {
        key: clip(key),
        suggestion: known_key(keys, key),
    }
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
