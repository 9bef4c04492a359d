//! `tasker task cancel`.

use clap::Args;
use http::Method;
use uuid::Uuid;

use super::steps;
use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};
use crate::service::{NOTHING, ServiceArgs, Shape};

/// Arguments of `tasker task cancel`.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The task's id, as `tasker task list` shows it.
    task: Uuid,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Cancel {
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let uuid = self.task.to_string();
        let service = self.service.connect()?;
        let path = ["v1", "tasks", &uuid];
        let shape = Shape::Object(&["status"]);
        let answer = service
            .send(Method::DELETE, &path, &[], NOTHING, shape)
            .await?;
        match self.output.output {
            Format::Json => output::json(&answer)?,
            Format::Table => {
                output::text(&format!("{uuid} {}\n", steps::text(&answer, "status")))?;
            }
        }
        Ok(exit::OK)
    }
}
