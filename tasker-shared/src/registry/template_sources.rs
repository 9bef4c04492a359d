//! Finds template files below a directory, and reads their bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use tracing::warn;
use walkdir::{DirEntry, WalkDir};

use super::RegistryError;
use super::known_files::{self, FileMark};
use super::submission::Submission;
use crate::database::HeldConnections;

/// The files of a directory that are named as templates are, in the order of paths.
#[derive(Debug, Default)]
pub(crate) struct TemplateSources {
    pub(super) files: Vec<SourceFile>,
    /// What could not be looked into.
    pub(super) problems: Vec<WalkProblem>,
}

/// A file, good or bad.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) source: Result<Source, SourceError>,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) bytes: Vec<u8>,
    pub(super) mark: FileMark,
    /// What is registered from it, if that is known.
    pub(super) known: Option<Submission>,
}

#[derive(Debug)]
pub(super) struct WalkProblem {
    pub(super) path: PathBuf,
    pub(super) message: String,
}

/// Why one file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a regular file")]
    NotRegular,
    #[error(
        "it is larger than the limit of {limit} bytes; split it, or raise common.task_templates.max_file_bytes"
    )]
    TooLarge { limit: u64 },
}

impl TemplateSources {
    /// Reads every `*.yaml` and `*.yml` below `directory`, links followed and hidden entries left
    /// out. It blocks, and uses all cores to read.
    ///
    /// # Errors
    /// When `directory` itself cannot be read.
    pub(crate) fn read(directory: &Path, max_file_bytes: u64) -> Result<Self, RegistryError> {
        // The walk below reports this one like any other entry; here it means that nothing is right.
        std::fs::read_dir(directory).map_err(|source| RegistryError::Folder {
            path: directory.display().to_string(),
            source: Arc::new(source),
        })?;
        let mut problems = Vec::new();
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
                Err(error) => problems.push(walk_problem(directory, &error)),
            }
        }
        let files = entries.into_par_iter().map(|entry| SourceFile {
            source: read_file(&entry, max_file_bytes),
            path: entry.into_path(),
        });
        Ok(Self {
            files: files.collect(),
            problems,
        })
    }

    /// Finds out which of the files say what is registered from them; none if PostgreSQL does not say.
    pub(super) async fn recognise(&mut self, connections: &HeldConnections) {
        let sources = self.files.iter_mut();
        let mut sources: Vec<_> = sources
            .filter_map(|file| file.source.as_mut().ok())
            .collect();
        let marks: Vec<FileMark> = sources.iter().map(|source| source.mark).collect();
        let known = match known_files::look_up(connections.without_turns(), &marks).await {
            Ok(known) => known,
            Err(error) => {
                warn!(%error, "template files cannot be looked up; all of them are parsed");
                return;
            }
        };
        for (source, known) in sources.iter_mut().zip(known) {
            if known.is_some() {
                // Nobody reads them.
                source.bytes = Vec::new();
            }
            source.known = known;
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

fn read_file(entry: &DirEntry, max_file_bytes: u64) -> Result<Source, SourceError> {
    // Opening a pipe would wait for a writer.
    if !entry.file_type().is_file() {
        return Err(SourceError::NotRegular);
    }
    let file = File::open(entry.path())?;
    // A file that grows meanwhile is read as far as it may be.
    let expected = file.metadata()?.len().min(max_file_bytes).saturating_add(1);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    file.take(max_file_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_file_bytes {
        return Err(SourceError::TooLarge {
            limit: max_file_bytes,
        });
    }
    Ok(Source {
        mark: FileMark::of(&bytes, max_file_bytes),
        bytes,
        known: None,
    })
}

fn walk_problem(directory: &Path, error: &walkdir::Error) -> WalkProblem {
    let path = error.path().unwrap_or(directory).to_path_buf();
    let message = match (error.loop_ancestor(), error.io_error()) {
        (Some(ancestor), _) => format!(
            "this link leads back to {}, which contains it",
            ancestor.display()
        ),
        (None, Some(error)) => format!("it cannot be read: {error}"),
        (None, None) => error.to_string(),
    };
    WalkProblem { path, message }
}
