//! `tasker template register`.

use std::path::PathBuf;

use clap::Args;
use tasker_shared::config::ConfigLoader;
use tasker_shared::config::tasker::OnChangedVersion;
use tasker_shared::registry::{
    DiscoveryProblem, RegistrationOutcome, RegistrationStatus, TaskHandlerRegistry,
};

use super::report::{Report, ReportFormat};
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
the others are registered. The keys strict_boot, on_changed_version and max_file_bytes of
common.task_templates hold as they do for a worker.";

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
        let config = ConfigLoader::load_from_process()?.common;
        let on_changed = config.task_templates.on_changed_version();
        let pool = self.database.connect_with(config.database).await?;
        let registry = TaskHandlerRegistry::new(pool).with_task_templates(config.task_templates);
        let registering = registry.register_template_files(&self.paths);
        let mut result = progress::during("registering templates", registering).await?;
        if on_changed == OnChangedVersion::Warn {
            let replaced = result.registered.iter().filter_map(replaced);
            result.warnings.extend(replaced);
        }
        let is_empty = result.total_files == 0 && result.errors.is_empty();
        if is_empty && result.warnings.is_empty() {
            return Err(CliError::no_files(&self.paths));
        }
        let report = Report::from(result);
        output::text(&match self.output.output {
            Format::Json => report.render(ReportFormat::Json)?,
            Format::Table => text(&report, Style::of_stdout()),
        })?;
        if is_empty {
            // The warnings say why, such as names of files that end in .YAML.
            return Err(CliError::no_files(&self.paths));
        }
        Ok(if report.is_good(false) {
            exit::OK
        } else {
            exit::NO
        })
    }
}

/// Returns the warning that a worker logs when it replaces the content of a registered version.
fn replaced(outcome: &RegistrationOutcome) -> Option<DiscoveryProblem> {
    let old = outcome.other_hash?;
    (outcome.status == RegistrationStatus::Updated).then(|| DiscoveryProblem {
        file: outcome.file.clone().unwrap_or_default(),
        line: None,
        column: None,
        path: String::new(),
        code: "version_replaced",
        message: format!(
            "the content of the registered version {}/{}/{} was replaced; its old hash is {old}",
            outcome.namespace, outcome.name, outcome.version
        ),
    })
}

fn text(report: &Report, style: Style) -> String {
    let rows: Vec<Vec<Cell>> = report
        .templates
        .iter()
        .map(|one| {
            let status = one.status.unwrap_or_default();
            let paint = match status {
                "created" => Paint::Green,
                "updated" => Paint::Yellow,
                _ => Paint::Dim,
            };
            vec![
                format!("{}/{}/{}", one.namespace, one.name, one.version).into(),
                Cell::painted(status, paint),
            ]
        })
        .collect();
    output::table(style, &["TEMPLATE", "STATUS"], &rows) + &report.problem_lines(style)
}
