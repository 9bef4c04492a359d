//! Errors and exit codes.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tasker_shared::config::ConfigError;
use tasker_shared::database::DatabaseError;
use tasker_shared::error_chain::Chain;
use tasker_shared::registry::RegistryError;
use tasker_templates::TemplateError;

use crate::output::harmless;

/// Exit codes, after BSD's `sysexits.h` like those of the services.
pub(crate) mod exit {
    /// Success.
    pub(crate) const OK: u8 = 0;
    /// The command ran, and its answer is no.
    pub(crate) const NO: u8 = 1;
    /// The command line is wrong.
    pub(crate) const USAGE: u8 = 64;
    /// An input file is missing, cannot be read, or is not a template.
    pub(crate) const NO_INPUT: u8 = 66;
    /// The service or the database cannot be reached.
    pub(crate) const UNAVAILABLE: u8 = 69;
    /// Internal error.
    pub(crate) const INTERNAL: u8 = 70;
    /// An output file cannot be written.
    pub(crate) const CANNOT_CREATE: u8 = 73;
    /// The configuration is wrong.
    pub(crate) const CONFIG: u8 = 78;
    /// A signal ended the command, as a shell reports it for Ctrl-C.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A path that was searched for templates.
    #[error("{path} cannot be read")]
    ReadPath {
        path: String,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("{} cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a template", path.display())]
    Template {
        path: PathBuf,
        #[source]
        source: TemplateError,
    },
    #[error("no template file is in {paths}")]
    NoFiles { paths: String },
    #[error(transparent)]
    Registry(RegistryError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("PostgreSQL cannot be used")]
    Database(#[from] DatabaseError),
    #[error("the service at {url} does not answer")]
    Service {
        url: String,
        /// The option that the address is from.
        option: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("the service refused the request: {}", detail(*.status, .problem))]
    Refused {
        status: u16,
        /// The problem, as the service describes it.
        problem: Box<Value>,
    },
    /// Something that is not a service answered, such as a proxy with a login page.
    #[error("{url} is not a Tasker service: it answered with status {status} and {answer}")]
    Stranger {
        url: String,
        /// The option that the address is from.
        option: &'static str,
        status: u16,
        answer: String,
    },
    #[error("not all cached templates are deleted: {cause}")]
    NotCleared { cause: String },
    #[error("{option} is not the address of a service: {url}")]
    BadUrl {
        url: String,
        /// The option that the address is from.
        option: &'static str,
    },
    #[error("TASKER_TOKEN has characters that no HTTP header can have")]
    BadToken,
    #[error("{name} is not the name of a template")]
    BadTemplateName { name: String },
    #[error("a template cannot be named {namespace}/{name}")]
    BadNewName { namespace: String, name: String },
    #[error("there is no key or section {key}")]
    UnknownConfigKey { key: String, nearest: &'static str },
    #[error("the task has no step {name}; it has {known}")]
    UnknownStep { name: String, known: String },
    #[error("{option} is not JSON")]
    NotJson {
        option: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{option} has more than 64 MiB, the most that a service can accept")]
    TooLarge { option: &'static str },
    /// A later error of a command that knows its task, which is there and runs on.
    #[error("task {task} cannot be followed")]
    Follow {
        task: String,
        #[source]
        source: Box<CliError>,
    },
    #[error("task {task} has not ended within {seconds} s")]
    NotEnded { task: String, seconds: u64 },
    #[error("a signal ended the command")]
    Interrupted,
    #[error("the answer cannot be written")]
    Output(#[source] io::Error),
    #[error("the program cannot start")]
    Runtime(#[source] io::Error),
}

impl From<RegistryError> for CliError {
    fn from(error: RegistryError) -> Self {
        match error {
            // A person may have named a file.
            RegistryError::Folder { path, source } => Self::ReadPath { path, source },
            error => Self::Registry(error),
        }
    }
}

impl CliError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::BadUrl { .. }
            | Self::BadToken
            | Self::BadTemplateName { .. }
            | Self::BadNewName { .. }
            | Self::NotJson { .. } => exit::USAGE,
            Self::Read { .. }
            | Self::ReadPath { .. }
            | Self::TooLarge { .. }
            | Self::Template { .. }
            | Self::NoFiles { .. } => exit::NO_INPUT,
            Self::Database(_)
            | Self::Service { .. }
            | Self::Stranger { .. }
            | Self::Registry(RegistryError::Database(_)) => exit::UNAVAILABLE,
            Self::Refused { status, .. } if *status >= 500 => exit::UNAVAILABLE,
            Self::Follow { source, .. } => source.exit_code(),
            Self::Runtime(_) => exit::INTERNAL,
            Self::Output(_) | Self::Write { .. } => exit::CANNOT_CREATE,
            Self::Config(_) => exit::CONFIG,
            Self::Interrupted => exit::INTERRUPTED,
            Self::UnknownStep { .. }
            | Self::UnknownConfigKey { .. }
            | Self::NotEnded { .. }
            | Self::NotCleared { .. }
            | Self::Refused { .. }
            | Self::Registry(_) => exit::NO,
        }
    }

    pub(crate) fn no_files(paths: &[PathBuf]) -> Self {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Self::NoFiles {
            paths: paths.join(", "),
        }
    }

    /// Returns true if the same request may succeed soon, as after a restart of the service.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Service { .. } => true,
            Self::Refused { status, .. } | Self::Stranger { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Names the task in an error, so that its id is not lost.
    pub(crate) fn of_task(self, task: &str) -> Self {
        match self {
            named @ Self::NotEnded { .. } => named,
            source => Self::Follow {
                task: task.to_owned(),
                source: Box::new(source),
            },
        }
    }

    /// Returns a sentence that says how to go on, if there is one.
    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } | Self::ReadPath { .. } => {
                String::from("name a file or a folder that exists and that you may read")
            }
            Self::Write { .. } => {
                String::from("name a new file in a folder that exists and that you may write")
            }
            Self::Template { path, .. } if path.as_os_str() == "-" => String::from(
                "write it to a file; `tasker template validate FILE` lists all problems",
            ),
            Self::Template { path, .. } => {
                format!(
                    "`tasker template validate {}` lists all problems",
                    path.display()
                )
            }
            Self::NoFiles { .. } => {
                String::from("name files, or folders with files that end in .yaml or .yml")
            }
            Self::Database(_) | Self::Registry(RegistryError::Database(_)) => String::from(
                "check --database-url or DATABASE_URL; `tasker migrate` creates missing tables",
            ),
            Self::Config(_) => String::from(
                "`tasker config check` lists all problems; docs/configuration.md lists all keys",
            ),
            Self::Service { option, .. } => {
                format!("check {option}, and that the service runs")
            }
            Self::Stranger { option, .. } => {
                format!(
                    "check {option}, and proxies that may answer for the service with a login page"
                )
            }
            Self::NotCleared { .. } => {
                String::from("clear again once Redis works; `tasker cache status` shows its state")
            }
            Self::UnknownConfigKey { nearest, .. } => format!("perhaps {nearest} is meant"),
            Self::BadUrl { .. } => String::from(
                "write a URL such as http://127.0.0.1:8080, or https://tasker.example for a proxy",
            ),
            Self::BadTemplateName { .. } => {
                String::from("write NAME, NAMESPACE/NAME or NAMESPACE/NAME/VERSION")
            }
            Self::BadNewName { .. } => String::from(
                "begin both with a letter, and use A-Z a-z 0-9 _ only; the name may have . and -, too",
            ),
            Self::NotJson { .. } => {
                String::from("write JSON in quotes, @FILE, or @- for standard input")
            }
            Self::UnknownStep { .. } => String::from("write one of these names, or a step's id"),
            Self::Follow { task, .. } => {
                format!("do not create it again; `tasker task watch {task}` waits for its end")
            }
            Self::NotEnded { task, .. } => {
                format!("`tasker task watch {task}` waits on; `tasker queue` shows waiting steps")
            }
            Self::Registry(RegistryError::NotFound { .. }) => {
                String::from("`tasker template list` shows the registered templates")
            }
            Self::Refused { problem, .. } => return remedy_for(problem),
            _ => return None,
        })
    }

