//! The variables that configuration files may refer to, and the forms of their values.

use super::checks::is_environment_name;
use super::env_override;

/// The variable with the address of Redis.
pub(super) const REDIS_URL: &str = "REDIS_URL";

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
            name: REDIS_URL,
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
            env_override::BIND_ADDRESS,
            "the address on which the process listens, if no variable of the tables below sets it",
        ),
        Self::text(
            "TASKER_TEMPLATE_PATH",
            "the only folders in which a worker looks for task templates, separated by `:`",
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
