//! `tasker task watch`.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;
use uuid::Uuid;

use super::steps;
use crate::error::CliError;
use crate::output::{self, Format, OutputArgs};
use crate::service::ServiceArgs;
use crate::style::Style;

const AFTER_HELP: &str = "\
On a terminal the drawing is renewed in place. Otherwise each drawing that differs from the one before
is printed, and with --output json each answer is a line.";

/// Arguments of `tasker task watch`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Watch {
    /// The task's id, as `tasker task list` shows it.
    task: Uuid,
    /// The pause between two looks, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    interval_ms: u64,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Watch {
    /// Runs until the task ends, or until a person stops it.
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let (service, style) = (self.service.connect()?, Style::of_stdout());
        let in_place = std::io::stdout().is_terminal();
        let uuid = self.task.to_string();
        let mut last = String::new();
        loop {
            let task = steps::get(&service, &uuid).await?;
            let drawing = match self.output.output {
                Format::Json => format!("{task}\n"),
                Format::Table => steps::draw(&task, style),
            };
            if drawing != last {
                if in_place && !last.is_empty() && self.output.output == Format::Table {
                    // Back to the first line of the last drawing, and clear from there.
                    output::text(&format!("\x1b[{}A\x1b[J", last.lines().count()))?;
                }
                output::text(&drawing)?;
                last = drawing;
            }
            if steps::has_ended(&task) {
                return Ok(steps::exit_code(&task));
            }
            sleep(Duration::from_millis(self.interval_ms)).await;
        }
    }
}
