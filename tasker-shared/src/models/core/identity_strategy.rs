//! Deduplication of task requests.

use serde::{Deserialize, Serialize};

/// The rule by which two task requests are the same: PostgreSQL's `tasker.identity_strategy`.
///
/// An `idempotency_key` in the request takes precedence over each strategy, because the caller
/// knows best which request it repeats.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    Serialize,
    Deserialize,
    sqlx::Type,
    utoipa::ToSchema,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "tasker.identity_strategy", rename_all = "snake_case")]
pub enum IdentityStrategy {
    /// Requests with the same named task and context are the same task.
    #[default]
    Strict,
    /// Requests with the same named task and `idempotency_key` are the same task. The key is
    /// required.
    CallerProvided,
    /// Each request without an `idempotency_key` is a task of its own.
    AlwaysUnique,
}

impl IdentityStrategy {
    const ALL: [Self; 3] = [Self::Strict, Self::CallerProvided, Self::AlwaysUnique];

    /// Returns the strategy's name in templates and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::CallerProvided => "caller_provided",
            Self::AlwaysUnique => "always_unique",
        }
    }

    /// Returns the strategy with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::IdentityStrategy;

    #[test]
    fn every_strategy_has_the_name_that_templates_give_it() {
        for strategy in IdentityStrategy::ALL {
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.name());
            assert_eq!(IdentityStrategy::from_name(strategy.name()), Some(strategy));
        }
        assert_eq!(IdentityStrategy::from_name("other"), None);
    }
}
