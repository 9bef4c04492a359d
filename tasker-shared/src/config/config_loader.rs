//! Loads the configuration from its sources and checks it.
//!
//! From weakest to strongest: the embedded defaults, `tasker/base/*.toml`,
//! `tasker/environments/$TASKER_ENV/*.toml`, the variables to which defaults refer, such as
//! `DATABASE_URL`, and `TASKER_WEB_BIND_ADDRESS`, variables such as `TASKER__COMMON__CACHE__ENABLED`.
//! `TASKER_CONFIG_PATH` names one file in place of the folders; it may be that of other software, so its
//! unknown keys are no errors.
//! Layers are merged key by key; a list replaces a list. Files may refer to the variables on
//! [`EnvVarRule::ALLOWLIST`], and to no others.
//!
//! The structs define the keys. Options on a program's command line are not handled here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::errors::{ConfigError, ConfigProblem, Origin};
use super::flatten::Located;
use super::layers::{self, Layer};
use super::tasker::TaskerConfig;
use super::variables::{ENVIRONMENT, REDIS_URL};
use super::{env_override, merge, validation};

pub use super::variables::EnvVarRule;

const CONFIG_ROOT: &str = "TASKER_CONFIG_ROOT";
const CONFIG_FILE: &str = "TASKER_CONFIG_PATH";
const CACHE_SECTION: &str = "common.cache";
const REDIS_SECTION: &str = "common.cache.redis";
const DEFAULT_ROOT: &str = "config";
const DEFAULT_ENVIRONMENT: &str = "development";

