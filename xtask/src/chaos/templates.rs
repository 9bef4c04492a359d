//! The templates of a run. Their number is their place here.

use serde_json::{Value, json};

pub(super) const VERSION: &str = "1.0.0";
/// Written by everybody, in every way but by renaming.
pub(super) const STAYING: &str = "chaos";
/// The two names of the namespace that moves.
pub(super) const MOVING: [&str; 2] = ["chaos_here", "chaos_there"];

const STAYING_TEMPLATES: usize = 15;
const MOVING_TEMPLATES: usize = 3;

/// Template 0, which is read and written more than the others.
pub(super) const WATCHED: u16 = 0;

/// All names that are read: those of the moving namespace in both of its places.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let staying = staying().map(|name| (STAYING, name));
    let moving = MOVING
        .iter()
        .flat_map(|namespace| moving().map(move |name| (*namespace, name)));
    staying.chain(moving).collect()
}

pub(super) fn staying() -> impl Iterator<Item = String> {
    (0..STAYING_TEMPLATES).map(|number| format!("chaos_{number}"))
}

pub(super) fn moving() -> impl Iterator<Item = String> {
    (0..MOVING_TEMPLATES).map(|number| format!("moving_{number}"))
}

/// All names on one line.
pub(super) fn list() -> String {
    let names: Vec<_> = all()
        .iter()
        .map(|(namespace, name)| format!("{namespace}/{name}"))
        .collect();
    names.join(",")
}

/// A template whose marker says which write it is from.
pub(super) fn document(namespace: &str, name: &str, marker: u32) -> Value {
    json!({
        "name": name,
        "namespace_name": namespace,
        "version": VERSION,
        "task_handler": {"callable": "Chaos::Handler", "initialization": {"marker": marker}},
        "steps": [{"name": "only", "handler": {"callable": "Chaos::Step"}, "dependencies": []}],
    })
}

/// The marker of a document that a service answered.
pub(super) fn marker(document: &Value) -> Option<u32> {
    let marker = document.pointer("/task_handler/initialization/marker")?;
    u32::try_from(marker.as_u64()?).ok()
}
