//! `tasker template new`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::error::{CliError, exit};
use crate::output;

/// The commented template. The test of this file registers it with the library.
const TEMPLATE: &str = include_str!("new.yaml");

const AFTER_HELP: &str = "\
Examples:
  tasker template new orders --namespace shop
  tasker template new orders --file config/tasks/orders.yaml";

/// Arguments of `tasker template new`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct New {
    /// The template's name.
    name: String,
    /// The template's namespace.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// A new file to write; without it the template is printed.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

impl New {
    pub(super) fn run(self) -> Result<u8, CliError> {
        let text = TEMPLATE
            .replace("TEMPLATE_NAMESPACE", &self.namespace)
            .replace("TEMPLATE_NAME", &self.name);
        super::file::check("the new template".as_ref(), text.as_bytes())?;
        let Some(path) = self.file else {
            output::text(&text)?;
            return Ok(exit::OK);
        };
        // An existing file is somebody's work.
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|source| CliError::Write {
            path: path.clone(),
            source,
        })?;
        output::text(&format!("wrote {}\n", path.display()))?;
        Ok(exit::OK)
    }
}
