//! `tasker template register`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tasker_shared::registry::{DiscoveryProblem, TaskHandlerRegistry, TaskTemplateDiscoveryResult};

use crate::database::DatabaseArgs;
use crate::error::{CliError, exit};
use crate::output::{self, Cell, Format, OutputArgs};
use crate::progress;
use crate::style::{Paint, Style};

const AFTER_HELP: &str = "\
Examples:
  tasker template register config/tasks
  tasker template register orders.yaml --output json

Files without errors are registered together or not at all. Exit code 1 means that a file has errors;
the others are registered.";

/// Arguments of `tasker template register`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Register {
    /// Files, and folders whose .yaml and .yml files are registered.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Register {
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let pool = self.database.connect().await?;
        let registry = TaskHandlerRegistry::new(pool);
        let registering = registry.register_template_files(&self.paths);
        let result = progress::during("registering templates", registering).await?;
        match self.output.output {
            Format::Json => output::json(&document(&result))?,
            Format::Table => output::text(&text(&result, Style::of_stdout()))?,
        }
        Ok(if result.errors.is_empty() {
            exit::OK
        } else {
            exit::NO
        })
    }
}

fn document(result: &TaskTemplateDiscoveryResult) -> Value {
    let templates: Vec<Value> = result
        .registered
        .iter()
        .map(|one| {
            json!({
                "namespace": one.namespace, "name": one.name, "version": one.version,
                "status": one.status.label(), "hash": one.hash.to_string(),
                "file": one.file.as_ref().map(|file| file.display().to_string()),
            })
        })
        .collect();
    let problems = |problems: &[DiscoveryProblem]| -> Vec<Value> {
        let problems = problems.iter();
        problems
            .map(|one| {
                json!({
                    "file": one.file.display().to_string(), "line": one.line, "column": one.column,
                    "path": one.path, "code": one.code, "message": one.message,
                })
            })
            .collect()
    };
    json!({
        "files": result.total_files, "templates": templates,
        "errors": problems(&result.errors), "warnings": problems(&result.warnings),
    })
}

fn text(result: &TaskTemplateDiscoveryResult, style: Style) -> String {
    let rows: Vec<Vec<Cell>> = result
        .registered
        .iter()
        .map(|one| {
            let paint = match one.status.label() {
                "created" => Paint::Green,
                "updated" => Paint::Yellow,
                _ => Paint::Dim,
            };
            vec![
                format!("{}/{}/{}", one.namespace, one.name, one.version).into(),
                Cell::painted(one.status.label(), paint),
            ]
        })
        .collect();
    let mut text = output::table(style, &["TEMPLATE", "STATUS"], &rows);
    for (paint, word, problems) in [
        (Paint::Red, "error", &result.errors),
        (Paint::Yellow, "warning", &result.warnings),
    ] {
        for problem in problems {
            let line = problem
                .line
                .map_or_else(String::new, |line| format!(":{line}"));
            let word = style.paint(paint, word);
            let file = problem.file.display();
            let _ = writeln!(text, "{file}{line}: {word}: {}", problem.message);
        }
    }
    text
}
