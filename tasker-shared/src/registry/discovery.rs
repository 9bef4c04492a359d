//! Finding templates on disk, and telling what became of them.

use std::path::{Path, PathBuf};

use super::submission::Submission;
use super::template_files::{self, DiscoveryProblem, TemplateFiles};
use super::{Registration, RegistryError};
use crate::types::CacheInvalidation;

/// What a discovery found and did.
#[derive(Debug, Clone, Default)]
pub struct TaskTemplateDiscoveryResult {
    /// How many template files there are.
    pub total_files: usize,
    /// Templates that are registered now, unchanged ones among them, in the order of their files.
    pub registered: Vec<Registration>,
    /// One for each thing that is wrong; a file with any is not registered.
    pub errors: Vec<DiscoveryProblem>,
    /// What is doubtful in files that are registered.
    pub warnings: Vec<DiscoveryProblem>,
    /// What became of the invalidation that follows a discovery.
    pub invalidation: CacheInvalidation,
}

/// Template files, read and checked.
#[derive(Debug)]
pub(super) struct Found(TemplateFiles);

/// Reads all template files below `directory`, beside the runtime's own threads.
pub(super) async fn find(directory: &Path, max_file_bytes: u64) -> Result<Found, RegistryError> {
    let directory: PathBuf = directory.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        template_files::read_template_files(&directory, max_file_bytes)
    });
    // The task is not cancelled, so that it ends without an answer means that it panicked.
    let files = read
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    Ok(Found(files))
}

impl Found {
    /// The templates of the files, in their order. They are there once.
    pub(super) fn take_templates(&mut self) -> Vec<Submission> {
        let files = std::mem::take(&mut self.0.files);
        files.into_iter().map(|file| file.template).collect()
    }

    pub(super) fn into_result(
        self,
        registered: Vec<Registration>,
        invalidation: CacheInvalidation,
    ) -> TaskTemplateDiscoveryResult {
        TaskTemplateDiscoveryResult {
            total_files: self.0.total_files,
            registered,
            errors: self.0.errors,
            warnings: self.0.warnings,
            invalidation,
        }
    }
}
