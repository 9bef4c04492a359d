//! `tasker template validate`.

use std::path::PathBuf;

use clap::Args;
use tasker_shared::config::tasker::TaskTemplatesConfig;
use tasker_shared::registry::check_template_files;

use super::report::{Report, ReportFormat};
use crate::error::{CliError, exit};
use crate::output;
use crate::progress;

const AFTER_HELP: &str = "\
Examples:
  tasker template validate config/tasks
  tasker template validate orders.yaml --deny-warnings --output github
  tasker template validate config/tasks --output sarif > templates.sarif

Exit code 1 means that a file has errors, or warnings with --deny-warnings.";

/// Arguments of `tasker template validate`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Validate {
    /// Files, and folders whose .yaml and .yml files are checked.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Fail if there are warnings.
    #[arg(long)]
    deny_warnings: bool,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: ReportFormat,
    /// The largest file, in bytes; `common.task_templates.max_file_bytes` of a worker.
    #[arg(long, value_name = "BYTES", default_value_t = TaskTemplatesConfig::default().max_file_bytes)]
    max_file_bytes: u64,
}

impl Validate {
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let (paths, limit) = (self.paths.clone(), self.max_file_bytes);
        let checking = tokio::task::spawn_blocking(move || check_template_files(&paths, limit));
        let checked = progress::during("checking templates", checking).await;
        let check =
            checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let is_empty = check.total_files == 0 && check.errors.is_empty();
        if is_empty && check.warnings.is_empty() {
            return Err(CliError::no_files(&self.paths));
        }
        let report = Report::from(check);
        output::text(&report.render(self.output)?)?;
        if is_empty {
            // The warnings say why, such as names of files that end in .YAML.
            return Err(CliError::no_files(&self.paths));
        }
        Ok(if report.is_good(self.deny_warnings) {
            exit::OK
        } else {
            exit::NO
        })
    }
}
