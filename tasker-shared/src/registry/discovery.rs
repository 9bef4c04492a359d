//! Finds the template files below a folder, and reads and checks them.
//!
//! One bad file never stops the others. Nothing is registered here.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use walkdir::{DirEntry, WalkDir};

use super::errors::RegistryError;
use super::registration::{CheckedTemplate, RegistrationOutcome};
use crate::models::core::task_template::{
    Problem, TemplateDocument, TemplateError, TemplateLimits,
};
use crate::types::{CacheInvalidation, ContentHash};

/// The outcome of a discovery.
#[derive(Debug, Clone, Default)]
pub struct TaskTemplateDiscoveryResult {
    /// The number of template files, good and bad.
    pub total_files: usize,
    /// Templates that are registered now, unchanged ones included, in the order of their files.
    pub registered: Vec<RegistrationOutcome>,
    /// Every problem that was found. A file with one is not registered.
    pub errors: Vec<DiscoveryProblem>,
    /// Warnings about files, registered ones and others.
    pub warnings: Vec<DiscoveryProblem>,
    /// The result of deleting the cached templates of registered names.
    pub invalidation: CacheInvalidation,
}

/// An error or a warning about a template file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryProblem {
    /// The file.
    pub file: PathBuf,
    /// The line in the file, from 1, if it is known.
    pub line: Option<usize>,
    /// The column in the line, from 1, if it is known.
    pub column: Option<usize>,
    /// The path in the document, such as `steps[2].dependencies[0]`; empty for the whole document.
    pub path: String,
    /// The name of this kind of problem, such as `unknown_key`. It stays the same in all releases.
    pub code: &'static str,
    /// The problem, in a sentence.
    pub message: String,
}

/// The templates in files and below folders.
#[derive(Debug, Default)]
pub struct FoundTemplates {
    /// The number of template files, good and bad.
    pub total_files: usize,
    /// The good ones, each with another (namespace, name, version), in the order of paths.
    pub templates: Vec<CheckedTemplate>,
    /// The errors, in the order of paths and lines.
    pub errors: Vec<DiscoveryProblem>,
    /// The warnings, in the order of paths and lines.
    pub warnings: Vec<DiscoveryProblem>,
}

/// A checked file. The document itself is dropped by the thread that parsed it.
struct CheckedFile {
    template: CheckedTemplate,
    warnings: Vec<Problem>,
}

/// A reason why one file cannot be used.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a regular file")]
    NotRegular,
    #[error(
        "it is larger than the limit of {limit} bytes; split it, or raise common.task_templates.max_file_bytes"
    )]
    TooLarge { limit: u64 },
    #[error("{0}")]
    Template(#[from] TemplateError),
}

impl FileError {
    fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "file_unreadable",
            Self::NotRegular => "file_not_regular",
            Self::TooLarge { .. } => "too_large",
            Self::Template(_) => "template_shape",
        }
    }
}

