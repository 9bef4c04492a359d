//! The typed view of a template.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::environment::EnvironmentOverrides;
use super::{FreeForm, StepDefinition};
use crate::identity_strategy::IdentityStrategy;

/// The keys of a template that Tasker reads.
///
/// Reading accepts each document that a release in any language has stored: unknown keys are
/// ignored, a null means that the key is missing, and only `name`, a step's `name` and a handler's
/// `callable` are required. [`TemplateDocument`](super::TemplateDocument) checks documents against
/// the JSON Schema of this type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["name", "namespace_name", "version"]))]
pub struct TaskTemplate {
    /// The template's name: 1 to 64 of `[A-Za-z0-9_.-]`.
    #[schemars(length(max = 64))]
    pub name: String,
    /// The template's namespace: 1 to 29 of `[A-Za-z0-9_]`.
    #[schemars(length(max = 29))]
    #[serde(
        default = "default_namespace",
        deserialize_with = "null_is_default_namespace"
    )]
    pub namespace_name: String,
    /// The template's version: 1 to 16 of `[A-Za-z0-9._+-]`.
    #[schemars(length(max = 16))]
    #[serde(
        default = "default_version",
        deserialize_with = "null_is_default_version"
    )]
    pub version: String,
    /// A description for people. Lists of templates show its first 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Author, dates, tags and notes.
    #[schemars(with = "Option<Value>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<FreeForm>,
    /// The code for the task as a whole. Kept for other software: Tasker runs only the handlers of steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_handler: Option<HandlerDefinition>,
    /// The external systems that its steps use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_dependencies: Option<SystemDependencies>,
    /// The events that its steps may publish. Kept for handlers and other software: Tasker publishes none.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub domain_events: Vec<DomainEventDefinition>,
    /// The JSON Schema of a task's context. `format` is not checked, but with a `$schema` before
    /// 2019-09; use `pattern`.
    #[schemars(with = "Option<Map<String, Value>>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<FreeForm>,
    /// Limits on a task's duration. Kept for other software: Tasker enforces none; steps have `timeout_seconds`.
    #[schemars(with = "Option<Map<String, Value>>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<FreeForm>,
    /// The deduplication of requests. Without it the database's default, `strict`, applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_strategy: Option<IdentityStrategy>,
    /// Its steps. Their order in the document is not the order of execution.
    #[serde(default, deserialize_with = "null_is_default")]
    pub steps: Vec<StepDefinition>,
    /// Overrides by environment; see [`apply_environment`](super::apply_environment).
    #[schemars(with = "Option<BTreeMap<String, EnvironmentOverrides>>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<FreeForm>,
}

/// The code that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HandlerDefinition {
    /// The name under which a worker knows the code.
    pub callable: String,
    /// The entry point, if it is not the default. Handlers are given it; Tasker finds them by `callable` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The resolver that finds the code by its name, if it is not the default. Handlers are given it, as
    /// `method`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<String>,
    /// Settings for the code.
    #[schemars(with = "Option<Map<String, Value>>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<FreeForm>,
}

/// The external systems that a template's steps use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemDependencies {
    /// The system of each step that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// The other systems.
    #[serde(default, deserialize_with = "null_is_default")]
    pub secondary: Vec<String>,
}

/// An event that a template's steps may publish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DomainEventDefinition {
    /// The event's name, such as `order.validated`.
    pub name: String,
    /// A description for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of its payload.
    #[schemars(with = "Option<Value>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<FreeForm>,
}

/// Reads a null as the type's default.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn default_namespace() -> String {
    String::from("default")
}

fn default_version() -> String {
    String::from("0.1.0")
}

fn null_is_default_namespace<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Option::deserialize(d).map(|text| text.unwrap_or_else(default_namespace))
}

fn null_is_default_version<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Option::deserialize(d).map(|text| text.unwrap_or_else(default_version))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::TaskTemplate;
    use crate::identity_strategy::IdentityStrategy;

    #[test]
    fn a_document_of_a_few_keys_is_read() {
        let template: TaskTemplate = serde_json::from_str(r#"{"name": "a"}"#).unwrap();
        assert_eq!(template.namespace_name, "default");
        assert_eq!(template.version, "0.1.0");
        assert!(template.steps.is_empty());
        assert_eq!(template.identity_strategy, None);
    }

    #[test]
    fn nulls_and_unknown_keys_are_read_over() {
        let template: TaskTemplate = serde_json::from_str(
            r#"{"name": "a", "namespace_name": null, "version": null, "description": null,
                "metadata": null, "task_handler": null, "system_dependencies": {"secondary": null},
                "domain_events": null, "input_schema": null, "lifecycle": null, "steps": null,
                "identity_strategy": null, "environments": null, "future": {"key": [1, 2]}}"#,
        )
        .unwrap();
        assert_eq!(template.version, "0.1.0");
        assert_eq!(template.input_schema, None);
        assert_eq!(template.system_dependencies, Some(<_>::default()));
    }

    #[test]
    fn text_and_tree_give_the_same_view() {
        let tree = json!({
            "name": "a", "namespace_name": "n", "version": "2", "identity_strategy": "always_unique",
            "metadata": {"author": "me", "tags": ["x", 1], "notes": "kept"},
            "task_handler": {"callable": "A", "initialization": {"deep": {"er": [1, null]}}},
            "input_schema": {"type": "object"},
            "steps": [{"name": "s", "handler": {"callable": "B"}, "dependencies": ["t"]}],
        });
        let from_tree: TaskTemplate = serde_json::from_value(tree.clone()).unwrap();
        let from_text: TaskTemplate =
            serde_json::from_str(&serde_json::to_string_pretty(&tree).unwrap()).unwrap();
        assert_eq!(from_tree, from_text);
        assert_eq!(
            from_text.identity_strategy,
            Some(IdentityStrategy::AlwaysUnique)
        );
        assert_eq!(
            from_text.input_schema.unwrap().to_value().unwrap(),
            tree["input_schema"]
        );
    }
}