/// Loads the configuration from a given folder and given variables.
pub struct ConfigLoader {
    root: Option<PathBuf>,
    /// One file in place of those below `root`.
    file: Option<PathBuf>,
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
            file: env
                .get(CONFIG_FILE)
                .filter(|file| !file.is_empty())
                .map(PathBuf::from),
            env,
            not_unicode: Vec::new(),
        }
    }

    /// Returns a loader over the process's current environment. The folder is the one that
    /// `TASKER_CONFIG_ROOT` names, else `config` below the working directory if that holds
    /// `tasker`, else none. If `TASKER_CONFIG_PATH` names a file, that is read instead.
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
        let mut file = None;
        for (name, value) in variables {
            let Ok(name) = name.into_string() else {
                continue;
            };
            // A path need not be Unicode.
            if name == CONFIG_ROOT {
                root = Some(PathBuf::from(value)).filter(|root| !root.as_os_str().is_empty());
                continue;
            }
            if name == CONFIG_FILE {
                file = Some(PathBuf::from(value)).filter(|file| !file.as_os_str().is_empty());
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
            file,
            env,
            not_unicode,
        }
    }

    /// Loads, merges and checks.
    ///
    /// # Errors
    /// Fails with all problems that can be found at once.
    pub fn load(&self) -> Result<TaskerConfig, ConfigError> {
        let reading = self.read();
        if reading.problems.is_empty() {
            Ok(reading.config)
        } else {
            Err(ConfigError::new(reading.problems))
        }
    }

    /// Does the work of [`load`](Self::load) for a service that starts. If everything that is wrong is
    /// in the cache's section, the section is left out and
    /// [`cache_refused`](super::tasker::CommonConfig::cache_refused) has the reasons, because a
    /// service starts without its cache. If the cache is off, its Redis is not looked at. Logs a warning
    /// that names all settings without effect.
    ///
    /// # Errors
    /// Fails with all problems that can be found at once if one of them is elsewhere.
    pub fn load_to_start(&self) -> Result<TaskerConfig, ConfigError> {
        let Reading {
            mut config,
            mut problems,
            unused,
        } = self.read();
        // A wrong value of `enabled` does not say that the cache is off.
        let enabled = format!("{CACHE_SECTION}.enabled");
        let is_off = config
            .common
            .cache
            .as_ref()
            .is_none_or(|cache| !cache.enabled)
            && !problems.iter().any(|problem| is_about(problem, &enabled));
        if is_off {
            let found = problems.len();
            problems.retain(|problem| !is_about(problem, REDIS_SECTION));
            if let Some(cache) = &mut config.common.cache
                && problems.len() < found
            {
                cache.redis = None;
            }
        }
        if !problems
            .iter()
            .all(|problem| is_about(problem, CACHE_SECTION))
        {
            return Err(ConfigError::new(problems));
        }
        if !problems.is_empty() {
            config.common.cache = None;
            config.common.cache_refused = Some(ConfigError::new(problems).to_string());
        }
        if !unused.is_empty() {
            tracing::warn!(
                settings = unused.join(" "),
                "settings are present and have no effect"
            );
        }
        Ok(config)
    }

    /// Loads, and returns the settings that are present and have no effect.
    ///
    /// # Errors
    /// See [`load`](Self::load).
    pub fn check(&self) -> Result<Vec<String>, ConfigError> {
        let reading = self.read();
        if reading.problems.is_empty() {
            Ok(reading.unused)
        } else {
            Err(ConfigError::new(reading.problems))
        }
    }

    pub(super) fn read(&self) -> Reading {
        let mut problems: Vec<ConfigProblem> = self
            .not_unicode
            .iter()
            .map(|variable| ConfigProblem::NotUnicode {
                variable: variable.clone(),
            })
            .collect();
        let files = self.files(&mut problems);
        let overrides = env_override::read(&self.env, &mut problems);
        let lookup = |name: &str| self.variable(name);
        let merged = merge::merge(files, overrides, lookup, &mut problems);
        let mut unused = env_override::unused(&self.env, &merged);
        unused.extend(self.take_unknown_keys(&mut problems));
        let in_force = merge::resolve(merged, |name| self.variable(name), &mut problems);
        let mut config = merge::assemble(&in_force);
        if let Some(cache) = &mut config.common.cache
            && !self.names_redis(&in_force)
        {
            cache.redis = None;
        }
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
        Reading {
            config,
            problems,
            unused,
        }
    }

    /// Removes the unknown keys of the file that `TASKER_CONFIG_PATH` names, and returns them.
    fn take_unknown_keys(&self, problems: &mut Vec<ConfigProblem>) -> Vec<String> {
        let Some(file) = &self.file else {
            return Vec::new();
        };
        let is_unknown = |problem: &mut ConfigProblem| matches!(problem, ConfigProblem::UnknownKey { origin: Origin::File(path), .. } if path == file);
        problems
            .extract_if(.., is_unknown)
            .filter_map(|problem| problem.path().map(str::to_owned))
            .collect()
    }

    /// Returns true if anything but the embedded defaults says where Redis is.
    fn names_redis(&self, in_force: &BTreeMap<String, Located>) -> bool {
        self.variable(REDIS_URL).is_some()
            || in_force.iter().any(|(path, located)| {
                is_at_or_below(path, REDIS_SECTION)
                    && !matches!(located.origin, Origin::Embedded(_))
            })
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
        } else if let Some(file) = &self.file {
            files.extend(layers::file(file.clone(), problems));
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
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// The outcome of reading all sources.
pub(super) struct Reading {
    config: TaskerConfig,
    problems: Vec<ConfigProblem>,
    /// Variables and keys that have no effect.
    pub(super) unused: Vec<String>,
}

/// Returns true if the problem is at or below `section`.
fn is_about(problem: &ConfigProblem, section: &str) -> bool {
    let sets = |variable: &str| {
        (variable.starts_with("REDIS_") && is_at_or_below(REDIS_SECTION, section))
            || env_override::path_of(variable).is_some_and(|path| is_at_or_below(&path, section))
    };
    match problem {
        ConfigProblem::NotUnicode { variable }
        | ConfigProblem::DuplicateVariable {
            first: variable, ..
        } => sets(variable),
        problem => problem
            .path()
            .is_some_and(|path| is_at_or_below(path, section)),
    }
}

/// Shows no variable, because their values may be secrets.
impl fmt::Debug for ConfigLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigLoader")
            .field("root", &self.root)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

fn is_at_or_below(path: &str, section: &str) -> bool {
    path.strip_prefix(section)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
