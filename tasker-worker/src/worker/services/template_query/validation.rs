//! Whether this worker can run a template that is registered.
//!
//! Templates are checked when they are registered by this workspace. What is registered may still
//! be wrong: it was written by hand or by another program, or an environment's overrides broke it.

use serde_json::Value;
use tasker_shared::models::core::task_template::{TaskTemplate, TemplateDocument};

use super::types::TemplateValidationResponse;
use crate::worker::{ResolvedTemplate, required_capabilities};

/// Checks a template as this worker's environment sees it.
pub(super) fn validate_resolved(resolved: &ResolvedTemplate) -> TemplateValidationResponse {
    let json: Value = match serde_json::from_str(resolved.document().get()) {
        Ok(json) => json,
        Err(error) => return invalid(vec![error.to_string()]),
    };
    todo!()
}

/// What is said of a registered body that is no template at all.
pub(super) fn validate_unreadable(error: &serde_json::Error) -> TemplateValidationResponse {
    invalid(vec![format!("the registered document cannot be read: {error}")])
}

fn invalid(errors: Vec<String>) -> TemplateValidationResponse {
    TemplateValidationResponse {
        valid: false,
        errors,
        required_capabilities: Vec::new(),
        step_handlers: Vec::new(),
    }
}

/// Each callable once, in the order of steps.
fn step_handlers(template: &TaskTemplate) -> Vec<String> {
    let mut handlers: Vec<String> = Vec::new();
    for step in &template.steps {
        if !handlers.contains(&step.handler.callable) {
            handlers.push(step.handler.callable.clone());
        }
    }
    handlers
}
