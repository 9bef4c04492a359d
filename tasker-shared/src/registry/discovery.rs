//! Finding templates on disk, and telling what became of them.

use std::path::{Path, PathBuf};

use super::template_files::{DiscoveryProblem, TemplateFiles};
use super::template_sources::TemplateSources;
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
    /// What became of the invalidation that goes with a discovery.
    pub invalidation: CacheInvalidation,
}

/// Reads all template files below `directory`, beside the runtime's own threads.
pub(super) async fn read(
    directory: &Path,
    max_file_bytes: u64,
) -> Result<TemplateSources, RegistryError> {
    let directory: PathBuf = directory.to_owned();
    blocking(move || TemplateSources::read(&directory, max_file_bytes)).await
}

/// Parses those that are not known, beside the runtime's own threads.
pub(super) async fn parse(sources: TemplateSources, max_file_bytes: u64) -> TemplateFiles {
    blocking(move || TemplateFiles::of(sources, max_file_bytes)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // The task is not cancelled, so that it ends without an answer means that it panicked.
    tokio::task::spawn_blocking(work)
        .await
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
