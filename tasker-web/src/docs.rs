//! Serves `/api-docs/openapi.json` and the page that displays it, and documents the shared routes.

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use http::{HeaderValue, header};
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, PathItem, Ref, RefOr, Response as Answer, ResponseBuilder};
use utoipa_swagger_ui::SwaggerUi;

/// Allows the page's own scripts and styles, and requests to this service only.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     frame-ancestors 'none'",
);

/// Documents the routes that every service has.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(
        crate::health::health,
        crate::health::live,
        crate::health::ready,
        crate::health::detailed,
        crate::metrics_route::metrics,
        crate::config_route::config,
        document,
    ),
    components(schemas(crate::problem::ProblemBody)),
    tags((name = "operations", description = "Health, metrics and configuration"))
)]
struct SharedApi;

/// Returns the document `service` extended by the routes that every service has.
#[must_use]
pub fn with_shared_routes(service: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let mut document = service.merge_from(SharedApi::openapi());
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let has_body = operation.request_body.is_some();
            let problems = BODY_PROBLEMS.iter().filter(|_| has_body);
            for (status, name, _) in problems.chain(&SHARED_PROBLEMS) {
                let responses = &mut operation.responses.responses;
                responses
                    .entry((*status).to_owned())
                    .or_insert_with(|| RefOr::Ref(Ref::from_response_name(*name)));
            }
        }
    }
    let components = document.components.get_or_insert_default();
    for (_, name, description) in BODY_PROBLEMS.into_iter().chain(SHARED_PROBLEMS) {
        components
            .responses
            .insert(name.to_owned(), RefOr::T(problem(description)));
    }
    document
}

/// Problems that every route with a request body can return, because its extractor creates them.
const BODY_PROBLEMS: [(&str, &str, &str); 4] = [
    (
        "400",
        "UnreadableBody",
        "`invalid_json`, `unknown_field` or `body_unreadable`, or `invalid_path_parameter` or \
         `invalid_query_parameter`",
    ),
    ("413", "BodyTooLarge", "`body_too_large`"),
    ("415", "UnsupportedMediaType", "`unsupported_media_type`"),
    (
        "422",
        "InvalidBody",
        "`invalid_body` or `validation_failed`",
    ),
];

/// Problems that every route can return, because the layers around the routes create them.
const SHARED_PROBLEMS: [(&str, &str, &str); 5] = [
    (
        "400",
        "InvalidParameter",
        "`invalid_path_parameter` or `invalid_query_parameter`",
    ),
    (
        "403",
        "Forbidden",
        "`host_not_allowed` or `cross_site_request`",
    ),
    (
        "500",
        "InternalError",
        "`internal_error`, `template_unreadable` or `template_directory_missing`",
    ),
    (
        "503",
        "Unavailable",
        "`starting`, `shutting_down`, `busy`, `database_unavailable`, `database_read_only`, `database_not_migrated`, `template_directory_stale` or `template_changing`",
    ),
    ("504", "Timeout", "`request_timeout`"),
];

fn problem(description: &str) -> Answer {
    let body = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", body)
        .build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

/// Returns the routes `GET /api-docs/openapi.json` and `/api-docs/ui/`.
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

/// Get this OpenAPI document
#[utoipa::path(
    get,
    path = "/api-docs/openapi.json",
    tag = "operations",
    responses((status = 200, description = "The OpenAPI document", body = Object))
)]
#[expect(
    dead_code,
    reason = "describes the route that the page's router serves"
)]
fn document() {}
