//! The workspace's source files, for tests that search them.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Returns path and text of each source file of the services and of this crate.
pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for package in [
        "tasker-templates",
        "tasker-shared",
        "tasker-web",
        "tasker-worker",
        "tasker-orchestration",
    ] {
        for entry in WalkDir::new(workspace.join(package).join("src")) {
            let path = entry.expect("the sources can be read").into_path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file is text");
                files.push((path, text));
            }
        }
    }
    assert!(files.len() > 100, "only {} were found", files.len());
    files
}
