//! The origin of registered templates, for their history.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Returns this process and the files of templates by name, as the trigger of the history reads
/// them.
pub(super) fn of<'a>(files: impl Iterator<Item = (String, &'a Path)>) -> String {
    // PostgreSQL stores no NUL.
    let shown = |file: &Path| file.display().to_string().replace('\0', "");
    let files: Map<String, Value> = files
        .map(|(name, file)| (name, shown(file).into()))
        .collect();
    json!({"process": process(), "files": files}).to_string()
}

/// Returns the name of the program, its id and its host.
fn process() -> String {
    let program = std::env::current_exe().ok();
    let program = program
        .as_deref()
        .and_then(Path::file_name)
        .map_or_else(|| "unknown".into(), |name| name.to_string_lossy());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.as_deref().map_or("unknown host", str::trim);
    format!("{program} {} on {host}", std::process::id())
}
