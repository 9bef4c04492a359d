//! The OpenAPI document of the service's own routes.

use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi};

use super::handlers::{analytics, cache, dlq, execution, history, retirement, tasks, templates};

#[derive(Debug, OpenApi)]
#[openapi(
    info(description = "Creates tasks from registered templates, and reports their state."),
    modifiers(&ClosedActions),
    paths(
        tasks::create_task,
        tasks::list_tasks,
        tasks::get_task,
        tasks::list_workflow_steps,
        execution::cancel_task,
        execution::get_workflow_step,
        execution::patch_workflow_step,
        execution::get_step_audit,
        execution::list_workers,
        execution::get_queue,
        dlq::list_dlq,
        dlq::get_dlq_entry,
        dlq::patch_dlq_entry,
        analytics::get_performance,
        analytics::get_bottlenecks,
        templates::list_namespaces,
        templates::list_handlers,
        templates::get_handler,
        retirement::retire_template,
        retirement::get_retirement,
        retirement::restore_template,
        history::get_history,
        cache::list_cache_entries,
    ),
    tags(
        (name = "tasks", description = "Tasks and their steps"),
        (name = "execution", description = "Workers, and the steps that wait for them"),
        (name = "dlq", description = "Tasks that failed, and how they were dealt with"),
        (name = "analytics", description = "Speed and failures of tasks"),
        (name = "handlers", description = "The templates that tasks can be made from"),
        (name = "cache", description = "Templates in the caches of this process"),
    )
)]
struct OrchestrationApi;

/// Says that the variants of an action take no other fields, which the derive says of structs alone.
struct ClosedActions;

impl Modify for ClosedActions {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let schemas = document
            .components
            .as_mut()
            .map(|components| &mut components.schemas);
        let action = schemas.and_then(|schemas| schemas.get_mut("StepAction"));
        let Some(RefOr::T(Schema::OneOf(action))) = action else {
            return;
        };
        for variant in &mut action.items {
            if let RefOr::T(Schema::Object(variant)) = variant {
                let none = AdditionalProperties::FreeForm(false);
                variant.additional_properties = Some(Box::new(none));
            }
        }
    }
}

/// Returns the document of the service's own routes, without the shared ones.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    OrchestrationApi::openapi()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tasker_test_support::assert_generated;
    use tasker_web::with_shared_routes;

    #[test]
    fn the_generated_document_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi/orchestration.json");
        let document = with_shared_routes(super::document());
        assert_generated(&path, &(document.to_pretty_json().unwrap() + "\n"));
    }
}
