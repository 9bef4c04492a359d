//! `tasker workers`.

use clap::Args;
use serde_json::Value;

use crate::error::{CliError, exit};
use crate::output::{self, Cell, Format, OutputArgs};
use crate::service::{ServiceArgs, Shape};
use crate::style::{Paint, Style};
use crate::task::steps::text;

const SHAPE: Shape = Shape::List(&["worker_uuid", "running", "capacity"]);

/// Arguments of `tasker workers`.
#[derive(Debug, Args)]
pub(crate) struct Workers {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Workers {
    pub(crate) async fn run(self) -> Result<u8, CliError> {
        let service = self.service.connect()?;
        let workers = service.get(&["v1", "workers"], &[], SHAPE).await?;
        if self.output.output == Format::Json {
            output::json(&workers)?;
            return Ok(exit::OK);
        }
        let rows: Vec<Vec<Cell>> = workers.as_array().into_iter().flatten().map(row).collect();
        let heading = [
            "WORKER", "NAME", "HOST", "STATE", "RUNNING", "HANDLERS", "SEEN",
        ];
        output::text(&output::table(Style::of_stdout(), &heading, &rows))?;
        Ok(exit::OK)
    }
}

fn row(worker: &Value) -> Vec<Cell> {
    // A worker that calls handlers over HTTP has patterns of their callables.
    let count = |key: &str| worker[key].as_array().map_or(0, Vec::len);
    let handlers = count("callables") + count("patterns");
    vec![
        text(worker, "worker_uuid").into(),
        text(worker, "name").into(),
        text(worker, "host").into(),
        if worker["alive"] == true {
            Cell::painted("alive", Paint::Green)
        } else {
            Cell::painted("lost", Paint::Red)
        },
        format!("{} of {}", worker["running"], worker["capacity"]).into(),
        handlers.to_string().into(),
        text(worker, "seen_at").into(),
    ]
}
