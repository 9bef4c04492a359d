//! Recurring work of the orchestration service.

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::macros::impl_builder_default;

/// `[orchestration.upkeep]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpkeepConfig {
    /// The interval at which steps of lost workers are returned to the queue, in milliseconds.
    ///
    /// Default 1000.
    #[builder(default = "1000")]
    #[validate(range(min = 100, max = 60_000))]
    pub interval_ms: u32,
    /// The time for which finished tasks are kept, in days. With 0, for ever.
    ///
    /// Default 0.
    #[builder(default = "0")]
    #[validate(range(max = 36_500))]
    pub retention_days: u32,
    /// The number of finished tasks that one statement deletes.
    ///
    /// Default 500.
    #[builder(default = "500")]
    #[validate(range(min = 1, max = 10_000))]
    pub retention_batch: u32,
}

impl_builder_default!(UpkeepConfig => UpkeepConfigBuilder);