/// Does the same as [`check_template_files`] on a blocking thread, because reading and parsing keep
/// all cores busy.
pub(super) async fn find(
    paths: &[PathBuf],
    max_file_bytes: u64,
) -> Result<FoundTemplates, RegistryError> {
    let paths = paths.to_vec();
    tokio::task::spawn_blocking(move || check_template_files(&paths, max_file_bytes))
        .await
        // Nobody cancels the task, so an error means that it panicked.
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Fails unless `path` is a folder that can be read. A registration is of folders, and a file in
/// place of one is a mistake.
pub(super) async fn require_folder(path: &Path) -> Result<(), RegistryError> {
    match tokio::fs::read_dir(path).await {
        Ok(_) => Ok(()),
        Err(source) => Err(unreadable(path, source)),
    }
}

fn unreadable(path: &Path, source: io::Error) -> RegistryError {
    RegistryError::Folder {
        path: path.display().to_string(),
        source: Arc::new(source),
    }
}

/// Checks files, and all `*.yaml` and `*.yml` below folders, as a registration does. A file that is
/// named itself is read under any name. Below folders, links are followed and hidden entries are
/// skipped. Uses all cores, and blocks.
///
/// # Errors
/// [`RegistryError::Folder`] if a path does not exist or cannot be read.
pub fn check_template_files(
    paths: &[PathBuf],
    max_file_bytes: u64,
) -> Result<FoundTemplates, RegistryError> {
    let mut found = FoundTemplates::default();
    let mut entries = Vec::new();
    for path in paths {
        found.walk(path, &mut entries)?;
    }
    if paths.len() > 1 {
        // One file may be named twice, or lie below two of the folders.
        let mut seen = HashSet::new();
        entries.retain(|entry| {
            let path = entry.path();
            seen.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
        });
    }
    found.total_files = entries.len();
    let limits = TemplateLimits::with_max_bytes(max_file_bytes);
    let files: Vec<_> = entries
        .into_par_iter()
        .map(|entry| {
            let checked = check_file(&entry, max_file_bytes, limits);
            (entry.into_path(), checked)
        })
        .collect();
    let mut seen = Seen::default();
    for (path, checked) in files {
        match checked {
            Ok(file) => found.add(path, file, &mut seen),
            Err(error) => found.refuse(&path, &error),
        }
    }
    found
        .templates
        .retain(|template| !seen.conflicts.contains(&template.hash));
    // Stable, so that the problems of one file keep the order of their lines.
    found.errors.sort_by(|a, b| a.file.cmp(&b.file));
    found.warnings.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(found)
}

/// The files that were added.
#[derive(Default)]
struct Seen {
    /// The first file of each template, with the hash of its document.
    files: HashMap<(String, String, String), (PathBuf, ContentHash)>,
    /// Documents of which another file has another version under the same name.
    conflicts: HashSet<ContentHash>,
}

impl FoundTemplates {
    /// Adds the template files below `path` to `entries`, or the file that it is.
    fn walk(&mut self, path: &Path, entries: &mut Vec<DirEntry>) -> Result<(), RegistryError> {
        // The walk reports an unreadable folder like any other entry, but here nothing can follow it.
        let is_folder = std::fs::metadata(path).map(|metadata| metadata.is_dir());
        let readable = is_folder.and_then(|is_folder| {
            if is_folder {
                std::fs::read_dir(path)?;
            }
            Ok(is_folder)
        });
        let is_folder = readable.map_err(|source| unreadable(path, source))?;
        // Sorts while it walks, because comparing whole paths takes far longer.
        let walk = WalkDir::new(path)
            .follow_links(true)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.path()));
        for entry in walk {
            match entry {
                Ok(entry) if !is_folder || is_template(&entry) => entries.push(entry),
                Ok(entry) if looks_like_template(&entry) => {
                    let message = "this file is not read, because its name does not end in `.yaml` \
                                   or `.yml`; rename it if it is a template";
                    let file = entry.into_path();
                    self.warnings
                        .push(whole_file(file, "file_name", message.to_owned()));
                }
                Ok(_) => {}
                // An editor's lock file is a hidden link to nowhere.
                Err(error) if error.path().is_some_and(is_hidden) => {}
                Err(error) => self.errors.push(walk_problem(path, &error)),
            }
        }
        Ok(())
    }

    /// Adds a file. A second file with the same template is a warning if its document is the same.
    /// Otherwise it is an error, and neither document is registered, because the order of file names
    /// must not decide which of them runs.
    fn add(&mut self, path: PathBuf, file: CheckedFile, seen: &mut Seen) {
        let CheckedFile {
            mut template,
            warnings,
        } = file;
        let key = (
            template.namespace.clone(),
            template.name.clone(),
            template.version.clone(),
        );
        match seen.files.entry(key) {
            Entry::Vacant(vacant) => {
                let warnings = warnings.iter();
                self.warnings
                    .extend(warnings.map(|problem| discovery_problem(&path, problem)));
                template.file = Some(path.clone());
                vacant.insert((path, template.hash));
                self.templates.push(template);
            }
            Entry::Occupied(first) => {
                let (namespace, name, version) = first.key();
                let name = format!("{namespace}/{name}/{version}");
                let (first, hash) = first.get();
                let first = first.display();
                if *hash == template.hash {
                    let message = format!("{first} has the same template {name} already");
                    self.warnings
                        .push(whole_file(path, "same_template", message));
                } else {
                    let message = format!(
                        "{first} has another document for {name}, so neither is registered; delete one of the files, or give it another version"
                    );
                    seen.conflicts.insert(*hash);
                    self.errors
                        .push(whole_file(path, "conflicting_template", message));
                }
            }
        }
    }
}

