//! Loads the configuration from its sources and checks it.
//!
//! From weakest to strongest: the embedded defaults, `tasker/base/*.toml`,
//! `tasker/environments/$TASKER_ENV/*.toml`, variables such as `TASKER__COMMON__CACHE__ENABLED`.
//! Layers are merged key by key; a list replaces a list. Files may refer to the variables on
//! [`EnvVarRule::ALLOWLIST`], and to no others.
//!
//! The structs define the keys. Options on a program's command line are not handled here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::checks::is_environment_name;
use super::errors::{ConfigError, ConfigProblem};
use super::layers::{self, Layer};
use super::tasker::TaskerConfig;
use super::{env_override, merge, validation};

const CONFIG_ROOT: &str = "TASKER_CONFIG_ROOT";
const DEFAULT_ROOT: &str = "config";
const DEFAULT_ENVIRONMENT: &str = "development";

/// A variable that configuration files may refer to, and the form of its value.
///
/// The allowlist keeps a configuration file from reading other variables, such as the credentials
/// of another program, which might then be printed.
#[derive(Debug, Clone, Copy)]
pub struct EnvVarRule {
    /// The variable.
    pub name: &'static str,
    /// The form of its value, as the end of "must be ...".
    pub pattern: &'static str,
    /// Returns true if a value has that form.
    pub accepts: fn(&str) -> bool,
    /// The variable's meaning.
    pub meaning: &'static str,
}

/// Compares names only, because functions cannot be compared.
impl PartialEq for EnvVarRule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The variable that chooses the environment.
pub(super) const ENVIRONMENT: EnvVarRule = EnvVarRule {
    name: "TASKER_ENV",
    pattern: "1 to 64 letters, digits, `_` and `-`",
    accepts: is_environment_name,
    meaning: "the environment, whose overrides apply to the configuration and to templates",
};

impl EnvVarRule {
    /// The variables that files may refer to.
    pub const ALLOWLIST: &[Self] = &[
        Self {
            name: "DATABASE_URL",
            pattern: "a URL that starts with postgres:// or postgresql://",
            accepts: |value| has_scheme(value, &["postgres", "postgresql"]),
            meaning: "the address of PostgreSQL",
        },
        Self {
            name: "REDIS_URL",
            pattern: "a URL that starts with redis://, rediss://, unix:// or redis+unix://",
            accepts: |value| has_scheme(value, &["redis", "rediss", "unix", "redis+unix"]),
            meaning: "the address of Redis",
        },
        Self::text("REDIS_USERNAME", "the user of Redis"),
        Self::text("REDIS_PASSWORD", "the password of Redis"),
        Self::text(
            "REDIS_SENTINEL_USERNAME",
            "the user of the sentinels of Redis",
        ),
        Self::text(
            "REDIS_SENTINEL_PASSWORD",
            "the password of the sentinels of Redis",
        ),
        ENVIRONMENT,
        Self::text(
            "TASKER_TEMPLATE_PATH",
            "the only folder in which a worker looks for task templates",
        ),
    ];

    const fn text(name: &'static str, meaning: &'static str) -> Self {
        Self {
            name,
            pattern: "a text without control characters",
            accepts: |value| !value.chars().any(char::is_control),
            meaning,
        }
    }

    /// Returns the rule for the variable `name`.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        Self::ALLOWLIST.iter().find(|rule| rule.name == name)
    }
}

fn has_scheme(value: &str, schemes: &[&str]) -> bool {
    value.split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && schemes
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known))
    })
}

/// Loads the configuration from a given folder and given variables.
pub struct ConfigLoader {
    root: Option<PathBuf>,
    env: BTreeMap<String, String>,
    /// Relevant variables whose values are not Unicode.
    not_unicode: Vec<String>,
}

impl ConfigLoader {
    /// Returns a loader that reads the files in `root`, the folder that holds `tasker`, and looks
    /// up variables in `env` only. Without `root` only the embedded defaults and `env` apply.
    #[must_use]
    pub fn new(root: Option<PathBuf>, env: BTreeMap<String, String>) -> Self {
        Self {
            root,
            env,
            not_unicode: Vec::new(),
        }
    }

