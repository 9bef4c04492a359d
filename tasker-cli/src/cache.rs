//! `tasker cache`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use crate::error::{CliError, exit};
use crate::output::{self, Cell, Format, OutputArgs};
use crate::service::{NOTHING, ServiceArgs, Shape, WorkerArgs};
use crate::style::{Paint, Style};
use crate::task::steps::text;

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show the state of the orchestration service's cache and template index.
    Status(Status),
    /// List the templates in the orchestration service's cache.
    Entries(Entries),
    /// Delete all cached templates, through a worker.
    Clear(Clear),
}

/// Arguments of `tasker cache status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `tasker cache entries`.
#[derive(Debug, Args)]
pub(crate) struct Entries {
    /// Only templates of this namespace.
    #[arg(long)]
    namespace: Option<String>,
    /// Compare each entry with Redis and the database.
    #[arg(long)]
    verify: bool,
    /// The most templates, up to 1,000, or 100 with --verify.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `tasker cache clear`.
#[derive(Debug, Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl CacheCommand {
    pub(crate) async fn run(self) -> Result<u8, CliError> {
        match self {
            Self::Status(command) => command.run().await?,
            Self::Entries(command) => command.run().await?,
            Self::Clear(command) => command.run().await?,
        }
        Ok(exit::OK)
    }
}

impl Status {
    async fn run(self) -> Result<(), CliError> {
        let service = self.service.connect()?;
        let shape = Shape::Object(&["checks"]);
        let health = service.get(&["health", "detailed"], &[], shape).await?;
        let checks = &health["checks"];
        let parts = serde_json::json!({
            "cache": checks["cache"], "directory": checks["directory"],
        });
        match self.output.output {
            Format::Json => output::json(&parts),
            Format::Table => {
                let mut answer = String::new();
                for (part, fields) in [("cache", &parts["cache"]), ("index", &parts["directory"])] {
                    for (key, value) in fields.as_object().into_iter().flatten() {
                        let value = value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned);
                        let _ = writeln!(answer, "{part} {key}: {value}");
                    }
                }
                output::text(&answer)
            }
        }
    }
}

impl Entries {
    async fn run(self) -> Result<(), CliError> {
        let (limit, verify) = (self.limit.to_string(), self.verify.to_string());
        let mut query = vec![("limit", limit.as_str()), ("verify", verify.as_str())];
        if let Some(namespace) = &self.namespace {
            query.push(("namespace", namespace));
        }
        let service = self.service.connect()?;
        let path = ["v1", "templates", "cache", "entries"];
        let shape = Shape::Object(&["entries"]);
        let entries = service.get(&path, &query, shape).await?;
        if self.output.output == Format::Json {
            return output::json(&entries);
        }
        if entries["caching"] == false {
            return output::text("The service has no cache.\n");
        }
        let listed = entries["entries"].as_array();
        let rows: Vec<Vec<Cell>> = listed.into_iter().flatten().map(row).collect();
        let heading = ["TEMPLATE", "HASH", "LOCAL", "REDIS"];
        let style = Style::of_stdout();
        let mut answer = output::table(style, &heading, &rows);
        let total = entries["total"].as_u64().unwrap_or_default();
        if (rows.len() as u64) < total {
            let _ = writeln!(answer, "{} of {total} templates", rows.len());
        }
        if let Some(error) = entries["distributed_error"].as_str() {
            let warning = style.paint(Paint::Yellow, "warning");
            let _ = writeln!(answer, "{warning}: Redis did not answer: {error}");
        }
        output::text(&answer)
    }
}

fn row(entry: &Value) -> Vec<Cell> {
    let held = |tier: &Value| match tier["held"].as_bool() {
        // A tier that holds another document is not asked for this one.
        Some(true) if tier["matches_database"] == false => Cell::painted("outdated", Paint::Yellow),
        Some(true) => Cell::painted("held", Paint::Green),
        Some(false) => Cell::from("-"),
        None => Cell::painted("not asked", Paint::Dim),
    };
    let template = [
        text(entry, "namespace"),
        text(entry, "name"),
        text(entry, "version"),
    ];
    let hash: String = text(entry, "hash").chars().take(12).collect();
    vec![
        template.join("/").into(),
        hash.into(),
        held(&entry["local"]),
        held(&entry["redis"]),
    ]
}

impl Clear {
    async fn run(self) -> Result<(), CliError> {
        let worker = self.worker.connect()?;
        let path = ["templates", "cache"];
        let shape = Shape::Object(&["success"]);
        let answer = worker
            .send(Method::DELETE, &path, &[], NOTHING, shape)
            .await?;
        let is_cleared = answer["success"] == true;
        match self.output.output {
            Format::Json => output::json(&answer)?,
            Format::Table if is_cleared => output::text(&format!("cleared: {}\n", *answer))?,
            Format::Table => {}
        }
        if is_cleared {
            return Ok(());
        }
        let cause = answer["distributed"]["error"].as_str();
        Err(CliError::NotCleared {
            cause: cause.unwrap_or("the worker gives no cause").to_owned(),
        })
    }
}
