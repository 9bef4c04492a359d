//! The typed view of a template's steps.

use serde::{Deserialize, Serialize};

use super::template::null_is_default;
use super::{FreeForm, HandlerDefinition, RetryConfiguration};

/// One step of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepDefinition {
    /// Unique in the template, 1 to 128 characters.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What kind of step it is. Written as `type` or as `step_type`.
    #[serde(
        default,
        rename = "type",
        alias = "step_type",
        deserialize_with = "null_is_default"
    )]
    pub step_type: StepType,
    /// The code that runs it.
    pub handler: HandlerDefinition,
    /// The outside system that it talks to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_dependency: Option<String>,
    /// The names of the steps that must be complete before it starts.
    #[serde(default, deserialize_with = "null_is_default")]
    pub dependencies: Vec<String>,
    /// How it is tried again.
    #[serde(default, deserialize_with = "null_is_default")]
    pub retry: RetryConfiguration,
    /// How long one attempt may take, in seconds. None: as long as the worker allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// The events that it publishes when it ends.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub publishes_events: Vec<EventDeclaration>,
    /// How a batch is cut and worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_config: Option<Box<BatchConfiguration>>,
}

/// What kind of step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepType {
    /// Runs once, when its dependencies are complete.
    #[default]
    Standard,
    /// Decides which of the steps that depend on it are made.
    Decision,
    /// Waits for those of its dependencies that were made.
    DeferredConvergence,
    /// Cuts work into batches.
    Batchable,
    /// The pattern that each batch's step is made from; never runs itself.
    BatchWorker,
}

impl StepType {
    /// As authors write them.
    pub(super) const NAMES: &[&str] = &[
        "standard",
        "decision",
        "deferred_convergence",
        "batchable",
        "batch_worker",
    ];
}

/// An event that a step publishes when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventDeclaration {
    /// The event's name, such as `order.validated`.
    pub name: String,
    /// What it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// On which outcome it is published, such as `success`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The JSON Schema of its payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<FreeForm>,
    /// How it travels, such as `durable` or `fast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_mode: Option<String>,
    /// The code that publishes it, if not the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
}

/// How a batch is cut and worked on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchConfiguration {
    /// Items in one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u64>,
    /// Batches worked on at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u64>,
    /// The field that says how far a batch has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor_field: Option<String>,
    /// The step that each batch's step is made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_template: Option<String>,
    /// What a failed batch means for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_strategy: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::{StepDefinition, StepType};
    use crate::models::core::task_template::RetryConfiguration;

    #[test]
    fn every_listed_name_is_a_type() {
        for name in StepType::NAMES {
            let step_type: StepType = serde_json::from_value((*name).into()).unwrap();
            assert_eq!(serde_json::to_value(step_type).unwrap(), *name);
        }
    }

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
