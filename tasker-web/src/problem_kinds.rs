//! Every kind of problem that the services return: code, status and title.
//!
//! Codes are part of the API. They are never renamed, because clients and alerts rely on them.

use http::StatusCode;

/// One kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemKind {
    /// The stable `snake_case` name, for programs.
    pub code: &'static str,
    /// The status of the response.
    pub status: StatusCode,
    /// The name for humans, the same for each occurrence.
    pub title: &'static str,
}

macro_rules! problem_kinds {
    ($($constant:ident: $status:ident, $code:literal, $title:literal;)+) => {
        $(
            #[doc = $title]
            pub const $constant: ProblemKind =
                ProblemKind { code: $code, status: StatusCode::$status, title: $title };
        )+

        /// All kinds, in the order of this file.
        pub const ALL: &[&ProblemKind] = &[$(&$constant),+];
    };
}

problem_kinds! {
    INVALID_JSON: BAD_REQUEST, "invalid_json", "The request body is not valid JSON";
    INVALID_BODY: UNPROCESSABLE_ENTITY, "invalid_body", "The request body does not have the expected shape";
    BODY_UNREADABLE: BAD_REQUEST, "body_unreadable", "The request body could not be read";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE, "body_too_large", "The request body is too large";
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The media type or encoding of the request body is not supported";
    INVALID_PATH_PARAMETER: BAD_REQUEST, "invalid_path_parameter", "A path parameter is not valid";
    INVALID_QUERY_PARAMETER: BAD_REQUEST, "invalid_query_parameter", "The query string is not valid";
    UNKNOWN_FIELD: BAD_REQUEST, "unknown_field", "The request body has an unknown field";
    HOST_NOT_ALLOWED: FORBIDDEN, "host_not_allowed", "The host of the request is not allowed";
    CROSS_SITE_REQUEST: FORBIDDEN, "cross_site_request", "The request comes from another site";
    ROUTE_NOT_FOUND: NOT_FOUND, "route_not_found", "Route not found";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED, "method_not_allowed", "The route does not support this method";
    REQUEST_TIMEOUT: GATEWAY_TIMEOUT, "request_timeout", "The request took too long";
    INTERNAL_ERROR: INTERNAL_SERVER_ERROR, "internal_error", "Internal error";
    DATABASE_UNAVAILABLE: SERVICE_UNAVAILABLE, "database_unavailable", "PostgreSQL does not answer";
    DATABASE_READ_ONLY: SERVICE_UNAVAILABLE, "database_read_only", "PostgreSQL takes no writes";
    DATABASE_NOT_MIGRATED: SERVICE_UNAVAILABLE, "database_not_migrated", "The database is not migrated";
    STARTING: SERVICE_UNAVAILABLE, "starting", "The service has not started yet";
    DRAINING: SERVICE_UNAVAILABLE, "draining", "The service is stopping";
    SHUTTING_DOWN: SERVICE_UNAVAILABLE, "shutting_down", "The service has shut down";
    TEMPLATE_NOT_FOUND: NOT_FOUND, "template_not_found", "Template not found";
    TEMPLATE_NOT_RETIRED: NOT_FOUND, "template_not_retired", "The template is not retired";
    TEMPLATE_UNREADABLE: INTERNAL_SERVER_ERROR, "template_unreadable", "The registered template cannot be read";
    TEMPLATE_INVALID: UNPROCESSABLE_ENTITY, "template_invalid", "The template is not valid";
    TEMPLATE_CHANGING: SERVICE_UNAVAILABLE, "template_changing", "The template changes too fast";
    TEMPLATE_DIRECTORY_STALE: SERVICE_UNAVAILABLE, "template_directory_stale", "The template index is older than its bound";
    TEMPLATE_DIRECTORY_MISSING: INTERNAL_SERVER_ERROR, "template_directory_missing", "A template folder cannot be read";
    TEMPLATE_SCHEMA_INVALID: UNPROCESSABLE_ENTITY, "template_schema_invalid", "The template's input schema cannot be used";
    VALIDATION_FAILED: UNPROCESSABLE_ENTITY, "validation_failed", "The request is not valid";
    CONTEXT_INVALID: UNPROCESSABLE_ENTITY, "context_invalid", "The context does not satisfy the template's input schema";
    CONTEXT_TOO_COMPLEX: UNPROCESSABLE_ENTITY, "context_too_complex", "The context takes too long to check";
    BUSY: SERVICE_UNAVAILABLE, "busy", "The service has too much to do";
    IDEMPOTENCY_KEY_REQUIRED: UNPROCESSABLE_ENTITY, "idempotency_key_required", "The template requires an idempotency key";
    TEMPLATE_CHANGED: CONFLICT, "template_changed", "The template changed while the task was created";
    TASK_UNCERTAIN: SERVICE_UNAVAILABLE, "task_uncertain", "The task may have been created";
    TASK_NOT_FOUND: NOT_FOUND, "task_not_found", "Task not found";
    TASK_ENDED: CONFLICT, "task_ended", "The task has ended";
    STEP_NOT_FOUND: NOT_FOUND, "step_not_found", "Step not found";
    STEP_STATE_CONFLICT: CONFLICT, "step_state_conflict", "The step's state does not allow the action";
    DLQ_ENTRY_NOT_FOUND: NOT_FOUND, "dlq_entry_not_found", "Entry of a failed task not found";
    DLQ_ENTRY_RESOLVED: CONFLICT, "dlq_entry_resolved", "The entry of a failed task is resolved";
    NAMESPACE_NOT_FOUND: NOT_FOUND, "namespace_not_found", "Namespace not found";
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
