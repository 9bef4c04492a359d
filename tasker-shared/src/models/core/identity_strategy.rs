//! How a named task decides that two requests are the same.

use serde::{Deserialize, Serialize};

/// How two task requests are recognised as one. The PostgreSQL enum `tasker.identity_strategy`.
///
/// Whatever the strategy, an `idempotency_key` that the caller gives decides: the caller knows
/// best what it is repeating. The strategy says what happens without one.
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
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "tasker.identity_strategy", rename_all = "snake_case")]
pub enum IdentityStrategy {
    /// Same named task and same context: the same task.
    #[default]
    Strict,
    /// Same named task and same `idempotency_key`, which is then required: the same task.
    CallerProvided,
    /// Never the same, unless the caller gives an `idempotency_key`.
    AlwaysUnique,
}

impl IdentityStrategy {
    const ALL: [Self; 3] = [Self::Strict, Self::CallerProvided, Self::AlwaysUnique];

    /// The strategy's name, as templates and the database have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::CallerProvided => "caller_provided",
            Self::AlwaysUnique => "always_unique",
        }
    }

    /// The strategy of this name.
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
