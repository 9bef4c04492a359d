//! Nobody but this layer asks whether Redis is compiled in, or speaks to it.

use std::path::Path;

use walkdir::WalkDir;

#[test]
fn only_the_cache_knows_the_feature_and_the_client_of_redis() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = 0;
    for package in ["tasker-shared", "tasker-worker", "tasker-orchestration"] {
        for entry in WalkDir::new(workspace.join(package).join("src")) {
            let entry = entry.expect("the sources can be read");
            let path = entry.path();
            let is_ours = path.components().any(|part| part.as_os_str() == "cache");
            if is_ours || path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(path).expect("a source file is text");
            for word in ["feature = \"cache-redis\"", "use redis::", " redis::"] {
                assert!(!text.contains(word), "{word} is in {}", path.display());
            }
        }
    }
    assert!(files > 100, "only {files} files were looked at");
}
