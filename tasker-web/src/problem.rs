//! Errors as clients see them: RFC 9457 `application/problem+json`.
//!
//! A [`Problem`] is what leaves the process. What caused it stays inside: a source is logged when
//! the response is made, with the request's id, and is never a part of the body.

use std::borrow::Cow;
use std::error::Error;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem_kinds::{INTERNAL_ERROR, ProblemKind};
use crate::request_id::RequestId;

/// What a handler answers.
pub type ApiResult<T> = Result<T, Problem>;

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// How long a client should wait before it asks again after a 503, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer into the request's body, or the name of a parameter. The empty pointer is
    /// the body itself.
    pub pointer: String,
    /// What is wrong there, and what would be right.
    pub detail: String,
}

impl FieldError {
    /// `detail` about the place `pointer`.
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
    /// The kind of problem, for people.
    pub title: &'static str,
    /// The status of the response.
    pub status: u16,
    /// What happened this time, and what to do.
    pub detail: Cow<'static, str>,
    /// The kind of problem, for programs.
    pub code: &'static str,
    /// Finds the request in the service's log. Also in the header `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What the problem is about, such as the path of a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Everything that is wrong with the request, if more than `detail` can say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

/// An error on its way to a client.
#[derive(Debug)]
pub struct Problem {
    kind: &'static ProblemKind,
    content: Box<Content>,
}

/// Behind a pointer, so that a `Result` with a problem stays small.
#[derive(Debug)]
struct Content {
    detail: Cow<'static, str>,
    instance: Option<String>,
    errors: Vec<FieldError>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    /// A problem of `kind`. `detail` goes to the client: it must not hold anything internal.
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

    /// A mistake of this service: 500, with `source` in the log only.
    #[must_use]
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(
            &INTERNAL_ERROR,
            "The request could not be answered. Give the request id to whoever runs this service.",
        )
        .with_source(source)
    }

    /// The same problem with a list of what is wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.content.errors = errors;
        self
    }

    /// The same problem about `instance`, a path of this API.
    #[must_use]
    pub fn with_instance(mut self, instance: impl Into<String>) -> Self {
        self.content.instance = Some(instance.into());
        self
    }

    /// The same problem with its cause, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.content.source = Some(source.into());
        self
    }

    /// The kind of problem.
    #[must_use]
    pub fn kind(&self) -> &'static ProblemKind {
        self.kind
    }

    /// Logs what stays inside, once, and makes the body.
    fn into_body(self) -> ProblemBody {
        let request_id = RequestId::current().map(|id| id.as_str().to_owned());
        let Content {
            detail,
            instance,
            errors,
            source,
        } = *self.content;
        if let Some(source) = source {
            let request_id = request_id.as_deref();
            let causes = causes(source.as_ref());
            if self.kind.status == http::StatusCode::INTERNAL_SERVER_ERROR {
                tracing::error!(code = self.kind.code, request_id, error = %causes, "request failed");
            } else {
                // Not a warning: the component that is lost warns, once.
                tracing::info!(code = self.kind.code, request_id, error = %causes, "request refused");
            }
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

/// An error and what caused it, in one line.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Some libraries print their source as a part of themselves.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
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
    async fn what_is_internal_is_not_in_the_body() {
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
        let response = Problem::from(RegistryError::Stale).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
    }
}
