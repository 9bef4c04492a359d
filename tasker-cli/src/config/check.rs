//! `tasker config check`.

use clap::Args;
use serde_json::json;
use tasker_shared::config::ConfigLoader;

use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};

/// Arguments of `tasker config check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    output: OutputArgs,
}

impl Check {
    pub(super) fn run(&self) -> Result<u8, CliError> {
        let loaded = ConfigLoader::load_from_process();
        if self.output.output == Format::Table {
            let config = loaded?;
            let environment = &config.common.environment;
            output::text(&format!("OK: the configuration is valid ({environment})\n"))?;
            return Ok(exit::OK);
        }
        let problems = match &loaded {
            Ok(_) => &[],
            Err(error) => error.problems(),
        };
        let problems: Vec<_> = problems
            .iter()
            .map(|one| json!({"code": one.code(), "path": one.path(), "message": one.to_string()}))
            .collect();
        output::json(&json!({"valid": loaded.is_ok(), "problems": problems}))?;
        Ok(if loaded.is_ok() {
            exit::OK
        } else {
            exit::CONFIG
        })
    }
}
