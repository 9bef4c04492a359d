//! The report on checked or registered files, in four forms.

mod github;
mod sarif;
mod table;

use clap::ValueEnum;
use serde::Serialize;
use tasker_shared::registry::{
    CheckedTemplate, DiscoveryProblem, FoundTemplates, RegistrationOutcome,
    TaskTemplateDiscoveryResult,
};

use crate::error::CliError;
use crate::style::Style;

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum ReportFormat {
    /// A line for each problem.
    #[default]
    Table,
    /// JSON for programs.
    Json,
    /// Annotations of GitHub Actions.
    Github,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// A report on checked or registered files.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    files: usize,
    errors: usize,
    warnings: usize,
    pub(super) templates: Vec<Template>,
    /// In the order of files, lines and columns.
    problems: Vec<Problem>,
}

/// A template that can be registered, or was.
#[derive(Debug, Serialize)]
pub(super) struct Template {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) version: String,
    hash: String,
    file: Option<String>,
    /// The effect of the registration; nothing for a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Severity {
    Error,
    Warning,
}

#[derive(Debug, Serialize)]
struct Problem {
    severity: Severity,
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    path: String,
    code: &'static str,
    message: String,
}

impl Report {
    fn new(
        files: usize,
        templates: Vec<Template>,
        errors: Vec<DiscoveryProblem>,
        warnings: Vec<DiscoveryProblem>,
    ) -> Self {
        let counts = (errors.len(), warnings.len());
        let errors = errors.into_iter().map(|one| (Severity::Error, one));
        let warnings = warnings.into_iter().map(|one| (Severity::Warning, one));
        let mut problems: Vec<Problem> = errors
            .chain(warnings)
            .map(|(severity, problem)| Problem::new(severity, problem))
            .collect();
        // Stable, so that a count of further problems stays behind those of its file.
        problems.sort_by(|a, b| {
            let place = |problem: &Problem| (problem.line.unwrap_or(usize::MAX), problem.column);
            (&a.file, place(a)).cmp(&(&b.file, place(b)))
        });
        Self {
            files,
            errors: counts.0,
            warnings: counts.1,
            templates,
            problems,
        }
    }

    /// Returns true if there are no errors, and no warnings if those are denied.
    pub(super) fn is_good(&self, deny_warnings: bool) -> bool {
        self.errors == 0 && !(deny_warnings && self.warnings > 0)
    }

    /// Returns a line for each problem.
    pub(super) fn problem_lines(&self, style: Style) -> String {
        table::lines(&self.problems, style)
    }

    pub(super) fn render(&self, format: ReportFormat) -> Result<String, CliError> {
        let json = |value: &serde_json::Value| format!("{value:#}\n");
        Ok(match format {
            ReportFormat::Table => table::render(self),
            ReportFormat::Github => github::render(self),
            ReportFormat::Sarif => json(&sarif::document(self)),
            ReportFormat::Json => {
                let value = serde_json::to_value(self)
                    .map_err(|error| CliError::Output(std::io::Error::other(error)))?;
                json(&value)
            }
        })
    }
}

impl Problem {
    fn new(severity: Severity, problem: DiscoveryProblem) -> Self {
        Self {
            severity,
            file: problem.file.display().to_string(),
            line: problem.line,
            column: problem.column,
            path: problem.path,
            code: problem.code,
            message: problem.message,
        }
    }

    /// Returns the message behind the path in the document.
    fn text(&self) -> String {
        if self.path.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.path, self.message)
        }
    }
}

impl From<FoundTemplates> for Report {
    fn from(found: FoundTemplates) -> Self {
        let templates = found.templates.into_iter().map(Template::from).collect();
        Self::new(found.total_files, templates, found.errors, found.warnings)
    }
}

impl From<TaskTemplateDiscoveryResult> for Report {
    fn from(result: TaskTemplateDiscoveryResult) -> Self {
        let templates = result.registered.into_iter().map(Template::from).collect();
        Self::new(
            result.total_files,
            templates,
            result.errors,
            result.warnings,
        )
    }
}

impl From<CheckedTemplate> for Template {
    fn from(template: CheckedTemplate) -> Self {
        Self {
            namespace: template.namespace,
            name: template.name,
            version: template.version,
            hash: template.hash.to_string(),
            file: template.file.map(|file| file.display().to_string()),
            status: None,
        }
    }
}

impl From<RegistrationOutcome> for Template {
    fn from(outcome: RegistrationOutcome) -> Self {
        Self {
            namespace: outcome.namespace,
            name: outcome.name,
            version: outcome.version,
            hash: outcome.hash.to_string(),
            file: outcome.file.map(|file| file.display().to_string()),
            status: Some(outcome.status.label()),
        }
    }
}
