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
    let checked = serde_json::from_str::<Value>(resolved.document().get());
    todo!()
}
