//! `cargo xtask generate`: the committed files that are made from code.
//!
//! `.sqlx` holds the types of each query, as a migrated database reports them while the crates are
//! compiled. All other files are written by tests with `generated` in their names, which compare
//! them unless `UPDATE_GENERATED` is set.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Result;
use crate::launch::{ALL, cargo, root, succeed, with_servers};

/// Renews the generated files. With `check`, changes nothing and fails if one is out of date.
pub(crate) fn run(check: bool) -> Result {
    let (committed, wanted) = (root().join(".sqlx"), root().join("target/sqlx-queries"));
    describe_queries(&wanted, check)?;
    if check {
        let mut compare = Command::new("diff");
        compare.args(["--recursive", "--brief"]);
        compare.args([&committed, &wanted]);
        succeed(compare)
            .map_err(|error| format!("{error}; run `cargo xtask generate` and commit .sqlx"))?;
    } else {
        empty(&committed)?;
        for entry in fs::read_dir(&wanted)? {
            let entry = entry?;
            fs::copy(entry.path(), committed.join(entry.file_name()))?;
        }
    }
    let mut tests = cargo("test");
    tests.args(["--lib", "--bins", "--no-fail-fast"]).args(ALL);
    tests.arg("generated");
    if !check {
        tests.env("UPDATE_GENERATED", "1");
    }
    succeed(tests)
}

/// Writes the types of all queries to a folder, as a database with the current schema reports them.
/// Clippy has the crates checked, whose warnings fail if they are `denied`.
fn describe_queries(folder: &Path, denied: bool) -> Result {
    empty(folder)?;
    let mut check = with_servers()?;
    check.args(["--migrations", "tasker-shared/migrations"]);
    check.args(["cargo", "clippy", "--all-targets"]).args(ALL);
    if denied {
        check.args(["--", "-D", "warnings"]);
    }
    // The build scripts of the crates with queries run again when this changes, so each query is
    // checked again.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    check.env("TASKER_CHECK_QUERIES_ONLINE", now.as_nanos().to_string());
    check.env("SQLX_OFFLINE", "false");
    check.env("SQLX_OFFLINE_DIR", folder);
    succeed(check)
}

/// Creates a folder, or empties it.
fn empty(folder: &Path) -> Result {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(fs::create_dir_all(folder)?),
    }
}
