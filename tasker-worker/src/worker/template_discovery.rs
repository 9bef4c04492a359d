//! The outcome of a boot's discovery over all folders, and its log lines.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tasker_shared::config::tasker::OnChangedVersion;
use tasker_shared::metrics::{TEMPLATE_FILES, TEMPLATE_VERSIONS_REPLACED};
use tasker_shared::registry::{
    DiscoveryProblem, RegistrationOutcome, RegistrationStatus, RegistryError,
    TaskTemplateDiscoveryResult,
};

use super::template_directories::TemplateDirectoryError;

/// Errors that keep templates from being registered. A bad file alone is none, unless `strict_boot`
/// is on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// A directory cannot be searched.
    #[error(transparent)]
    Folder(#[from] TemplateDirectoryError),
    /// The registry could not register what was found.
    #[error("the templates in {} cannot be registered", path.display())]
    Registry {
        /// The directory whose templates were being registered.
        path: PathBuf,
        /// The cause.
        #[source]
        source: RegistryError,
    },
    /// `strict_boot` is on and a file has errors.
    #[error(
        "{files} template files are refused, and common.task_templates.strict_boot is on; the log \
         has the reasons"
    )]
    Refused {
        /// The number of files with errors.
        files: usize,
    },
}

/// The outcome of a discovery over all folders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscoverySummary {
    /// Template files that were found.
    pub files: usize,
    /// Templates under a new name.
    pub created: usize,
    /// Templates whose content changed.
    pub updated: usize,
    /// Templates that were registered already, for which nothing was written.
    pub unchanged: usize,
    /// Errors in files that were not registered.
    pub errors: usize,
    /// Warnings about registered files, including templates that are in two folders.
    pub warnings: usize,
    /// Files that were not registered because of an error.
    pub refused: usize,
    /// Keys that the invalidation by a discovery deleted from the distributed cache.
    pub invalidated: u64,
    /// The reason why cached templates were not deleted, if the distributed cache failed.
    pub invalidation_error: Option<String>,
    /// Duration of the discovery.
    pub elapsed: Duration,
}

impl DiscoverySummary {
    /// Adds the outcome of one folder.
    pub(crate) fn add(&mut self, result: &TaskTemplateDiscoveryResult) {
        self.files += result.total_files;
        for registration in &result.registered {
            match registration.status {
                RegistrationStatus::Created => self.created += 1,
                RegistrationStatus::Updated => self.updated += 1,
                RegistrationStatus::Unchanged => self.unchanged += 1,
                // A discovery reports refused files as errors.
                RegistrationStatus::Refused => {}
            }
        }
        self.errors += result.errors.len();
        let files: HashSet<_> = result.errors.iter().map(|error| &error.file).collect();
        self.refused += files.len();
        self.warnings += result.warnings.len();
        self.invalidated += result.invalidation.deleted;
        if let Some(error) = &result.invalidation.error {
            self.invalidation_error.get_or_insert_with(|| error.clone());
        }
    }

    /// Logs the outcome of a boot in one line, and sets the gauge of template files.
    pub(crate) fn log(&self, named_by: &'static str) {
        tracing::info!(
            named_by,
            files = self.files,
            created = self.created,
            updated = self.updated,
            unchanged = self.unchanged,
            refused = self.refused,
            errors = self.errors,
            warnings = self.warnings,
            invalidated = self.invalidated,
            invalidation_error = self.invalidation_error,
            elapsed_ms = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            "templates discovered"
        );
        let registered = self.created + self.updated + self.unchanged;
        for (result, files) in [("registered", registered), ("refused", self.refused)] {
            #[expect(
                clippy::cast_precision_loss,
                reason = "there are fewer files than 2^52"
            )]
            metrics::gauge!(TEMPLATE_FILES.name, "result" => result).set(files as f64);
        }
    }
}

/// The names that a discovery has registered so far.
#[derive(Debug, Default)]
pub(crate) struct RegisteredNames(HashSet<(String, String, String)>);

impl RegisteredNames {
    /// Adds the templates of `directory`. Logs the names that an earlier folder had with other content
    /// and returns their number, because each boot would register both in turn.
    pub(crate) fn add(&mut self, directory: &Path, registered: &[RegistrationOutcome]) -> usize {
        let mut repeated = 0;
        for registration in registered {
            let RegistrationOutcome {
                namespace,
                name,
                version,
                status,
                ..
            } = registration;
            let new = self
                .0
                .insert((namespace.clone(), name.clone(), version.clone()));
            if !new && *status == RegistrationStatus::Updated {
                repeated += 1;
                tracing::warn!(
                    namespace,
                    name,
                    version,
                    directory = %directory.display(),
                    "a template is in two folders with different content; the later one is registered"
                );
            }
        }
        repeated
    }
}

