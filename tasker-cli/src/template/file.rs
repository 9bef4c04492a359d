//! Reading of one template file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tasker_templates::{TemplateDocument, TemplateLimits};

use crate::error::CliError;

/// The largest file: the largest that `common.task_templates.max_file_bytes` can allow a worker.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads and checks a template; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<TemplateDocument, CliError> {
    let limits = TemplateLimits::with_max_bytes(MAX_BYTES);
    let mut bytes = Vec::new();
    // One byte over the limit is enough to refuse a file, and some devices have no end.
    let read = if path == Path::new("-") {
        let stdin = std::io::stdin().lock();
        stdin.take(limits.max_bytes + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limits.max_bytes + 1).read_to_end(&mut bytes))
    };
    read.map_err(|source| CliError::Read {
        path: path.to_owned(),
        source,
    })?;
    TemplateDocument::from_yaml(&bytes, limits).map_err(|source| CliError::Template {
        path: path.to_owned(),
        source,
    })
}
