//! Finding templates on disk, and telling what became of them.

use std::path::{Path, PathBuf};

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

/// Reads all template files below `directory`, beside the runtime's own threads.
pub(super) async fn find(
    directory: &Path,
    max_file_bytes: u64,
) -> Result<TemplateFiles, RegistryError> {
    let directory: PathBuf = directory.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        template_files::read_template_files(&directory, max_file_bytes)
    });
    // The task is not cancelled, so that it ends without an answer means that it panicked.
    read.await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

impl TaskTemplateDiscoveryResult {
    pub(super) fn new(
        files: TemplateFiles,
        registered: Vec<Registration>,
        invalidation: CacheInvalidation,
    ) -> Self {
        Self {
            total_files: files.total_files,
            registered,
            errors: files.errors,
            warnings: files.warnings,
            invalidation,
        }
    }
}
