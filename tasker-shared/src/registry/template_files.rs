//! Finds template files below a directory and reads them.
//!
//! One bad file never stops the others, and nothing is registered here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use walkdir::{DirEntry, WalkDir};

use super::RegistryError;
use super::submission::Submission;
use crate::models::core::task_template::{
    Problem, TemplateDocument, TemplateError, TemplateLimits,
};
use crate::types::ContentHash;

/// Something that is wrong or doubtful in a template file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryProblem {
    /// The file.
    pub file: PathBuf,
    /// The line in the file, from 1, where it is known.
    pub line: Option<usize>,
    /// Where in the document, such as `steps[2].dependencies[0]`; empty for the document itself.
    pub path: String,
    /// What is wrong, in a sentence.
    pub message: String,
}

/// The template files of a directory.
#[derive(Debug, Default)]
pub(crate) struct TemplateFiles {
    /// Files with a template's name, good and bad.
    pub(crate) total_files: usize,
    /// What the good ones hold, each of another (namespace, name, version), in the order of paths.
    pub(crate) templates: Vec<Submission>,
    /// What is wrong, in the order of paths and lines.
    pub(crate) errors: Vec<DiscoveryProblem>,
    /// What is doubtful, in the order of paths and lines.
    pub(crate) warnings: Vec<DiscoveryProblem>,
}

/// What is kept of a file that was read: the document's tree is taken down by the thread that
/// built it.
struct ReadFile {
    template: Submission,
    warnings: Vec<Problem>,
}

/// Why one file cannot be read.
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

/// Reads every `*.yaml` and `*.yml` below `directory`, links followed and hidden entries left out.
///
/// It blocks, and uses all cores to parse. Of several files with the same template the first in
/// the order of paths counts; another one is an error, or a warning when it says the same.
///
/// # Errors
/// When `directory` itself cannot be read.
pub(crate) fn read_template_files(
    directory: &Path,
    max_file_bytes: u64,
) -> Result<TemplateFiles, RegistryError> {
    // The walk below reports this one like any other entry; here it means that nothing is right.
    std::fs::read_dir(directory).map_err(|source| RegistryError::Directory {
        path: directory.display().to_string(),
        source: Arc::new(source),
    })?;
    let mut result = TemplateFiles::default();
    let mut entries = Vec::new();
    // Sorted as it goes, which gives the order of paths: comparing whole paths takes far longer.
    let walk = WalkDir::new(directory)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.path()));
    for entry in walk {
        match entry {
            Ok(entry) if is_template(&entry) => entries.push(entry),
            Ok(_) => {}
            // An editor's lock file is a hidden link to nowhere.
            Err(error) if error.path().is_some_and(is_hidden) => {}
            Err(error) => result.errors.push(walk_problem(directory, &error)),
        }
    }
    result.total_files = entries.len();
    let limits = TemplateLimits::with_max_bytes(max_file_bytes);
    // One buffer for each thread: a block of this size that comes and goes with each file makes
    // the allocator tidy up after each document.
    let read: Vec<_> = entries
        .par_iter()
        .map_init(Vec::new, |bytes, entry| read_file(entry, limits, bytes))
        .collect();
    let mut seen = Seen::default();
    for (entry, read) in entries.into_iter().zip(read) {
        let path = entry.into_path();
        match read {
            Ok(read) => result.add(path, read, &mut seen),
            Err(error) => result.errors.extend(file_problems(&path, &error)),
        }
    }
    result
        .errors
        .sort_by(|left, right| left.file.cmp(&right.file));
    Ok(result)
}

/// Which file has which template, and what the template says.
type Seen = HashMap<(String, String, String), (PathBuf, ContentHash)>;

impl TemplateFiles {
    fn add(&mut self, path: PathBuf, read: ReadFile, seen: &mut Seen) {
        let ReadFile { template, warnings } = read;
        let key = (
            template.namespace.clone(),
            template.name.clone(),
            template.version.clone(),
        );
        match seen.entry(key) {
            Entry::Vacant(place) => {
                let warnings = warnings.iter();
                self.warnings
                    .extend(warnings.map(|problem| discovery_problem(&path, problem)));
                place.insert((path, template.hash));
                self.templates.push(template);
            }
            Entry::Occupied(place) => {
                let (first, hash) = place.get();
                let first = first.display();
                let (namespace, name, version) = place.key();
                let name = format!("{namespace}/{name}/{version}");
                if *hash == template.hash {
                    let message = format!("{first} has the same template {name} already");
                    self.warnings.push(whole_file(path, message));
                } else {
                    let message = format!(
                        "{first} has another template {name}, which counts; give one of them another version"
                    );
                    self.errors.push(whole_file(path, message));
                }
            }
        }
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether the entry is named as a template is. What is no regular file is told when it is read.
fn is_template(entry: &DirEntry) -> bool {
    let extension = entry.path().extension();
    extension.is_some_and(|extension| extension == "yaml" || extension == "yml")
        && !entry.file_type().is_dir()
}

/// Reads the file into `bytes`, whatever they held, and checks it.
fn read_file(
    entry: &DirEntry,
    limits: TemplateLimits,
    bytes: &mut Vec<u8>,
) -> Result<ReadFile, FileError> {
    // Opening a pipe would wait for a writer.
    if !entry.file_type().is_file() {
        return Err(FileError::NotRegular);
    }
    bytes.clear();
    File::open(entry.path())?
        .take(limits.max_bytes.saturating_add(1))
        .read_to_end(bytes)?;
    if bytes.len() as u64 > limits.max_bytes {
        return Err(FileError::TooLarge {
            limit: limits.max_bytes,
        });
    }
    let document = TemplateDocument::from_yaml(bytes, limits)?;
    Ok(ReadFile {
        template: Submission::from(&document),
        warnings: document.warnings().to_vec(),
    })
}

fn walk_problem(directory: &Path, error: &walkdir::Error) -> DiscoveryProblem {
    let path = error.path().unwrap_or(directory).to_path_buf();
    let message = match (error.loop_ancestor(), error.io_error()) {
        (Some(ancestor), _) => format!(
            "this link leads back to {}, which contains it",
            ancestor.display()
        ),
        (None, Some(error)) => format!("it cannot be read: {error}"),
        (None, None) => error.to_string(),
    };
    whole_file(path, message)
}

fn file_problems(path: &Path, error: &FileError) -> Vec<DiscoveryProblem> {
    if let FileError::Template(error) = error
        && !error.problems().is_empty()
    {
        let problems = error.problems().iter();
        return problems
            .map(|problem| discovery_problem(path, problem))
            .collect();
    }
    vec![whole_file(path.to_path_buf(), error.to_string())]
}

fn discovery_problem(path: &Path, problem: &Problem) -> DiscoveryProblem {
    DiscoveryProblem {
        file: path.to_path_buf(),
        line: problem.line,
        path: problem.path.clone(),
        message: problem.kind.to_string(),
    }
}

fn whole_file(file: PathBuf, message: String) -> DiscoveryProblem {
    DiscoveryProblem {
        file,
        line: None,
        path: String::new(),
        message,
    }
}

#[cfg(test)]
mod tests;
