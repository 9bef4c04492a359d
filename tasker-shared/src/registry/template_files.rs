//! Template files. (Stub.)

use std::path::{Path, PathBuf};

use super::RegistryError;
use crate::models::core::task_template::TemplateDocument;

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryProblem {
    pub file: PathBuf,
    pub line: Option<usize>,
    pub path: String,
    pub message: String,
}

#[derive(Debug)]
pub(crate) struct TemplateFile {
    pub(crate) path: PathBuf,
    pub(crate) document: TemplateDocument,
}

#[derive(Debug)]
pub(crate) struct TemplateFiles {
    pub(crate) total_files: usize,
    pub(crate) files: Vec<TemplateFile>,
    pub(crate) errors: Vec<DiscoveryProblem>,
    pub(crate) warnings: Vec<DiscoveryProblem>,
}

pub(crate) fn read_template_files(
    _directory: &Path,
    _max: u64,
) -> Result<TemplateFiles, RegistryError> {
    unimplemented!()
}