impl FoundTemplates {
    /// Adds the problems of a file that cannot be used, and its warnings.
    fn refuse(&mut self, path: &Path, error: &FileError) {
        let listed = |problems: &[Problem]| {
            let problems = problems.iter();
            problems
                .map(|problem| discovery_problem(path, problem))
                .collect::<Vec<_>>()
        };
        match error {
            FileError::Template(error) if !error.problems().is_empty() => {
                self.errors.extend(listed(error.problems()));
                self.warnings.extend(listed(error.warnings()));
            }
            error => self
                .errors
                .push(whole_file(path.to_owned(), error.code(), error.to_string())),
        }
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Returns true for names of templates. Reading reports those that are not regular files.
fn is_template(entry: &DirEntry) -> bool {
    let extension = entry.path().extension();
    extension.is_some_and(|extension| extension == "yaml" || extension == "yml")
        && !entry.file_type().is_dir()
}

/// Returns true for names that an author may believe to be read: `a.json`, `a.YAML`, `a.ymal` or
/// `a.yaml.txt`. Copies such as `a.yaml.bak` were put aside on purpose.
fn looks_like_template(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy().to_lowercase();
    let endings = [
        ".yaml",
        ".yml",
        ".json",
        ".ymal",
        ".yam",
        ".yaml.txt",
        ".yml.txt",
    ];
    entry.file_type().is_file() && endings.iter().any(|ending| name.ends_with(ending))
}

fn check_file(
    entry: &DirEntry,
    max_file_bytes: u64,
    limits: TemplateLimits,
) -> Result<CheckedFile, FileError> {
    let document = TemplateDocument::from_yaml(&read_file(entry, max_file_bytes)?, limits)?;
    Ok(CheckedFile {
        template: CheckedTemplate::from(&document),
        warnings: document.warnings().to_vec(),
    })
}

fn read_file(entry: &DirEntry, limit: u64) -> Result<Vec<u8>, FileError> {
    // Opening a pipe would wait for a writer.
    if !entry.file_type().is_file() {
        return Err(FileError::NotRegular);
    }
    let file = File::open(entry.path())?;
    // The file may grow while it is read, so one byte past the limit decides.
    let expected = file.metadata()?.len().min(limit).saturating_add(1);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge { limit });
    }
    Ok(bytes)
}

fn discovery_problem(path: &Path, problem: &Problem) -> DiscoveryProblem {
    DiscoveryProblem {
        file: path.to_path_buf(),
        line: problem.line,
        column: problem.column,
        path: problem.path.clone(),
        code: problem.kind.code(),
        message: problem.kind.to_string(),
    }
}

fn walk_problem(folder: &Path, error: &walkdir::Error) -> DiscoveryProblem {
    let path = error.path().unwrap_or(folder).to_path_buf();
    let message = match (error.loop_ancestor(), error.io_error()) {
        (Some(ancestor), _) => format!(
            "this link leads back to {}, which contains it",
            ancestor.display()
        ),
        (None, Some(error)) => format!("it cannot be read: {error}"),
        (None, None) => error.to_string(),
    };
    whole_file(path, "file_unreadable", message)
}

fn whole_file(file: PathBuf, code: &'static str, message: String) -> DiscoveryProblem {
    DiscoveryProblem {
        file,
        line: None,
        column: None,
        path: String::new(),
        code,
        message,
    }
}

/// Returns the error of a file whose content `on_changed_version` refuses.
pub(super) fn refused(outcome: &RegistrationOutcome) -> DiscoveryProblem {
    let RegistrationOutcome {
        namespace,
        name,
        version,
        file,
        ..
    } = outcome;
    whole_file(
        file.clone().unwrap_or_default(),
        "changed_version",
        format!(
            "{namespace}/{name}/{version} is registered with other content, which is kept because \
             common.task_templates.on_changed_version is `refuse`; give the file another version"
        ),
    )
}

/// Returns the warning about a template that new tasks do not find although its file is there.
pub(super) fn retired(outcome: &RegistrationOutcome) -> DiscoveryProblem {
    let RegistrationOutcome {
        namespace,
        name,
        version,
        file,
        ..
    } = outcome;
    let template = format!("{namespace}/{name}/{version}");
    whole_file(
        file.clone().unwrap_or_default(),
        "template_retired",
        format!(
            "{template} is retired, so new tasks do not find it; give the file another version, or \
             end the retirement: `tasker template retire {template} --undo`"
        ),
    )
}

#[cfg(test)]
mod tests;
