//! `tasker task list`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::steps::{STATES, paint_of, text};
use crate::error::{CliError, exit};
use crate::output::{self, Cell, Format, OutputArgs};
use crate::service::{ServiceArgs, Shape};
use crate::style::Style;

/// Arguments of `tasker task list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only tasks of templates in this namespace.
    #[arg(long)]
    namespace: Option<String>,
    /// Only tasks of templates with this name.
    #[arg(long)]
    name: Option<String>,
    /// Only tasks in this state.
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    status: Option<String>,
    /// The most tasks, from 1 to 100.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// The cursor that the page before ended with.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl List {
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let limit = self.limit.to_string();
        let filters = [
            ("namespace", self.namespace.as_deref()),
            ("name", self.name.as_deref()),
            ("status", self.status.as_deref()),
            ("limit", Some(limit.as_str())),
            ("cursor", self.cursor.as_deref()),
        ];
        let query: Vec<(&str, &str)> = filters
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        let service = self.service.connect()?;
        let shape = Shape::Object(&["tasks"]);
        let page = service.get(&["v1", "tasks"], &query, shape).await?;
        if self.output.output == Format::Json {
            output::json(&page)?;
            return Ok(exit::OK);
        }
        let tasks = page["tasks"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let rows: Vec<Vec<Cell>> = tasks.iter().map(row).collect();
        let heading = ["TASK", "TEMPLATE", "STATE", "CREATED"];
        let mut answer = output::table(Style::of_stdout(), &heading, &rows);
        if let Some(cursor) = page["next_cursor"].as_str() {
            let _ = writeln!(answer, "next page: --cursor {cursor}");
        }
        output::text(&answer)?;
        Ok(exit::OK)
    }
}

fn row(task: &Value) -> Vec<Cell> {
    let state = text(task, "status");
    let template = [
        text(task, "namespace"),
        text(task, "name"),
        text(task, "version"),
    ];
    vec![
        text(task, "task_uuid").into(),
        template.join("/").into(),
        Cell::painted(state, paint_of(state)),
        text(task, "created_at").into(),
    ]
}
