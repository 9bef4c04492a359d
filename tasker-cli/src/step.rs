//! `tasker step`.

use clap::{Args, Subcommand};
use http::Method;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};
use crate::service::{Service, ServiceArgs, Shape};
use crate::task::{read_json, steps};

#[derive(Debug, Subcommand)]
pub(crate) enum StepCommand {
    /// Run a failed step again with all its attempts, or a waiting one now.
    Retry(StepArgs),
    /// Count a step as done, without a result.
    Resolve(StepArgs),
    /// Count a step as complete, with a result that later steps see.
    Complete(Complete),
}

/// A step, and the person who acts on it.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// The task's id, as `tasker task list` shows it.
    task: Uuid,
    /// The step's name or its id.
    step: String,
    /// The reason, for the step's history.
    #[arg(long)]
    reason: String,
    /// The operator.
    #[arg(long, env = "USER", default_value = "unknown", value_name = "NAME")]
    by: String,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `tasker step complete`.
#[derive(Debug, Args)]
pub(crate) struct Complete {
    #[command(flatten)]
    step: StepArgs,
    /// The result: JSON, @FILE, or @- for standard input.
    #[arg(long, value_name = "JSON")]
    result: String,
}

/// The body of a request that acts on a step.
#[derive(Debug, Serialize)]
#[serde(tag = "action_type", rename_all = "snake_case")]
enum Action<'a> {
    ResetForRetry {
        reset_by: &'a str,
        reason: &'a str,
    },
    ResolveManually {
        resolved_by: &'a str,
        reason: &'a str,
    },
    CompleteManually {
        completed_by: &'a str,
        reason: &'a str,
        completion_data: &'a RawValue,
    },
}

impl StepCommand {
    pub(crate) async fn run(self) -> Result<u8, CliError> {
        match &self {
            Self::Retry(step) => {
                step.act(&Action::ResetForRetry {
                    reset_by: &step.by,
                    reason: &step.reason,
                })
                .await
            }
            Self::Resolve(step) => {
                step.act(&Action::ResolveManually {
                    resolved_by: &step.by,
                    reason: &step.reason,
                })
                .await
            }
            Self::Complete(Complete { step, result }) => {
                step.act(&Action::CompleteManually {
                    completed_by: &step.by,
                    reason: &step.reason,
                    completion_data: &read_json("--result", result)?,
                })
                .await
            }
        }
    }
}

impl StepArgs {
    async fn act(&self, action: &Action<'_>) -> Result<u8, CliError> {
        let service = self.service.connect()?;
        let task = self.task.to_string();
        let step = self.step_uuid(&service, &task).await?;
        let path = ["v1", "tasks", &task, "workflow_steps", &step];
        let shape = Shape::Object(&["name", "status"]);
        let answer = service
            .send(Method::PATCH, &path, &[], Some(action), shape)
            .await?;
        match self.output.output {
            Format::Json => output::json(&answer)?,
            Format::Table => output::text(&format!(
                "{} {}\n",
                steps::text(&answer, "name"),
                steps::text(&answer, "status")
            ))?,
        }
        Ok(exit::OK)
    }

    async fn step_uuid(&self, service: &Service, task: &str) -> Result<String, CliError> {
        if self.step.parse::<Uuid>().is_ok() {
            return Ok(self.step.clone());
        }
        let task = steps::get(service, task).await?;
        let all = task["steps"].as_array().map(Vec::as_slice);
        let all = all.unwrap_or_default();
        let found = all
            .iter()
            .find(|step| steps::text(step, "name") == self.step);
        let names = || {
            let names: Vec<&str> = all.iter().map(|step| steps::text(step, "name")).collect();
            names.join(", ")
        };
        found
            .map(|step| steps::text(step, "workflow_step_uuid").to_owned())
            .ok_or_else(|| CliError::UnknownStep {
                name: self.step.clone(),
                known: names(),
            })
    }
}
