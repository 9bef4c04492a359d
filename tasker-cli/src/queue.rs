//! `tasker queue`.

use clap::Args;
use serde_json::Value;

use crate::error::{CliError, exit};
use crate::output::{self, Cell, Format, OutputArgs};
use crate::service::{ServiceArgs, Shape};
use crate::style::{Paint, Style};
use crate::task::steps::text;

const SHAPE: Shape = Shape::List(&["callable", "due", "later", "claimed"]);

/// Arguments of `tasker queue`.
#[derive(Debug, Args)]
pub(crate) struct Queue {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Queue {
    pub(crate) async fn run(self) -> Result<u8, CliError> {
        let service = self.service.connect()?;
        let queue = service.get(&["v1", "queue"], &[], SHAPE).await?;
        if self.output.output == Format::Json {
            output::json(&queue)?;
            return Ok(exit::OK);
        }
        let rows: Vec<Vec<Cell>> = queue.as_array().into_iter().flatten().map(row).collect();
        let heading = ["CALLABLE", "DUE", "LATER", "RUNNING", "OLDEST", "WORKER"];
        output::text(&output::table(Style::of_stdout(), &heading, &rows))?;
        Ok(exit::OK)
    }
}

fn row(callable: &Value) -> Vec<Cell> {
    let age = callable["oldest_age_seconds"].as_f64();
    vec![
        text(callable, "callable").into(),
        callable["due"].to_string().into(),
        callable["later"].to_string().into(),
        callable["claimed"].to_string().into(),
        age.map_or_else(|| "-".to_owned(), |age| format!("{age:.0} s"))
            .into(),
        if callable["has_worker"] == true {
            Cell::from("yes")
        } else {
            Cell::painted("no", Paint::Red)
        },
    ]
}