/// Logs every template that was created or updated, and counts versions whose content was replaced.
pub(crate) fn log_changes(registered: &[RegistrationOutcome], on_changed: OnChangedVersion) {
    for outcome in registered {
        let RegistrationOutcome {
            namespace,
            name,
            version,
            hash,
            ..
        } = outcome;
        let old_hash = outcome.other_hash.as_ref().map(ToString::to_string);
        let file = outcome.file.as_ref().map(|file| file.display().to_string());
        match outcome.status {
            RegistrationStatus::Created => {
                tracing::info!(namespace, name, version, %hash, file, "template created");
            }
            RegistrationStatus::Updated => {
                if old_hash.is_some() {
                    metrics::counter!(TEMPLATE_VERSIONS_REPLACED.name).increment(1);
                }
                if old_hash.is_some() && on_changed == OnChangedVersion::Warn {
                    tracing::warn!(namespace, name, version, %hash, old_hash, file,
                        "template updated; the content of a registered version was replaced");
                } else {
                    tracing::info!(namespace, name, version, %hash, old_hash, file, "template updated");
                }
            }
            RegistrationStatus::Unchanged | RegistrationStatus::Refused => {}
        }
    }
}

/// Logs every problem once, because somebody has to correct the files.
pub(crate) fn log_problems(result: &TaskTemplateDiscoveryResult) {
    for problem in &result.errors {
        log_problem(problem, "a template file was not registered");
    }
    for problem in &result.warnings {
        log_problem(problem, "a template file has a warning");
    }
}

fn log_problem(problem: &DiscoveryProblem, what: &'static str) {
    tracing::warn!(
        file = %problem.file.display(),
        line = problem.line,
        column = problem.column,
        path = problem.path,
        problem = problem.message,
        "{what}"
    );
}

#[cfg(test)]
mod tests {
    use tasker_shared::registry::{
        DiscoveryProblem, RegistrationOutcome, RegistrationStatus, TaskTemplateDiscoveryResult,
    };
    use tasker_shared::types::ContentHash;
    use uuid::Uuid;

    use super::{DiscoverySummary, RegisteredNames};

    fn registration(status: RegistrationStatus) -> RegistrationOutcome {
        RegistrationOutcome {
            namespace: "namespace".into(),
            name: "name".into(),
            version: "1.0.0".into(),
            status,
            named_task_uuid: Uuid::nil(),
            hash: ContentHash::from_bytes([0; 32]),
            other_hash: None,
            is_retired: false,
            file: None,
        }
    }

    #[test]
    fn a_summary_adds_up_all_directories() {
        let problem = DiscoveryProblem {
            file: "bad.yaml".into(),
            line: Some(3),
            column: None,
            path: "steps[0]".into(),
            code: "missing",
            message: "is wrong".into(),
        };
        let first = TaskTemplateDiscoveryResult {
            total_files: 3,
            registered: vec![
                registration(RegistrationStatus::Created),
                registration(RegistrationStatus::Unchanged),
            ],
            errors: vec![problem.clone(), problem],
            ..TaskTemplateDiscoveryResult::default()
        };
        let second = TaskTemplateDiscoveryResult {
            total_files: 1,
            registered: vec![registration(RegistrationStatus::Updated)],
            ..TaskTemplateDiscoveryResult::default()
        };

        let mut summary = DiscoverySummary::default();
        summary.add(&first);
        summary.add(&second);

        assert_eq!(summary.files, 4);
        assert_eq!(
            (summary.created, summary.updated, summary.unchanged),
            (1, 1, 1)
        );
        assert_eq!((summary.errors, summary.warnings), (2, 0));
    }
    #[test]
    fn a_name_that_two_directories_register_differently_is_told() {
        let mut names = RegisteredNames::default();
        let mut add = |status| names.add("directory".as_ref(), &[registration(status)]);

        assert_eq!(add(RegistrationStatus::Updated), 0, "nobody had it before");
        assert_eq!(add(RegistrationStatus::Unchanged), 0, "both say the same");
        assert_eq!(add(RegistrationStatus::Updated), 1);
    }
}
