//! Running steps.

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::macros::impl_builder_default;

/// `[worker.execution]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutionConfig {
    /// The most steps that this process runs at once.
    ///
    /// Default 100.
    #[builder(default = "100")]
    #[validate(range(min = 1, max = 10_000))]
    pub max_concurrent_steps: u32,
    /// The time for which a silent worker keeps its claims, in seconds. It renews them every third of this.
    ///
    /// Default 15.
    #[builder(default = "15")]
    #[validate(range(min = 3, max = 3600))]
    pub lease_seconds: u32,
    /// The workers that may be lost, one after the other, while they have a claim on one step, before that
    /// step fails. It ends steps that stop the processes they run in, which no attempt of theirs could do.
    ///
    /// Default 10.
    #[builder(default = "10")]
    #[validate(range(min = 1, max = 1000))]
    pub max_lost_attempts: u32,
    /// The pause after which an idle worker looks for steps without being notified, in milliseconds.
    ///
    /// Default 1000.
    #[builder(default = "1000")]
    #[validate(range(min = 50, max = 60_000))]
    pub poll_interval_ms: u32,
    /// The largest result of a step, in bytes of JSON. A larger one fails the step. The same holds for
    /// checkpoints. A larger context of an error is left out.
    ///
    /// Default 1048576 (1 MiB).
    #[builder(default = "1024 * 1024")]
    #[validate(range(min = 1024, max = 67_108_864))]
    pub max_result_bytes: u64,
    /// The longest that running handlers may take to finish after SIGTERM, in seconds. Then they are
    /// cancelled, and other workers run their steps.
    ///
    /// Default 20.
    #[builder(default = "20")]
    #[validate(range(min = 1, max = 28))]
    pub drain_timeout_seconds: u32,
    /// The most decisions that may follow from one another in a task.
    ///
    /// Default 10.
    #[builder(default = "10")]
    #[validate(range(min = 1, max = 100))]
    pub max_decision_depth: u32,
}

impl_builder_default!(ExecutionConfig => ExecutionConfigBuilder);
