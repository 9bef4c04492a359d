//! Reading of one template file.

use std::io::Read;
use std::path::Path;

use tasker_templates::{TemplateDocument, TemplateLimits};

use crate::error::CliError;

/// Reads and checks a template; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<TemplateDocument, CliError> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(path).map(|read| bytes = read)
    };
    read.map_err(|source| CliError::Read {
        path: path.to_owned(),
        source,
    })?;
    TemplateDocument::from_yaml(&bytes, TemplateLimits::default()).map_err(|source| {
        CliError::Template {
            path: path.to_owned(),
            source,
        }
    })
}
