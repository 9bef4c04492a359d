//! The OpenAPI document of the worker's own routes.

use utoipa::OpenApi;

use super::handlers::templates;

#[derive(Debug, OpenApi)]
#[openapi(
    info(description = "Task templates with the overrides of one worker's environment, and its caches."),
    paths(
        templates::list_templates,
        templates::get_template,
        templates::validate_template,
        templates::refresh_template,
        templates::clear_cache,
        templates::maintain_cache,
        templates::get_cache_stats,
        templates::get_distributed_cache_status,
        templates::list_cache_entries,
    ),
    tags(
        (name = "templates", description = "Registered templates"),
        (name = "cache", description = "The worker's cache and the distributed cache"),
    )
)]
struct WorkerApi;

/// Returns the document of the worker's own routes, without the shared ones.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    WorkerApi::openapi()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tasker_test_support::assert_generated;
    use tasker_web::with_shared_routes;

    #[test]
    fn the_generated_document_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi/worker.json");
        let document = with_shared_routes(super::document());
        assert_generated(&path, &(document.to_pretty_json().unwrap() + "\n"));
    }
}
