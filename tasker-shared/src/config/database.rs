//! The connection to PostgreSQL.

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::macros::impl_builder_default;
use super::{checks, redact};

/// `[common.database]`: the connection to PostgreSQL.
#[derive(Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`.
    #[builder(default = "String::from(\"postgres://tasker:tasker@localhost:5432/tasker\")")]
    #[serde(serialize_with = "redact::serialize_url")]
    #[validate(custom(function = checks::database_url))]
    pub url: String,
    /// The mode of the pooler that `url` leads to: `transaction` for pgbouncer's
    /// `pool_mode = transaction`; else `session`, also without a pooler.
    #[builder(default = "String::from(\"session\")")]
    #[validate(custom(function = pool_mode))]
    #[schemars(extend("enum" = ["session", "transaction"]))]
    pub pool_mode: String,
    /// The server of `url` without the pooler, for migrations and notifications; by default `url`.
    /// With `pool_mode = "transaction"` and without it, changes are found by polling, and a service
    /// does not start while a migration is missing.
    #[builder(default)]
    #[serde(serialize_with = "redact::serialize_optional_url")]
    #[validate(custom(function = checks::optional_database_url))]
    pub direct_url: String,
    /// Connections to PostgreSQL.
    #[builder(default)]
    #[validate(nested)]
    pub pool: PoolConfig,
}

/// Shows no secrets.
impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        redact::debug(self, f)
    }
}

/// The mode of a pooler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum PoolMode {
    /// Each connection has a session of the server.
    Session,
    /// Each transaction may have another session.
    Transaction,
}

impl PoolMode {
    /// Returns the mode of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// `[common.database.pool]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[validate(schema(function = pool_bounds))]
pub struct PoolConfig {
    /// Most connections for requests and steps that a process opens. Up to seven more are for polls, probes,
    /// notifications and heartbeats.
    #[builder(default = "20")]
    #[validate(range(min = 2, max = 10_000))]
    pub max_connections: u32,
    /// Idle connections that are kept open; at most `max_connections`.
    #[builder(default = "1")]
    pub min_connections: u32,
    /// Longest wait for a free connection, in seconds.
    #[builder(default = "5")]
    #[validate(range(min = 1, max = 300))]
    pub acquire_timeout_seconds: u32,
    /// Longest run of a statement, in milliseconds. PostgreSQL cancels a longer one.
    #[builder(default = "10_000")]
    #[validate(range(min = 100, max = 2_147_483_647))]
    pub statement_timeout_ms: u32,
}

fn pool_mode(name: &str) -> Result<(), ValidationError> {
    checks::require(
        PoolMode::from_name(name).is_some(),
        "pool_mode",
        "must be `session` or `transaction`",
    )
}

fn pool_bounds(config: &PoolConfig) -> Result<(), ValidationError> {
    checks::require(
        config.min_connections <= config.max_connections,
        "pool_bounds",
        "`min_connections` must be at most `max_connections`",
    )
}

impl_builder_default!(DatabaseConfig => DatabaseConfigBuilder, PoolConfig => PoolConfigBuilder);
