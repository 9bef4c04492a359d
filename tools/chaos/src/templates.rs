//! The templates of a run. A template's number is its position in a list of names.

use rand::RngExt;
use serde_json::{Value, json};

pub(crate) const VERSION: &str = "1.0.0";
/// The namespace whose templates are written in every way but by renaming.
pub(crate) const STAYING: &str = "chaos";
/// Both names of the namespace that is renamed and renamed back.
pub(crate) const MOVING: [&str; 2] = ["chaos_here", "chaos_there"];
/// The template that chaos reads and writes more often than the others.
pub(crate) const WATCHED: usize = 0;

const STAYING_TEMPLATES: usize = 15;
const MOVING_TEMPLATES: usize = 3;
/// The share of choices that take the watched template.
const WATCHED_SHARE: f64 = 0.3;

/// Returns all names that chaos reads: those of the moving namespace under both of its names.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    let staying = staying().map(|name| (STAYING, name));
    let moving = MOVING
        .iter()
        .flat_map(|namespace| moving().map(move |name| (*namespace, name)));
    staying.chain(moving).collect()
}

pub(crate) fn staying() -> impl Iterator<Item = String> {
    (0..STAYING_TEMPLATES).map(name)
}

pub(crate) fn moving() -> impl Iterator<Item = String> {
    (0..MOVING_TEMPLATES).map(|number| format!("moving_{number}"))
}

/// Returns the name of a random template of the staying namespace.
pub(crate) fn any_staying(random: &mut impl RngExt) -> String {
    name(if random.random_bool(WATCHED_SHARE) {
        WATCHED
    } else {
        random.random_range(0..STAYING_TEMPLATES)
    })
}

/// Returns the name of a template of the staying namespace.
pub(crate) fn name(number: usize) -> String {
    format!("chaos_{number}")
}

/// Returns a template of some 2 KB. Its marker identifies the write that it comes from.
pub(crate) fn document(namespace: &str, name: &str, marker: u32) -> Value {
    let steps: Vec<_> = (0..6)
        .map(|number| {
            json!({
                "name": format!("step_{number}"),
                "description": "Asks the inventory for all items of the order",
                "handler": {
                    "callable": "Shop::StepHandler",
                    "initialization": {"service": "inventory", "strict": true},
                },
                "dependencies": [],
                "retry": {"retryable": true, "max_attempts": 3, "backoff": "exponential"},
            })
        })
        .collect();
    json!({
        "name": name,
        "namespace_name": namespace,
        "version": VERSION,
        "task_handler": {"callable": "Shop::OrderHandler", "initialization": {"marker": marker}},
        "steps": steps,
    })
}

/// Returns the marker in a template's JSON text. Does not parse the text, because loads call this
/// for every request.
pub(crate) fn marker(document: &str) -> Option<u32> {
    let (_, rest) = document.split_once("\"marker\":")?;
    let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit());
    digits.into_iter().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{document, marker};

    #[test]
    fn the_marker_is_found_in_any_spacing() {
        assert_eq!(marker(&document("a", "b", 17).to_string()), Some(17));
        assert_eq!(marker("{\"marker\": 4294967295}"), Some(u32::MAX));
        assert_eq!(marker("{\"marker\": null}"), None);
    }
}
