//! `tasker task watch`.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, value_parser};
use rustix::termios::tcgetwinsize;
use tokio::time::sleep;
use uuid::Uuid;

use super::looks::{Deadline, look};
use super::steps;
use crate::error::CliError;
use crate::output::{self, Format, OutputArgs};
use crate::service::ServiceArgs;
use crate::style::{self, Style};

const AFTER_HELP: &str = "\
On a terminal the drawing is renewed in place if it has fewer lines than the terminal, and long lines
are cut off. Otherwise each drawing that differs from the one before is printed, and with --output json
each answer is a line.

Exit code 0 means that the task is complete, 1 that it is not.";

/// Arguments of `tasker task watch`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Watch {
    /// The task's id, as `tasker task list` shows it.
    task: Uuid,
    /// The pause between two looks, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = value_parser!(u64).range(1..))]
    interval_ms: u64,
    /// The longest time that the service may be away, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    outage_limit: u64,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Watch {
    /// Runs until the task ends, or until a person stops it.
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let (service, style) = (self.service.connect()?, Style::of_stdout());
        let is_terminal = std::io::stdout().is_terminal() && !style::is_dumb();
        let in_place = is_terminal && self.output.output == Format::Table;
        let uuid = self.task.to_string();
        let mut last = String::new();
        // The first look is not repeated, because the address may be wrong.
        let mut task = steps::get(&service, &uuid).await?;
        loop {
            let drawing = match self.output.output {
                Format::Json => output::line(&task)?,
                Format::Table => output::harmless(&steps::draw(&task, style)).into_owned(),
            };
            let mut is_read = true;
            if drawing != last {
                is_read = output::exactly(&if in_place {
                    in_place_of(&last, &drawing)
                } else {
                    drawing.clone()
                })?;
                last = drawing;
            }
            if steps::has_ended(&task) || !is_read {
                return Ok(steps::exit_code(&task));
            }
            sleep(Duration::from_millis(self.interval_ms)).await;
            let deadline = Deadline::after(Duration::from_secs(self.outage_limit));
            let look = look(&service, &uuid, deadline).await;
            let look = look.map_err(|error| error.of_task(&uuid))?;
            if look.was_away && in_place {
                // The warning is below the last drawing.
                last.clear();
            }
            task = look.task;
        }
    }
}

/// Returns `drawing` with what moves the cursor to the first line of the last one, and clears from
/// there. A drawing that is higher than the terminal has scrolled away, and stays.
fn in_place_of(last: &str, drawing: &str) -> String {
    let rows = tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_row));
    let lines = last.lines().count();
    let back = if last.is_empty() || lines >= rows {
        String::new()
    } else {
        format!("\x1b[{lines}A\x1b[J")
    };
    // Without wrapping, a line of the drawing is a line of the terminal.
    format!("{back}\x1b[?7l{drawing}\x1b[?7h")
}
