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