    /// Returns a loader over the process's current environment. The folder is the one that
    /// `TASKER_CONFIG_ROOT` names, else `config` below the working directory if that holds
    /// `tasker`, else none.
    #[must_use]
    pub fn from_process_env() -> Self {
        Self::from_variables(std::env::vars_os())
    }

    /// Loads the configuration of this process.
    ///
    /// # Errors
    /// Fails with all problems that can be found at once.
    pub fn load_from_process() -> Result<TaskerConfig, ConfigError> {
        Self::from_process_env().load()
    }

    /// Does the work of [`Self::from_process_env`] on variables that a test can choose.
    pub(super) fn from_variables(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let mut env = BTreeMap::new();
        let mut not_unicode = Vec::new();
        let mut root = None;
        for (name, value) in variables {
            let Ok(name) = name.into_string() else {
                continue;
            };
            // A path need not be Unicode.
            if name == CONFIG_ROOT {
                root = Some(PathBuf::from(value)).filter(|root| !root.as_os_str().is_empty());
                continue;
            }
            match value.into_string() {
                Ok(value) => {
                    env.insert(name, value);
                }
                Err(_) if env_override::is_override(&name) || EnvVarRule::find(&name).is_some() => {
                    not_unicode.push(name);
                }
                Err(_) => {}
            }
        }
        let found = || Path::new(DEFAULT_ROOT).join("tasker").is_dir();
        Self {
            root: root.or_else(|| found().then(|| PathBuf::from(DEFAULT_ROOT))),
            env,
            not_unicode,
        }
    }

    /// Loads, merges and checks.
    ///
    /// # Errors
    /// Fails with all problems that can be found at once.
    pub fn load(&self) -> Result<TaskerConfig, ConfigError> {
        let mut problems: Vec<ConfigProblem> = self
            .not_unicode
            .iter()
            .map(|variable| ConfigProblem::NotUnicode {
                variable: variable.clone(),
            })
            .collect();
        let files = self.files(&mut problems);
        let overrides = env_override::read(&self.env, &mut problems);
        let merged = merge::merge(files, overrides, &mut problems);
        let in_force = merge::resolve(merged, |name| self.variable(name), &mut problems);
        let config = merge::assemble(&in_force);
        for (path, constraint) in validation::broken_constraints(&config) {
            // A wrong value was left out above. If its default then breaks a constraint together
            // with other values, that is not worth a report.
            let known_wrong = problems
                .iter()
                .filter_map(ConfigProblem::path)
                .any(|wrong| is_at_or_below(wrong, &path));
            if !known_wrong {
                problems.push(ConfigProblem::Invalid {
                    origin: in_force.get(&path).map(|located| located.origin.clone()),
                    path,
                    constraint,
                });
            }
        }
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::new(problems))
        }
    }

    /// Returns the files that apply, weakest first.
    pub(super) fn files(&self, problems: &mut Vec<ConfigProblem>) -> Vec<Layer> {
        let chosen = self.variable(ENVIRONMENT.name);
        let environment = chosen.unwrap_or(DEFAULT_ENVIRONMENT);
        let mut files: Vec<Layer> = layers::embedded().collect();
        if !(ENVIRONMENT.accepts)(environment) {
            problems.push(ConfigProblem::BadVariable {
                variable: ENVIRONMENT.name,
                expected: ENVIRONMENT.pattern,
                used_at: None,
            });
        } else if let Some(root) = &self.root {
            files.extend(layers::below(root, environment, chosen.is_some(), problems));
        }
        files
    }

    /// Returns all variables.
    pub(super) fn variables(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// Returns a variable's value. An empty one counts as unset.
    fn variable(&self, name: &str) -> Option<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// Shows no variable, because their values may be secrets.
impl fmt::Debug for ConfigLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigLoader")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

fn is_at_or_below(path: &str, section: &str) -> bool {
    path.strip_prefix(section)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
