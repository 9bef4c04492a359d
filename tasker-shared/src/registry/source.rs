//! The origin of registered templates, for their history.

use serde_json::{Map, Value, json};

use super::registration::Submission;

/// Returns this process and the files of `templates`, as the trigger of the history reads them.
pub(super) fn of(templates: &[&Submission]) -> String {
    let files: Map<String, Value> = templates
        .iter()
        .filter_map(|one| {
            let file = one.file.as_ref()?.display().to_string();
            // PostgreSQL stores no such character.
            let file = file.replace('\0', "");
            let name = format!("{}/{}/{}", one.namespace, one.name, one.version);
            Some((name, Value::from(file)))
        })
        .collect();
    json!({"process": process(), "files": files}).to_string()
}

/// Returns the name of the program, its id and its host.
fn process() -> String {
    let program = std::env::current_exe().ok();
    let program = program
        .as_deref()
        .and_then(std::path::Path::file_name)
        .map_or_else(|| "unknown".into(), |name| name.to_string_lossy());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.as_deref().map_or("unknown host", str::trim);
    format!("{program} {} on {host}", std::process::id())
}
