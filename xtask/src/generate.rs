//! `cargo xtask generate`: the files that are made from code, and committed.
//!
//! Queries are checked against a database when their crates are compiled, and what the database
//! said of each is kept in `.sqlx`. Everything else is written by tests with `generated` in their
//! names, which compare when `UPDATE_GENERATED` is not set.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::SystemTime;

use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};
use tasker_test_support::{HeldFolder, TestDatabase};

use crate::cargo::{cargo, root, succeed};
use crate::error::XtaskError;
use crate::servers;

/// File names with their contents.
type Files = BTreeMap<String, Vec<u8>>;

/// Renews the generated files, or only compares them.
pub(crate) async fn run(check: bool, may_install: bool) -> Result<(), XtaskError> {
    let committed = root().join(".sqlx");
    let wanted = queries(may_install).await?;
    let present = read(&committed)?;
    let differing: Vec<String> = wanted
        .keys()
        .chain(present.keys())
        .filter(|name| wanted.get(*name) != present.get(*name))
        .map(|name| format!(".sqlx/{name}"))
        .collect();
    if check && !differing.is_empty() {
        return Err(XtaskError::NotCurrent { files: differing });
    }
    if !differing.is_empty() {
        replace(&committed, &present, &wanted)?;
    }
    println!(
        "{} queries in .sqlx, {} changed",
        wanted.len(),
        differing.len()
    );

    let mut tests = cargo();
    tests.args([
        "test",
        "--workspace",
        "--all-features",
        "--lib",
        "--no-fail-fast",
        "generated",
    ]);
    if !check {
        tests.env("UPDATE_GENERATED", "1");
    }
    succeed(tests).await
}

/// What a database with the current schema says of every query.
async fn queries(may_install: bool) -> Result<Files, XtaskError> {
    let postgres = servers::postgres(may_install).await?;
    let database = TestDatabase::create_on(postgres.url()).await?;
    let mut connection = PgConnection::connect(database.url()).await?;
    let migrations = root().join("tasker-shared/migrations");
    Migrator::new(migrations.as_path())
        .await?
        .run(&mut connection)
        .await?;
    connection.close().await?;

    let folder = HeldFolder::create()?;
    touch_crates()?;
    let mut check = cargo();
    check
        .args(["check", "--workspace", "--all-features", "--all-targets"])
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", folder.path())
        .env("DATABASE_URL", database.url());
    succeed(check).await?;
    read(folder.path())
}

/// Cargo cannot know that queries are to be checked again; a crate that is newer than its build
/// is compiled again, and only the workspace's own crates are.
fn touch_crates() -> Result<(), XtaskError> {
    let files = walkdir::WalkDir::new(root())
        .min_depth(2)
        .max_depth(4)
        .into_iter();
    let files = files.filter_entry(|entry| {
        // Neither what cargo built nor what git keeps, and nothing that has no sources in it.
        !matches!(
            entry.file_name().to_str(),
            Some("target" | ".git" | "node_modules")
        )
    });
    for entry in files {
        let entry = entry?;
        let path = entry.path();
        let is_root = ["src/lib.rs", "src/main.rs", "tests/it/main.rs"]
            .iter()
            .any(|suffix| path.ends_with(suffix));
        if is_root {
            let now = FileTimes::new().set_modified(SystemTime::now());
            File::options()
                .append(true)
                .open(path)
                .and_then(|file| file.set_times(now))
                .map_err(XtaskError::file(path))?;
        }
    }
    Ok(())
}

fn read(folder: &Path) -> Result<Files, XtaskError> {
    let mut files = Files::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for entry in walkdir::WalkDir::new(folder).min_depth(1).max_depth(1) {
        let path = entry?.into_path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("query-") {
            let content = fs::read(&path).map_err(XtaskError::file(path))?;
            files.insert(name, content);
        }
    }
    Ok(files)
}

fn replace(folder: &Path, present: &Files, wanted: &Files) -> Result<(), XtaskError> {
    fs::create_dir_all(folder).map_err(XtaskError::file(folder))?;
    for name in present.keys().filter(|name| !wanted.contains_key(*name)) {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(XtaskError::file(path))?;
    }
    for (name, content) in wanted {
        let path = folder.join(name);
        fs::write(&path, content).map_err(XtaskError::file(path))?;
    }
    Ok(())
}
