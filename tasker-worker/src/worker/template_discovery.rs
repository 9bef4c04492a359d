//! What became of the template files at boot: the sum over all directories, and its log lines.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tasker_shared::registry::{
    DiscoveryProblem, RegistrationOutcome, RegistrationStatus, RegistryError,
    TaskTemplateDiscoveryResult,
};

use super::template_directories::TemplateDirectoryError;

/// Why templates could not be registered. A bad file is no such reason.
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
        /// Why not.
        #[source]
        source: RegistryError,
    },
}

/// What a discovery did, over all directories.
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
    /// Things that are wrong in files that were not registered.
    pub errors: usize,
    /// Doubts about files that were registered, templates in two directories among them.
    pub warnings: usize,
    /// Keys that the invalidation by a discovery deleted from the distributed cache.
    pub invalidated: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl DiscoverySummary {
    /// Adds what one directory gave.
    pub(crate) fn add(&mut self, result: &TaskTemplateDiscoveryResult) {
        self.files += result.total_files;
        for registration in &result.registered {
            match registration.status {
                RegistrationStatus::Created => self.created += 1,
                RegistrationStatus::Updated => self.updated += 1,
                RegistrationStatus::Unchanged => self.unchanged += 1,
            }
        }
        self.errors += result.errors.len();
        self.warnings += result.warnings.len();
        self.invalidated += result.invalidation.deleted;
    }

    /// The one line that tells what a boot did.
    pub(crate) fn log(&self, named_by: &'static str) {
        tracing::info!(
            named_by,
            files = self.files,
            created = self.created,
            updated = self.updated,
            unchanged = self.unchanged,
            errors = self.errors,
            warnings = self.warnings,
            invalidated = self.invalidated,
            elapsed_ms = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            "templates discovered"
        );
    }
}

/// The names that a discovery has registered so far.
#[derive(Debug, Default)]
pub(crate) struct RegisteredNames(HashSet<(String, String, String)>);

impl RegisteredNames {
    /// Adds what `directory` gave. Tells the operator of names that an earlier directory had with
    /// other content, and answers how many those are: each boot would register both in turn.
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
                    "a template is in two directories with different content; the later one is registered"
                );
            }
        }
        repeated
    }
}

/// Tells the operator of every problem, each once: these are files that somebody has to mend.
pub(crate) fn log_problems(result: &TaskTemplateDiscoveryResult) {
    for problem in &result.errors {
        log_problem(problem, "a template file was not registered");
    }
    for problem in &result.warnings {
        log_problem(problem, "a template file is doubtful");
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
    use uuid::Uuid;

    use super::{DiscoverySummary, RegisteredNames};

    fn registration(status: RegistrationStatus) -> RegistrationOutcome {
        RegistrationOutcome {
            namespace: "namespace".into(),
            name: "name".into(),
            version: "1.0.0".into(),
            status,
            named_task_uuid: Uuid::nil(),
        }
    }

    #[test]
    fn a_summary_adds_up_all_directories() {
        let problem = DiscoveryProblem {
            file: "bad.yaml".into(),
            line: Some(3),
            column: None,
            path: "steps[0]".into(),
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
