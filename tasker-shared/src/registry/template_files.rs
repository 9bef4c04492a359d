//! What the template files of a directory say.
//!
//! One bad file never stops the others, and nothing is registered here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::known_files::Marks;
use super::submission::Submission;
use super::template_sources::{Source, SourceError, TemplateSources};
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

/// Why one file cannot be used.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("{0}")]
    Source(#[from] SourceError),
    #[error("{0}")]
    Template(#[from] TemplateError),
}

/// Which file has which template, and what the template says.
type Seen = HashMap<(String, String, String), (PathBuf, ContentHash)>;

impl TemplateFiles {
    /// What `sources` say. Those that are not known are parsed.
    ///
    /// It blocks, and uses all cores to parse. Of several files with the same template the first in
    /// the order of paths counts; another one is an error, or a warning when it says the same.
    pub(crate) fn of(sources: TemplateSources, max_file_bytes: u64) -> Self {
        let mut result = Self {
            total_files: sources.files.len(),
            ..Self::default()
        };
        for problem in sources.problems {
            result
                .errors
                .push(whole_file(problem.path, problem.message));
        }
        let limits = TemplateLimits::with_max_bytes(max_file_bytes);
        let read: Vec<_> = sources
            .files
            .into_par_iter()
            .map(|file| (file.path, read_file(file.source, limits)))
            .collect();
        let mut seen = Seen::default();
        for (path, read) in read {
            match read {
                Ok(read) => result.add(path, read, &mut seen),
                Err(error) => result.errors.extend(file_problems(&path, &error)),
            }
        }
        result
            .errors
            .sort_by(|left, right| left.file.cmp(&right.file));
        result
    }

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

/// What the file holds; checked now, unless it was when it was registered.
fn read_file(
    source: Result<Source, SourceError>,
    limits: TemplateLimits,
) -> Result<ReadFile, FileError> {
    let source = source?;
    if let Some(template) = source.known {
        return Ok(ReadFile {
            template,
            warnings: Vec::new(),
        });
    }
    let document = TemplateDocument::from_yaml(&source.bytes, limits)?;
    let mut template = Submission::from(&document);
    let warnings = document.warnings().to_vec();
    // What is to be warned of is read again each time.
    if warnings.is_empty() {
        template.marks = Some(Marks::new(source.mark, &template));
    }
    Ok(ReadFile { template, warnings })
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
