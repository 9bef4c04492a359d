//! Whether this worker can run a template that is registered.
//!
//! Templates are checked before they are registered, but not every hand that writes to the
//! database checks, an environment's overrides can break what was right, and an `input_schema`
//! that cannot be compiled is only found out where it is compiled.

use std::error::Error;

use serde_json::Value;
use tasker_shared::models::core::task_template::{TaskTemplate, TemplateDocument, TemplateError};
use tasker_web::causes;

use super::types::TemplateValidationResponse;
use crate::worker::{ResolvedTemplate, required_capabilities};

/// Checks a template as this worker's environment sees it.
pub(super) fn validate_resolved(resolved: &ResolvedTemplate) -> TemplateValidationResponse {
    let json: Value = match serde_json::from_str(resolved.document().get()) {
        Ok(json) => json,
        Err(error) => return validate_unreadable(&error),
    };
    match TemplateDocument::from_json(json) {
        Ok(document) => {
            let template = document.template();
            let errors = input_schema_error(template).into_iter().collect();
            checked(template, errors)
        }
        // What is registered could be read, if not approved of: its steps can still be told.
        Err(error) => checked(&resolved.metadata().template, sentences(&error)),
    }
}

/// What is said of a registered document that is no template at all.
pub(super) fn validate_unreadable(error: &serde_json::Error) -> TemplateValidationResponse {
    TemplateValidationResponse {
        valid: false,
        errors: vec![format!("the registered document cannot be read: {error}")],
        required_capabilities: Vec::new(),
        step_handlers: Vec::new(),
    }
}

fn checked(template: &TaskTemplate, errors: Vec<String>) -> TemplateValidationResponse {
    TemplateValidationResponse {
        valid: errors.is_empty(),
        errors,
        required_capabilities: required_capabilities(template),
        step_handlers: step_handlers(template),
    }
}

fn sentences(error: &TemplateError) -> Vec<String> {
    if error.problems().is_empty() {
        return vec![causes(error as &(dyn Error + 'static))];
    }
    error.problems().iter().map(ToString::to_string).collect()
}

fn input_schema_error(template: &TaskTemplate) -> Option<String> {
    let schema = match template.input_schema.as_ref()?.to_value() {
        Ok(schema) => schema,
        Err(error) => return Some(format!("input_schema: {error}")),
    };
    jsonschema::validator_for(&schema)
        .err()
        .map(|error| format!("input_schema{}: {error}", error.instance_path()))
}

/// Each callable once, in the order of steps.
fn step_handlers(template: &TaskTemplate) -> Vec<String> {
    let mut handlers: Vec<String> = Vec::new();
    for step in &template.steps {
        let callable = step.handler.callable.as_str();
        if !handlers.iter().any(|known| known == callable) {
            handlers.push(callable.to_owned());
        }
    }
    handlers
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tasker_shared::models::core::task_template::TaskTemplate;

    use super::{input_schema_error, step_handlers};

    fn template(steps: &Value, input_schema: &Value) -> TaskTemplate {
        serde_json::from_value(json!({
            "name": "task",
            "namespace_name": "namespace",
            "version": "1.0.0",
            "steps": steps,
            "input_schema": input_schema,
        }))
        .unwrap()
    }

    #[test]
    fn handlers_are_told_once_each_in_the_order_of_steps() {
        let step =
            |name: &str, callable: &str| json!({"name": name, "handler": {"callable": callable}});
        let steps = json!([step("a", "Second"), step("b", "First"), step("c", "Second")]);
        assert_eq!(
            step_handlers(&template(&steps, &Value::Null)),
            ["Second", "First"]
        );
    }

    #[test]
    fn an_input_schema_that_cannot_be_compiled_is_an_error_that_says_where() {
        let broken = json!({"type": "object", "properties": {"id": {"type": "nonsense"}}});
        let error = input_schema_error(&template(&json!([]), &broken)).unwrap();
        assert!(error.contains("/properties/id/type"), "{error}");

        let right = json!({"type": "object", "properties": {"id": {"type": "integer"}}});
        assert_eq!(input_schema_error(&template(&json!([]), &right)), None);
        assert_eq!(
            input_schema_error(&template(&json!([]), &Value::Null)),
            None
        );
    }
}
