//! The files of a configuration, in the order in which they apply.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::Table;

use super::errors::{ConfigProblem, Origin};

/// The defaults of all keys, and their documentation: the repository's base files at compile time.
const EMBEDDED: [(&str, &str); 3] = [
    (
        "common.toml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../config/tasker/base/common.toml"
        )),
    ),
    (
        "orchestration.toml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../config/tasker/base/orchestration.toml"
        )),
    ),
    (
        "worker.toml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../config/tasker/base/worker.toml"
        )),
    ),
];

/// The tables of one file.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) origin: Origin,
    pub(super) table: Table,
}

/// Returns the embedded defaults.
pub(super) fn embedded() -> impl Iterator<Item = Layer> {
    EMBEDDED.iter().map(|(name, text)| Layer {
        origin: Origin::Embedded(name),
        table: text
            .parse()
            .expect("the tests have parsed the embedded defaults"),
    })
}

/// Returns the `.toml` files below `root`: those of `tasker/base`, then those of
/// `tasker/environments/{environment}`, in each by name, so that the later name wins.
///
/// An environment without a folder is a problem if `chosen`, because a service with a misspelt
/// environment would otherwise run without its settings.
pub(super) fn below(
    root: &Path,
    environment: &str,
    chosen: bool,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<Layer> {
    let tasker = root.join("tasker");
    if !tasker.is_dir() {
        problems.push(ConfigProblem::MissingFolder { folder: tasker });
        return Vec::new();
    }
    let environments = tasker.join("environments");
    let overrides = environments.join(environment);
    if chosen && environments.is_dir() && !overrides.is_dir() {
        problems.push(ConfigProblem::UnknownEnvironment {
            name: environment.to_owned(),
            known: folders_in(&environments),
            folder: overrides.clone(),
        });
    }
    [tasker.join("base"), overrides]
        .iter()
        .flat_map(|folder| files_in(folder, problems))
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(|file| read(file, problems))
        .collect()
}

/// Returns the table of one file. A file that is missing is a problem, because somebody named it.
pub(super) fn file(path: PathBuf, problems: &mut Vec<ConfigProblem>) -> Option<Layer> {
    read(path, problems)
}

fn files_in(folder: &Path, problems: &mut Vec<ConfigProblem>) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<io::Result<Vec<_>>>()
        })
        .map(|mut files| {
            files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
            files.sort();
            files
        });
    match listed {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => {
            let path = folder.to_owned();
            problems.push(ConfigProblem::Unreadable { path, source });
            Vec::new()
        }
    }
}

/// Returns the names of the folders in `folder` for an error's text, or none if it cannot be read.
fn folders_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn read(file: PathBuf, problems: &mut Vec<ConfigProblem>) -> Option<Layer> {
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(source) => {
            problems.push(ConfigProblem::Unreadable { path: file, source });
            return None;
        }
    };
    match text.parse() {
        Ok(table) => Some(Layer {
            origin: Origin::File(file),
            table,
        }),
        Err(error) => {
            problems.push(syntax(file, &text, &error));
            None
        }
    }
}

/// Keeps the parser's message and line and drops the quoted text, which may contain a password.
fn syntax(file: PathBuf, text: &str, error: &toml::de::Error) -> ConfigProblem {
    let offset = error.span().map_or(0, |span| span.start);
    let before = text.get(..offset).unwrap_or(text);
    ConfigProblem::Syntax {
        file,
        line: before.matches('\n').count() + 1,
        column: before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1,
        message: error.message().to_owned(),
    }
}
