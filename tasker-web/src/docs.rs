//! `/api-docs/openapi.json` and a page that shows it, and the documents of the shared routes.

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use http::{HeaderValue, header};
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

/// The page brings its own scripts and styles and asks only this service.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     frame-ancestors 'none'",
);

/// The routes that every service has.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(
        crate::health::health,
        crate::health::live,
        crate::health::ready,
        crate::health::detailed,
        crate::metrics_route::metrics,
        crate::app::config,
        document,
    ),
    components(schemas(crate::problem::ProblemBody)),
    tags((name = "operations", description = "For those who run the service"))
)]
struct SharedApi;

/// `service` with the routes that every service has.
#[must_use]
pub fn with_shared_routes(service: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    service.merge_from(SharedApi::openapi())
}

/// `GET /api-docs/openapi.json`, and the page at `/api-docs/ui/`.
pub(crate) fn routes(document: utoipa::openapi::OpenApi) -> Router {
    let page: Router = SwaggerUi::new("/api-docs/ui")
        .url("/api-docs/openapi.json", document)
        .into();
    page.layer(map_response(async |mut response: Response| {
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        response
    }))
}

/// This document
#[utoipa::path(
    get,
    path = "/api-docs/openapi.json",
    tag = "operations",
    responses((status = 200, description = "An OpenAPI document", body = Object))
)]
#[expect(
    dead_code,
    reason = "describes the route that the page's router serves"
)]
fn document() {}
