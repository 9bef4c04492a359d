//! `tasker template new`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tasker_templates::{TemplateDocument, TemplateLimits};

use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};

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
    #[command(flatten)]
    output: OutputArgs,
}

impl New {
    pub(super) fn run(self) -> Result<u8, CliError> {
        let text = TEMPLATE
            .replace("TEMPLATE_NAMESPACE", &self.namespace)
            .replace("TEMPLATE_NAME", &self.name);
        self.check(&text)?;
        if let Some(path) = &self.file {
            // An existing file is somebody's work.
            let written = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(|source| CliError::Write {
                path: path.clone(),
                source,
            })?;
        }
        match (self.output.output, &self.file) {
            (Format::Json, file) => output::json(&json!({"file": file, "text": text}))?,
            (Format::Table, None) => output::text(&text)?,
            (Format::Table, Some(path)) => output::text(&format!("wrote {}\n", path.display()))?,
        }
        Ok(exit::OK)
    }

    /// Fails if the names break the template, or are something else to YAML, as `1.0` is.
    fn check(&self, text: &str) -> Result<(), CliError> {
        let checked = TemplateDocument::from_yaml(text.as_bytes(), TemplateLimits::default());
        let is_named = checked.is_ok_and(|document| {
            let template = document.template();
            (&template.namespace_name, &template.name) == (&self.namespace, &self.name)
        });
        if is_named {
            return Ok(());
        }
        Err(CliError::BadNewName {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        })
    }
}
