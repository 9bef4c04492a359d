//! Errors in the format of RFC 9457, `application/problem+json`.
//!
//! The source of a [`Problem`] never leaves the process: it is logged with the request's id when the
//! response is created, and is not part of the response.

use std::borrow::Cow;
use std::error::Error;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use tasker_shared::error_chain::Chain;
use utoipa::ToSchema;

use crate::problem_kinds::{INTERNAL_ERROR, ProblemKind, STARTING};
use crate::request_id::RequestId;

/// The result of a handler.
pub type ApiResult<T> = Result<T, Problem>;

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Seconds that a client should wait before it retries after a 503.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// One error in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer into the request's body, or the name of a parameter. The empty pointer names
    /// the whole body.
    pub pointer: String,
    /// The error, and the expected value.
    pub detail: String,
}

impl FieldError {
    /// Creates an error at `pointer`.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// The body of a problem, RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// A URI that names the kind of problem: `urn:tasker:problem:` and the code.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The kind of problem, for humans.
    pub title: &'static str,
    /// The status of the response.
    pub status: u16,
    /// Describes this occurrence, and what to do about it.
    pub detail: Cow<'static, str>,
    /// The kind of problem, for programs.
    pub code: &'static str,
    /// The id of the request in the service's log, and in the header `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The subject of the problem, such as the path of a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// All errors in the request, if there is more than `detail` says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

/// An error for a client.
#[derive(Debug)]
pub struct Problem {
    kind: &'static ProblemKind,
    content: Box<Content>,
}

/// Boxed so that a `Result` with a problem stays small.
#[derive(Debug)]
struct Content {
    detail: Cow<'static, str>,
    instance: Option<String>,
    errors: Vec<FieldError>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    /// Creates a problem of `kind`. `detail` is sent to the client, so it must contain nothing
    /// internal.
    #[must_use]
    pub fn new(kind: &'static ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            content: Box::new(Content {
                detail: detail.into(),
                instance: None,
                errors: Vec::new(),
                source: None,
            }),
        }
    }

    /// Creates a 500 for a bug of this service. `source` is logged only.
    #[must_use]
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(
            &INTERNAL_ERROR,
            "The service failed to answer the request. Report the request id to its operators.",
        )
        .with_source(source)
    }

    /// Adds a list of errors.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.content.errors = errors;
        self
    }

    /// Adds the subject of the problem, a path of this API.
    #[must_use]
    pub fn with_instance(mut self, instance: impl Into<String>) -> Self {
        self.content.instance = Some(instance.into());
        self
    }

    /// Adds the cause, which is logged only.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.content.source = Some(source.into());
        self
    }

    /// Returns the kind of problem.
    #[must_use]
    pub fn kind(&self) -> &'static ProblemKind {
        self.kind
    }

    /// Logs the problem with its source, and returns the body.
    fn into_body(self) -> ProblemBody {
        let request_id = RequestId::current().map(|id| id.as_str().to_owned());
        let Content {
            detail,
            instance,
            errors,
            source,
        } = *self.content;
        // Every problem is logged, so that the id that a client reports finds a line. Details are
        // not, because they can quote the request.
        let error = source.map(|source| causes(source.as_ref()));
        let (code, status) = (self.kind.code, self.kind.status.as_u16());
        match status {
            500 => tracing::error!(code, status, request_id, error, "request failed"),
            // Probes of a start that takes its time are no fault.
            501.. if code == STARTING.code => {
                tracing::debug!(code, status, request_id, error, "request not served");
            }
            501.. => tracing::warn!(code, status, request_id, error, "request not served"),
            _ => tracing::info!(code, status, request_id, error, "request refused"),
        }
        ProblemBody {
            type_uri: format!("urn:tasker:problem:{}", self.kind.code),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail,
            code: self.kind.code,
            request_id,
            instance,
            errors,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status;
        let body = serde_json::to_vec(&self.into_body()).expect("a problem's keys are strings");
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if status == http::StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// Returns an error and its causes in one line.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    Chain(error).to_string()
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;

    use super::{FieldError, Problem};
    use crate::problem_kinds;
    use tasker_shared::database::DatabaseError;
    use tasker_shared::registry::RegistryError;

    async fn body(problem: Problem) -> serde_json::Value {
        let response = problem.into_response();
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let bytes = response
            .into_body()
            .collect()
            .await
            .expect("it is whole")
            .to_bytes();
        serde_json::from_slice(&bytes).expect("it is JSON")
    }

    #[tokio::test]
    async fn a_problem_has_the_members_of_rfc_9457_and_a_code() {
        let problem = Problem::new(&problem_kinds::VALIDATION_FAILED, "2 fields are not valid.")
            .with_instance("/v1/tasks")
            .with_errors(vec![FieldError::new("/name", "must not be empty")]);
        insta::assert_json_snapshot!(body(problem).await);
    }

    #[tokio::test]
    async fn internal_causes_are_not_in_the_body() {
        let secret = std::io::Error::other("password=hunter2");
        let shown = body(Problem::internal(secret)).await.to_string();
        assert!(!shown.contains("hunter2"), "{shown}");

        let lost = sqlx::Error::Protocol("password=hunter2".into());
        let lost = RegistryError::from(DatabaseError::from(lost));
        let shown = body(lost.into()).await;
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        insta::assert_json_snapshot!(shown);
    }

    #[tokio::test]
    async fn an_unknown_template_is_named() {
        let unknown = RegistryError::NotFound {
            namespace: "shop".into(),
            name: "order".into(),
            version: "1.0.0".into(),
        };
        insta::assert_json_snapshot!(body(unknown.into()).await);
    }

    #[test]
    fn a_lost_database_asks_the_client_to_come_back() {
        let response = Problem::from(RegistryError::Stale { source: None }).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
    }
}
