//! `tasker task show`.

use clap::Args;
use uuid::Uuid;

use super::steps;
use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};
use crate::service::ServiceArgs;
use crate::style::Style;

/// Arguments of `tasker task show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The task's id, as `tasker task list` shows it.
    task: Uuid,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Show {
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let task = self.task.to_string();
        let task = steps::get(&self.service.connect()?, &task).await?;
        match self.output.output {
            Format::Json => output::json(&task)?,
            Format::Table => output::text(&steps::draw(&task, Style::of_stdout()))?,
        }
        Ok(exit::OK)
    }
}
