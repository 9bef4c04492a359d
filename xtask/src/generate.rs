//! `cargo xtask generate`: the committed files that are made from code.
//!
//! `.sqlx` holds the types of each query, as a migrated database reports them while the crates are
//! compiled. All other files are written by tests with `generated` in their names, which compare
//! them unless `UPDATE_GENERATED` is set.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

use crate::error::XtaskError;
use crate::launch::{cargo, root, succeed, with_servers};

/// Files by name.
type Files = BTreeMap<String, Vec<u8>>;

/// Renews the generated files. With `check`, changes nothing and fails if one is out of date.
pub(crate) fn run(check: bool) -> Result<(), XtaskError> {
    let committed = root().join(".sqlx");
    let (wanted, present) = (queries()?, read(&committed)?);
    let differing: Vec<&String> = wanted
        .keys()
        .chain(present.keys())
        .filter(|name| wanted.get(*name) != present.get(*name))
        .collect();
    println!(
        "{} queries in .sqlx, {} changed",
        wanted.len(),
        differing.len()
    );
    if check && !differing.is_empty() {
        return Err(XtaskError::NotCurrent {
            files: differing
                .iter()
                .map(|name| format!(".sqlx/{name}"))
                .collect(),
        });
    }
    for name in differing {
        let path = committed.join(name);
        let outcome = match wanted.get(name) {
            Some(content) => fs::write(&path, content),
            None => fs::remove_file(&path),
        };
        outcome.map_err(XtaskError::file(path))?;
    }
    let mut tests = cargo("test");
    tests.args([
        "--workspace",
        "--all-features",
        "--lib",
        "--bins",
        "--no-fail-fast",
    ]);
    tests.arg("generated");
    if !check {
        tests.env("UPDATE_GENERATED", "1");
    }
    succeed(tests)
}

/// Returns the types of all queries, as a database with the current schema reports them.
fn queries() -> Result<Files, XtaskError> {
    let folder = root().join("target/sqlx-queries");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(XtaskError::file(folder)(error));
        }
        _ => fs::create_dir_all(&folder).map_err(XtaskError::file(&folder))?,
    }
    let mut check = with_servers();
    check.args(["--migrations", "tasker-shared/migrations", "cargo", "check"]);
    check.args(["--workspace", "--all-features", "--all-targets"]);
    // The build scripts of the crates with queries run again when this changes, so each query is
    // checked again.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    check.env("TASKER_CHECK_QUERIES_ONLINE", now.as_nanos().to_string());
    check.env("SQLX_OFFLINE", "false");
    check.env("SQLX_OFFLINE_DIR", &folder);
    succeed(check)?;
    read(&folder)
}

fn read(folder: &Path) -> Result<Files, XtaskError> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder).map_err(XtaskError::file(folder))? {
        let entry = entry.map_err(XtaskError::file(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("query-") {
            let path = entry.path();
            files.insert(name, fs::read(&path).map_err(XtaskError::file(path))?);
        }
    }
    Ok(files)
}
