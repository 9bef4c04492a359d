//! Checks templates for the HTTP API.
//!
//! Templates are checked before they are registered. A registered one may still be invalid, because
//! other software writes to the database, or because an environment's overrides break it.

use std::collections::HashSet;
use std::error::Error;

use serde::Serialize;
use serde_json::Value;
use tasker_shared::models::core::task_template::{
    Problem, TaskTemplate, TemplateDocument, TemplateError, TemplateLimits,
};
use tasker_web::causes;
use utoipa::ToSchema;

use crate::worker::{ResolvedTemplate, required_capabilities};

/// The result of validating a registered template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TemplateValidationResponse {
    /// True if there are no errors.
    pub valid: bool,
    /// The errors, one sentence each.
    pub errors: Vec<String>,
    /// The warnings, a sentence each.
    pub warnings: Vec<String>,
    /// The step types that the template uses, sorted.
    pub required_capabilities: Vec<String>,
    /// The callables of the steps in this environment, each once, in the order of steps.
    pub step_handlers: Vec<String>,
}

/// Checks a registered template with the environment's overrides applied.
pub(super) fn validate_resolved(resolved: &ResolvedTemplate) -> TemplateValidationResponse {
    let json: Value = match serde_json::from_str(resolved.document().get()) {
        Ok(json) => json,
        Err(error) => return validate_unreadable(&error),
    };
    // An invalid template that is registered has a typed view, so its steps can be listed.
    let template = &resolved.metadata().template;
    answer(TemplateDocument::from_json(json), Some(template))
}

/// Checks a template in YAML or JSON that is not registered.
pub(super) fn validate_document(text: &[u8], limits: TemplateLimits) -> TemplateValidationResponse {
    answer(TemplateDocument::from_yaml(text, limits), None)
}

/// Returns the answer for a registered document that has no typed view.
pub(super) fn validate_unreadable(error: &serde_json::Error) -> TemplateValidationResponse {
    let errors = vec![format!("the registered document cannot be read: {error}")];
    described(None, errors, Vec::new())
}

fn answer(
    checked: Result<TemplateDocument, TemplateError>,
    registered: Option<&TaskTemplate>,
) -> TemplateValidationResponse {
    match checked {
        Ok(document) => {
            let warnings = sentences(document.warnings());
            described(Some(document.template()), Vec::new(), warnings)
        }
        Err(error) => {
            let errors = match error.problems() {
                [] => vec![causes(&error as &(dyn Error + 'static))],
                problems => sentences(problems),
            };
            described(registered, errors, sentences(error.warnings()))
        }
    }
}

fn described(
    template: Option<&TaskTemplate>,
    errors: Vec<String>,
    warnings: Vec<String>,
) -> TemplateValidationResponse {
    TemplateValidationResponse {
        valid: errors.is_empty(),
        errors,
        warnings,
        required_capabilities: template.map(required_capabilities).unwrap_or_default(),
        step_handlers: template.map(step_handlers).unwrap_or_default(),
    }
}

fn sentences(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// Returns each callable once, in the order of steps.
fn step_handlers(template: &TaskTemplate) -> Vec<String> {
    let mut seen = HashSet::new();
    let callables = template.steps.iter().map(|step| &step.handler.callable);
    callables
        .filter(|callable| seen.insert(*callable))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{TemplateLimits, step_handlers, validate_document};

    #[test]
    fn handlers_are_listed_once_each_in_the_order_of_steps() {
        let step =
            |name: &str, callable: &str| json!({"name": name, "handler": {"callable": callable}});
        let template = serde_json::from_value(json!({
            "name": "task",
            "steps": [step("a", "Second"), step("b", "First"), step("c", "Second")],
        }))
        .unwrap();
        assert_eq!(step_handlers(&template), ["Second", "First"]);
    }

    #[test]
    fn a_document_in_yaml_or_json_is_checked_with_errors_and_warnings() {
        let yaml = b"name: n\nnamespace_name: s\nversion: '1'\nowner: me\ninput_schema: {required: id}\nsteps: []\n";
        let json =
            br#"{"name": "n", "namespace_name": "s", "version": "1", "steps": [], "x-a": 1}"#;
        let refused = validate_document(yaml, TemplateLimits::default());
        assert!(!refused.valid);
        assert!(
            refused.errors[0].starts_with("line 5, column 16: input_schema.required:"),
            "{refused:?}"
        );
        assert!(
            refused.warnings[0].starts_with("line 4, column 1: owner:"),
            "{refused:?}"
        );
        let accepted = validate_document(json, TemplateLimits::default());
        assert!(accepted.valid, "{accepted:?}");
        assert_eq!(accepted.warnings.len(), 1, "{accepted:?}");
        let limits = TemplateLimits::with_max_bytes(json.len() as u64 - 1);
        let large = validate_document(json, limits);
        assert!(large.errors[0].contains("max_file_bytes"), "{large:?}");
    }
}
