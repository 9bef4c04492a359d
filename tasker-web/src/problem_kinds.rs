//! Every kind of problem that the services answer with: code, status and title, in one place.
//!
//! Codes are a part of the API: clients and alerts may rely on them, so they are added to and
//! never renamed.

use http::StatusCode;

/// One kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemKind {
    /// The stable, `snake_case` name for programs.
    pub code: &'static str,
    /// The status of the response.
    pub status: StatusCode,
    /// The name for people, the same for each occurrence.
    pub title: &'static str,
}

macro_rules! problem_kinds {
    ($($constant:ident: $status:ident, $code:literal, $title:literal;)+) => {
        $(
            #[doc = $title]
            pub const $constant: ProblemKind =
                ProblemKind { code: $code, status: StatusCode::$status, title: $title };
        )+

        /// Every kind, in the order of this file.
        pub const ALL: &[&ProblemKind] = &[$(&$constant),+];
    };
}

problem_kinds! {
    INVALID_JSON: BAD_REQUEST, "invalid_json", "The request body is not valid JSON";
    INVALID_BODY: UNPROCESSABLE_ENTITY, "invalid_body", "The request body does not have the expected shape";
    BODY_UNREADABLE: BAD_REQUEST, "body_unreadable", "The request body could not be read";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE, "body_too_large", "The request body is too large";
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The request body must be JSON";
    INVALID_PATH_PARAMETER: BAD_REQUEST, "invalid_path_parameter", "A part of the path is not valid";
    INVALID_QUERY_PARAMETER: BAD_REQUEST, "invalid_query_parameter", "The query string is not valid";
    ROUTE_NOT_FOUND: NOT_FOUND, "route_not_found", "There is no such route";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED, "method_not_allowed", "The route does not know this method";
    REQUEST_TIMEOUT: GATEWAY_TIMEOUT, "request_timeout", "The request took too long";
    INTERNAL_ERROR: INTERNAL_SERVER_ERROR, "internal_error", "The service made a mistake";
    DATABASE_UNAVAILABLE: SERVICE_UNAVAILABLE, "database_unavailable", "PostgreSQL does not answer";
    STARTING: SERVICE_UNAVAILABLE, "starting", "The service has not started yet";
    DRAINING: SERVICE_UNAVAILABLE, "draining", "The service is stopping";
    SHUTTING_DOWN: SERVICE_UNAVAILABLE, "shutting_down", "The service has stopped";
    TEMPLATE_NOT_FOUND: NOT_FOUND, "template_not_found", "There is no such template";
    TEMPLATE_UNREADABLE: INTERNAL_SERVER_ERROR, "template_unreadable", "The registered template cannot be read";
    TEMPLATE_INVALID: UNPROCESSABLE_ENTITY, "template_invalid", "The template is not valid";
    TEMPLATE_CHANGING: SERVICE_UNAVAILABLE, "template_changing", "The template changes too fast";
    TEMPLATE_DIRECTORY_STALE: SERVICE_UNAVAILABLE, "template_directory_stale", "The template directory is older than its bound";
    TEMPLATE_DIRECTORY_MISSING: INTERNAL_SERVER_ERROR, "template_directory_missing", "A folder of templates cannot be read";
    TEMPLATE_SCHEMA_INVALID: UNPROCESSABLE_ENTITY, "template_schema_invalid", "The template's input schema cannot be used";
    VALIDATION_FAILED: UNPROCESSABLE_ENTITY, "validation_failed", "The request is not valid";
    CONTEXT_INVALID: UNPROCESSABLE_ENTITY, "context_invalid", "The context does not satisfy the template's input schema";
    IDEMPOTENCY_KEY_REQUIRED: UNPROCESSABLE_ENTITY, "idempotency_key_required", "The template asks for an idempotency key";
    TEMPLATE_CHANGED: CONFLICT, "template_changed", "The template was replaced while the task was made";
    TASK_NOT_FOUND: NOT_FOUND, "task_not_found", "There is no such task";
    NAMESPACE_NOT_FOUND: NOT_FOUND, "namespace_not_found", "There is no such namespace";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn codes_are_unique_and_snake_case() {
        let mut codes: Vec<_> = ALL.iter().map(|kind| kind.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
        for code in codes {
            assert!(
                code.bytes().all(|b| b == b'_' || b.is_ascii_lowercase()),
                "{code}"
            );
        }
    }
}
