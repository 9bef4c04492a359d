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
        let loader = ConfigLoader::from_process_env();
        let checked = loader.check();
        if self.output.output == Format::Table {
            let unused = checked?;
            let environment = loader.load()?.common.environment;
            let mut text = format!("OK: the configuration is valid ({environment})\n");
            if !unused.is_empty() {
                text += "settings are present and have no effect: ";
                text += &unused.join(" ");
                text.push('\n');
            }
            output::text(&text)?;
            return Ok(exit::OK);
        }
        let (problems, unused): (_, &[String]) = match &checked {
            Ok(unused) => (&[][..], unused),
            Err(error) => (error.problems(), &[]),
        };
        let problems: Vec<_> = problems
            .iter()
            .map(|one| json!({"code": one.code(), "path": one.path(), "message": one.to_string()}))
            .collect();
        let valid = checked.is_ok();
        output::json(&json!({"valid": valid, "problems": problems, "unused": unused}))?;
        Ok(if valid { exit::OK } else { exit::CONFIG })
    }
}
