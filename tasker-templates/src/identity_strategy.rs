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
    schemars::JsonSchema,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[cfg_attr(test, derive(strum::VariantArray))]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type))]
#[cfg_attr(
    feature = "sqlx",
    sqlx(type_name = "tasker.identity_strategy", rename_all = "snake_case")
)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
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
    /// Returns the strategy's name in templates and in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the strategy with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::IdentityStrategy;

    #[test]
    fn every_strategy_has_the_name_that_templates_give_it() {
        for strategy in IdentityStrategy::VARIANTS.iter().copied() {
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.name());
            assert_eq!(IdentityStrategy::from_name(strategy.name()), Some(strategy));
        }
        assert_eq!(IdentityStrategy::from_name("other"), None);
    }
}
