//! Errors of loading the configuration. They name files and keys, and never values.

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A default that is compiled in; the name of its file.
    Embedded(&'static str),
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(name) => write!(f, "the built-in {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "the variable {}", name.escape_debug()),
        }
    }
}

/// All problems of a configuration that can be found at once.
///
/// Its `Display` has one line for each problem. Neither it nor its sources contain a configured
/// value, so it can be logged.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.problems))]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

impl ConfigError {
    pub(super) fn new(problems: Vec<ConfigProblem>) -> Self {
        Self { problems }
    }

    /// Returns the problems in the order in which they were found; at least one.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }
}

fn list(problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| match problem.source() {
            Some(source) => format!("[{}] {problem}: {source}", problem.code()),
            None => format!("[{}] {problem}", problem.code()),
        })
        .collect();
    lines.join("\n")
}

/// A problem of a configuration.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[cfg_attr(test, derive(strum::VariantNames))]
#[strum(prefix = "config_", serialize_all = "snake_case")]
#[non_exhaustive]
pub enum ConfigProblem {
    /// `TASKER_CONFIG_ROOT` names a folder that does not exist or has no configuration.
    #[error(
        "there is no folder {}: set TASKER_CONFIG_ROOT to the folder that holds `tasker`",
        .folder.display()
    )]
    MissingFolder {
        /// The folder that was looked for.
        folder: PathBuf,
    },
    /// `TASKER_ENV` names an environment that the configuration folder does not have.
    #[error(
        "TASKER_ENV names the environment `{name}`, but there is no folder {}: create it or use one of {}",
        .folder.display(), .known.join(", ")
    )]
    UnknownEnvironment {
        /// The value of `TASKER_ENV`.
        name: String,
        /// The folder that was looked for.
        folder: PathBuf,
        /// The existing environments.
        known: Vec<String>,
    },
    /// A file or folder cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file is not TOML.
    #[error("{}, line {line}, column {column}: {message}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
        /// The parser's message, which quotes nothing of the file.
        message: String,
    },
    /// A key that no configuration struct has.
    #[error("{origin}: `{}` is not a known key; the nearest is `{nearest}`", .path.escape_debug())]
    UnknownKey {
        /// The source of the key.
        origin: Origin,
        /// The dotted path of the key.
        path: String,
        /// The dotted path of the most similar known key, as a variable's name if the key comes
        /// from a variable.
        nearest: String,
    },
    /// A value of the wrong type.
    #[error("{origin}: `{path}` must be {expected}, and is {found}")]
    WrongType {
        /// The source of the key.
        origin: Origin,
        /// The dotted path of the key.
        path: String,
        /// The type, with its article.
        expected: String,
        /// The type that was found, with its article.
        found: &'static str,
    },
    /// `${` that is not the start of `${NAME}` or `${NAME:-default}`.
    #[error(
        "{origin}: `{path}` has a `${{` that does not start `${{NAME}}` or `${{NAME:-default}}`"
    )]
    MalformedReference {
        /// The source of the key.
        origin: Origin,
        /// The dotted path of the key.
        path: String,
    },
    /// A reference to a variable that is not on the allowlist.
    #[error(
        "{origin}: `{path}` refers to the variable {variable}; files may refer to {allowed} only"
    )]
    UnlistedVariable {
        /// The source of the key.
        origin: Origin,
        /// The dotted path of the key.
        path: String,
        /// The variable.
        variable: String,
        /// The variables that files may refer to.
        allowed: String,
    },
    /// A reference without a default to a variable that is unset or empty.
    #[error("{origin}: `{path}` needs the variable {variable}, which is not set")]
    UnsetVariable {
        /// The source of the key.
        origin: Origin,
        /// The dotted path of the key.
        path: String,
        /// The variable.
        variable: &'static str,
    },
    /// A variable on the allowlist with a value of another form.
    #[error("the variable {variable} must be {expected}{}", reference(.used_at.as_ref()))]
    BadVariable {
        /// The variable.
        variable: &'static str,
        /// The form of the value.
        expected: &'static str,
        /// The file and the dotted path of the key that refers to it; nothing if no file does.
        used_at: Option<(Origin, String)>,
    },
    /// Two variables set one key, in different spellings.
    #[error("{first} and {second} set the same key; remove one")]
    DuplicateVariable {
        /// The first variable.
        first: String,
        /// The second variable.
        second: String,
    },
    /// A variable whose value is not Unicode.
    #[error("the variable {variable} is not valid UTF-8")]
    NotUnicode {
        /// The variable.
        variable: String,
    },
    /// A value of the right type that breaks a constraint.
    #[error("{}`{path}` {constraint}", place(.origin.as_ref()))]
    Invalid {
        /// The source of the value; nothing if the constraint is about several values together.
        origin: Option<Origin>,
        /// The dotted path of the key, or of the section if the constraint is about several keys.
        path: String,
        /// The constraint as the end of a sentence.
        constraint: String,
    },
}

impl ConfigProblem {
    /// Returns a name for this kind of problem that stays the same in all releases.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }

    /// Returns the dotted path of the key that the problem is about, if it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { path, .. }
            | Self::WrongType { path, .. }
            | Self::MalformedReference { path, .. }
            | Self::UnlistedVariable { path, .. }
            | Self::UnsetVariable { path, .. }
            | Self::Invalid { path, .. } => Some(path),
            Self::BadVariable { used_at, .. } => used_at.as_ref().map(|(_, path)| path.as_str()),
            Self::MissingFolder { .. }
            | Self::UnknownEnvironment { .. }
            | Self::Unreadable { .. }
            | Self::Syntax { .. }
            | Self::DuplicateVariable { .. }
            | Self::NotUnicode { .. } => None,
        }
    }
}

fn reference(used_at: Option<&(Origin, String)>) -> String {
    used_at.map_or_else(String::new, |(origin, path)| {
        format!(" (`{path}` in {origin} refers to it)")
    })
}

fn place(origin: Option<&Origin>) -> String {
    origin.map_or_else(String::new, |origin| format!("{origin}: "))
}

#[cfg(test)]
mod tests {
    use strum::VariantNames;

    use super::ConfigProblem;

    #[test]
    fn programs_find_the_codes_that_they_know() {
        let codes = "config_missing_folder config_unknown_environment config_unreadable config_syntax \
             config_unknown_key config_wrong_type config_malformed_reference \
             config_unlisted_variable config_unset_variable config_bad_variable \
             config_duplicate_variable config_not_unicode config_invalid";
        assert_eq!(ConfigProblem::VARIANTS.join(" "), codes);
    }
}
