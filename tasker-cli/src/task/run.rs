//! `tasker task run`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::looks::{Deadline, Look, interrupted, look};
use super::steps;
use crate::answer::Answer;
use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};
use crate::progress;
use crate::service::{Service, ServiceArgs, Shape};
use crate::style::Style;

/// The most bytes of a file with JSON: the largest request that a service can be configured to accept.
const MAX_JSON: usize = 64 * 1024 * 1024;

/// The pause between two looks at a task.
const PAUSE: Duration = Duration::from_millis(200);

const AFTER_HELP: &str = "\
Examples:
  tasker task run shop/orders --context '{\"order_id\": \"1\"}'
  tasker task run shop/orders/1.2.0 --context @order.json --wait

With --wait, exit code 0 means that the task is complete, 1 that it failed, was cancelled, or has not
ended in time. The wait goes on while the service restarts.

A request without an answer may have created a task. Send it again with the same --idempotency-key.";

/// Arguments of `tasker task run`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Run {
    /// NAME, NAMESPACE/NAME or NAMESPACE/NAME/VERSION; by default the version registered last.
    #[arg(value_name = "TEMPLATE")]
    template: String,
    /// The task's context: JSON, @FILE, or @- for standard input.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    context: String,
    /// Two requests of one template with the same key are one task.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Higher runs earlier.
    #[arg(long, allow_hyphen_values = true)]
    priority: Option<i32>,
    /// A label; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Wait for the end of the task.
    #[arg(long)]
    wait: bool,
    /// The longest wait for the end, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait_limit: u64,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The body of the request for a task.
#[derive(Debug, Serialize)]
struct NewTask<'a> {
    namespace: &'a str,
    name: &'a str,
    version: &'a str,
    context: &'a RawValue,
    tags: &'a [String],
    source_system: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
}

impl Run {
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let context = read_json("--context", &self.context)?;
        let service = self.service.connect()?;
        let (namespace, name, version) = self.template(&service).await?;
        let request = NewTask {
            namespace: &namespace,
            name: &name,
            version: &version,
            context: &context,
            tags: &self.tags,
            source_system: "tasker-cli",
            idempotency_key: self.idempotency_key.as_deref(),
            priority: self.priority,
        };
        let path = ["v1", "tasks"];
        let shape = Shape::Object(&["task_uuid", "status", "step_count"]);
        let created = service
            .send(Method::POST, &path, &[], Some(&request), shape)
            .await?;
        let uuid = steps::text(&created, "task_uuid");
        let followed = self.follow(&service, uuid, &created).await;
        followed.map_err(|error| error.of_task(uuid))
    }

    /// Prints the new task, or waits for its end.
    async fn follow(
        &self,
        service: &Service,
        uuid: &str,
        created: &Answer,
    ) -> Result<u8, CliError> {
        if !self.wait {
            match self.output.output {
                Format::Json => output::json(created)?,
                Format::Table => output::text(&sentence(created))?,
            }
            return Ok(exit::OK);
        }
        let limit = Duration::from_secs(self.wait_limit);
        let waiting = async {
            tokio::select! {
                task = wait(service, uuid, limit) => task,
                () = interrupted() => Err(CliError::Interrupted),
            }
        };
        let task = progress::during(&format!("waiting for task {uuid}"), waiting).await?;
        if let Some(task) = &task {
            match self.output.output {
                Format::Json => output::json(task)?,
                Format::Table => output::text(&steps::draw(task, Style::of_stdout()))?,
            }
        }
        match task {
            Some(task) if steps::has_ended(&task) => Ok(steps::exit_code(&task)),
            _ => Err(CliError::NotEnded {
                task: uuid.to_owned(),
                seconds: self.wait_limit,
            }),
        }
    }

    /// Returns namespace, name and version; asks the service for the version if none is given.
    async fn template(&self, service: &Service) -> Result<(String, String, String), CliError> {
        let unnamed = || CliError::BadTemplateName {
            name: self.template.clone(),
        };
        let parts: Vec<&str> = self.template.split('/').collect();
        let (namespace, name, version) = match parts.as_slice() {
            [name] => ("default", *name, None),
            [namespace, name] => (*namespace, *name, None),
            [namespace, name, version] => (*namespace, *name, Some(*version)),
            _ => return Err(unnamed()),
        };
        // A URL leaves the other two out, and would be that of another template.
        if parts.iter().any(|part| ["", ".", ".."].contains(part)) {
            return Err(unnamed());
        }
        let version = if let Some(version) = version {
            version.to_owned()
        } else {
            let path = ["v1", "handlers", namespace, name];
            let shape = Shape::Object(&["version"]);
            let found = service.get(&path, &[], shape).await?;
            steps::text(&found, "version").to_owned()
        };
        Ok((namespace.to_owned(), name.to_owned(), version))
    }
}

fn sentence(created: &Value) -> String {
    let uuid = steps::text(created, "task_uuid");
    let state = steps::text(created, "status");
    if created["created"] == false {
        format!("{uuid} {state}: an earlier request with the same identity created it\n")
    } else {
        format!("{uuid} {state}: {} steps\n", created["step_count"])
    }
}

/// Returns the task once it has ended, or as it was last seen before `limit`.
async fn wait(service: &Service, uuid: &str, limit: Duration) -> Result<Option<Answer>, CliError> {
    let deadline = Deadline::after(limit);
    let mut last = None;
    // Each look is bounded, because a service that hangs would prolong the wait.
    while let Some(look) = deadline.bound(look(service, uuid, deadline)).await {
        let Look { task, .. } = look?;
        let is_last = steps::has_ended(&task) || deadline.is_over();
        last = Some(task);
        if is_last {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(last)
}

/// Reads JSON that an option has: itself, or the file behind `@`. Keeps the text, because a number may
/// have more digits than a machine's.
pub(crate) fn read_json(option: &'static str, text: &str) -> Result<Box<RawValue>, CliError> {
    let read = match text.strip_prefix('@').filter(|file| !file.is_empty()) {
        None => Ok(text.as_bytes().to_vec()),
        Some("-") => read_some(std::io::stdin()),
        Some(file) => File::open(file).and_then(read_some),
    };
    let read = read.map_err(|source| CliError::Read {
        path: PathBuf::from(text.strip_prefix('@').unwrap_or(text)),
        source,
    })?;
    if read.len() > MAX_JSON {
        return Err(CliError::TooLarge { option });
    }
    serde_json::from_slice(&read).map_err(|source| CliError::NotJson { option, source })
}

/// Reads to the end, or to more than [`MAX_JSON`], because the file may have no end.
fn read_some(file: impl Read) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    file.take(MAX_JSON as u64 + 1).read_to_end(&mut read)?;
    Ok(read)
}
