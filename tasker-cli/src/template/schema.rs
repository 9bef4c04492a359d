//! `tasker template schema`.

use clap::Args;
use tasker_templates::json_schema;

use crate::error::{CliError, exit};
use crate::output;

const AFTER_HELP: &str = "\
Editors with a YAML language server use the schema for files that begin with
  # yaml-language-server: $schema=PATH/template.schema.json";

/// Arguments of `tasker template schema`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Schema {
    /// The form of the answer. A JSON Schema has only one.
    #[arg(long, value_parser = ["json"], default_value = "json", value_name = "FORM")]
    output: String,
}

impl Schema {
    #[expect(clippy::unused_self, reason = "every command runs in the same way")]
    pub(super) fn run(self) -> Result<u8, CliError> {
        output::json(&json_schema())?;
        Ok(exit::OK)
    }
}
