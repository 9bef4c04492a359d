//! The typed view of a template.

use serde::{Deserialize, Deserializer, Serialize};

use super::{FreeForm, StepDefinition};
use crate::models::core::identity_strategy::IdentityStrategy;

/// The keys of a template that Tasker reads.
///
/// It reads what any release, in any language, has stored: unknown keys are ignored, a null is
/// what a missing key is, and only `name`, a step's `name` and a handler's `callable` have to be
/// there. It does not check what it reads; [`TemplateDocument`](super::TemplateDocument) does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskTemplate {
    /// 1 to 64 of `[A-Za-z0-9_.-]`.
    pub name: String,
    /// 1 to 29 of `[A-Za-z0-9_]`. Default `default`.
    #[serde(
        default = "default_namespace",
        deserialize_with = "null_is_default_namespace"
    )]
    pub namespace_name: String,
    /// 1 to 16 of `[A-Za-z0-9._+-]`. Default `0.1.0`.
    #[serde(
        default = "default_version",
        deserialize_with = "null_is_default_version"
    )]
    pub version: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who wrote it, when, and how it is filed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<FreeForm>,
    /// The code that the task as a whole belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_handler: Option<HandlerDefinition>,
    /// The outside systems that its steps talk to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_dependencies: Option<SystemDependencies>,
    /// The events that its steps may publish.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub domain_events: Vec<DomainEventDefinition>,
    /// The JSON Schema that a task's context has to meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<FreeForm>,
    /// Limits on a task's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<FreeForm>,
    /// How requests for it are deduplicated. None: the database's default, `strict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_strategy: Option<IdentityStrategy>,
    /// Its steps, in the order of the document, which is not an order of execution.
    #[serde(default, deserialize_with = "null_is_default")]
    pub steps: Vec<StepDefinition>,
    /// What is different in each environment; see [`apply_environment`](super::apply_environment).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<FreeForm>,
}

/// Which code runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandlerDefinition {
    /// The name under which a worker knows the code.
    pub callable: String,
    /// The entry point, if not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What finds the code by its name, if not the usual way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<String>,
    /// Settings for the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<FreeForm>,
}

/// The outside systems that a template's steps talk to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemDependencies {
    /// The system of a step that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// The others.
    #[serde(default, deserialize_with = "null_is_default")]
    pub secondary: Vec<String>,
}

/// An event that a template's steps may publish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainEventDefinition {
    /// The event's name, such as `order.validated`.
    pub name: String,
    /// What it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of its payload.
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
    use crate::models::core::identity_strategy::IdentityStrategy;

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