    /// Prints the error with its causes and the remedy to standard error.
    pub(crate) fn print(&self) {
        let mut text = format!("error: {}\n", Chain(self as &dyn Error));
        if let Some(remedy) = self.remedy() {
            let _ = writeln!(text, "help: {remedy}");
        }
        // A failed write is ignored because there is nobody left to inform.
        drop(io::stderr().write_all(harmless(&text).as_bytes()));
    }
}

/// Returns the sentence with which a service describes a problem, and its code.
fn detail(status: u16, problem: &Value) -> String {
    match (problem["detail"].as_str(), problem["code"].as_str()) {
        (Some(detail), Some(code)) => format!("{detail} [{code}]"),
        _ => format!("status {status}"),
    }
}

/// Returns the fields that a service names as wrong, or the command that helps.
fn remedy_for(problem: &Value) -> Option<String> {
    let errors = problem["errors"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let fields: Vec<String> = errors
        .iter()
        .filter_map(|error| {
            let (pointer, detail) = (error["pointer"].as_str()?, error["detail"].as_str()?);
            // The empty pointer is the whole body.
            Some(format!("{pointer} {detail}").trim_start().to_owned())
        })
        .collect();
    if !fields.is_empty() {
        return Some(fields.join("; "));
    }
    Some(match problem["code"].as_str()? {
        "template_not_found" => {
            String::from("`tasker template list` shows the registered templates")
        }
        "task_not_found" => String::from("`tasker task list` shows the tasks"),
        "task_ended" | "step_state_conflict" | "step_not_found" => {
            String::from("`tasker task show` shows the state of the task and its steps")
        }
        "route_not_found" => {
            String::from("check the address; orchestration and workers have different routes")
        }
        _ => return None,
    })
}
