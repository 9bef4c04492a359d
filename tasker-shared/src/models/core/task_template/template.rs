//! The typed view of a template. (Stub: the documents module's owner completes it.)

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The keys of a template that Tasker reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskTemplate {
    pub name: String,
    pub namespace_name: String,
    pub version: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub identity_strategy: Option<crate::models::core::identity_strategy::IdentityStrategy>,
    #[serde(default)]
    pub task_handler: Option<HandlerDefinition>,
    #[serde(default)]
    pub input_schema: Option<Value>,
    #[serde(default)]
    pub steps: Vec<StepDefinition>,
}

/// Which code runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandlerDefinition {
    pub callable: String,
    #[serde(default)]
    pub method: Option<String>,
    #[serde(default)]
    pub resolver: Option<String>,
    #[serde(default)]
    pub initialization: Value,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepDefinition {
    pub name: String,
    #[serde(default, rename = "type", alias = "step_type")]
    pub step_type: StepType,
    pub handler: HandlerDefinition,
    #[serde(default)]
    pub dependencies: Vec<String>,
    #[serde(default)]
    pub retry: RetryConfiguration,
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
}

/// What kind of step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepType {
    #[default]
    Standard,
    Decision,
    DeferredConvergence,
    Batchable,
    BatchWorker,
}

/// How a failed step is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryConfiguration {
    #[serde(default)]
    pub retryable: bool,
    #[serde(default)]
    pub max_attempts: u32,
}

impl Default for RetryConfiguration {
    fn default() -> Self {
        Self {
            retryable: true,
            max_attempts: 3,
        }
    }
}
