//! The typed view of a template's steps.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::template::null_is_default;
use super::{FreeForm, HandlerDefinition, RetryConfiguration};

/// One step of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepDefinition {
    /// The step's name: 1 to 128 characters, unique in the template. A batch worker has up to 122, because its
    /// batches add a number.
    #[schemars(length(max = 128))]
    pub name: String,
    /// A description for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The step's type. Its key is `type` or `step_type`.
    #[schemars(extend("x-alias" = "step_type"))]
    #[serde(
        default,
        rename = "type",
        alias = "step_type",
        deserialize_with = "null_is_default"
    )]
    pub step_type: StepType,
    /// The code that runs it.
    pub handler: HandlerDefinition,
    /// The external system that it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_dependency: Option<String>,
    /// Names of the steps that must be complete before it starts.
    #[serde(default, deserialize_with = "null_is_default")]
    pub dependencies: Vec<String>,
    /// Retries after a failed attempt.
    #[serde(default, deserialize_with = "null_is_default")]
    pub retry: RetryConfiguration,
    /// Longest duration of an attempt, in seconds, from 1. Without it a handler over HTTP has
    /// `worker.http_handlers.timeout_seconds`; a handler in Rust has no limit.
    #[schemars(range(max = 2_147_483_647))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// The events that its handler publishes. Kept for handlers and other software: Tasker publishes none.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub publishes_events: Vec<EventDeclaration>,
    /// Division of work into batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_config: Option<Box<BatchConfiguration>>,
}

/// The type of a step.
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
    JsonSchema,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[schemars(transform = add_deferred)]
pub enum StepType {
    /// Runs once, when its dependencies are complete.
    #[default]
    Standard,
    /// Decides which of the steps that depend on it are created.
    Decision,
    /// Waits for those of its dependencies that were created.
    #[serde(alias = "deferred")]
    DeferredConvergence,
    /// Divides work into batches.
    Batchable,
    /// The pattern from which each batch's step is created. It never runs itself.
    BatchWorker,
}

/// Adds the other spelling, which `schemars` leaves out.
fn add_deferred(schema: &mut Schema) {
    let deferred = json!({
        "const": "deferred", "description": "Short for `deferred_convergence`.", "type": "string",
    });
    if let Some(Value::Array(types)) = schema.get_mut("oneOf") {
        types.push(deferred);
    }
}

/// An event that a step publishes when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventDeclaration {
    /// The event's name, such as `order.validated`.
    pub name: String,
    /// A description for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The outcome on which it is published, such as `success`.
    #[schemars(extend("examples" = [
        "success", "failure", "retryable_failure", "permanent_failure", "always"
    ]))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The JSON Schema of its payload.
    #[schemars(with = "Option<Value>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<FreeForm>,
    /// The delivery, such as `durable` or `fast`.
    #[schemars(extend("examples" = ["durable", "fast", "broadcast"]))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_mode: Option<String>,
    /// The code that publishes it, if it is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
}

/// Division of work into batches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchConfiguration {
    /// Items in one batch. Handlers decide; it bounds the items between two checkpoints.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u64>,
    /// Batches that are meant to run at the same time. It limits nothing: workers run as many as their
    /// `max_concurrent_steps` lets them.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u64>,
    /// The field that records the progress of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor_field: Option<String>,
    /// The `batch_worker` step from which each batch's step is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_template: Option<String>,
    /// The effect of a failed batch on the others, for handlers: they find it in `batch_metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_strategy: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::{StepDefinition, StepType};
    use crate::RetryConfiguration;

    #[test]
    fn a_type_has_two_spellings() {
        for key in ["type", "step_type"] {
            let text = format!(
                r#"{{"name": "a", "{key}": "batch_worker", "handler": {{"callable": "A"}}}}"#
            );
            let step: StepDefinition = serde_json::from_str(&text).unwrap();
            assert_eq!(step.step_type, StepType::BatchWorker);
        }
    }

    #[test]
    fn a_convergence_has_two_names() {
        for name in ["deferred", "deferred_convergence"] {
            let text =
                format!(r#"{{"name": "a", "type": "{name}", "handler": {{"callable": "A"}}}}"#);
            let step: StepDefinition = serde_json::from_str(&text).unwrap();
            assert_eq!(step.step_type, StepType::DeferredConvergence);
        }
    }

    #[test]
    fn nulls_are_what_a_missing_key_is() {
        let step: StepDefinition = serde_json::from_str(
            r#"{"name": "a", "type": null, "description": null, "dependencies": null, "retry": null,
                "handler": {"callable": "A", "initialization": null}, "system_dependency": null,
                "timeout_seconds": null, "publishes_events": null, "batch_config": null}"#,
        )
        .unwrap();
        assert_eq!(step.step_type, StepType::Standard);
        assert_eq!(step.retry, RetryConfiguration::default());
        assert_eq!(step.handler.initialization, None);
        assert!(step.dependencies.is_empty());
    }
}
