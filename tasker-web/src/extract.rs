//! Extractors that reject a request with a [`Problem`].

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{FieldError, Problem};
use crate::problem_kinds as kinds;
use crate::unknown_field::UnknownField;

/// A JSON body of a request or a response.
///
/// As an extractor it reads at most as many bytes as the layers allow (413), requires a JSON content
/// type without compression (415), and names the position of malformed JSON (400), of an unknown
/// field (400) or of a wrong value (422). Nesting is limited to 128 levels, so a hostile body cannot
/// exhaust the stack.
#[derive(Debug, Clone, Copy)]
pub struct ApiJson<T>(pub T);

/// A body of any content type, without compression (415), of at most as many bytes as the layers allow
/// (413).
#[derive(Debug, Clone)]
pub struct ApiBytes(pub Bytes);

/// The parameters of a path. Rejects a bad one with 400.
#[derive(Debug, Clone, Copy)]
pub struct ApiPath<T>(pub T);

/// The parameters of a query string. Rejects a bad one with 400.
#[derive(Debug, Clone, Copy)]
pub struct ApiQuery<T>(pub T);

impl<S, T> FromRequest<S> for ApiJson<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !has_json_content_type(request.headers()) {
            return Err(Problem::new(
                &kinds::UNSUPPORTED_MEDIA_TYPE,
                "Send the header `content-type: application/json`.",
            ));
        }
        let body = plain_body(request, state).await?;
        parse_json(&body).map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for ApiBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        plain_body(request, state).await.map(Self)
    }
}

impl<T: Serialize> IntoResponse for ApiJson<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<S, T> FromRequestParts<S> for ApiPath<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(value) = Path::from_request_parts(parts, state)
            .await
            .map_err(invalid_path)?;
        Ok(Self(value))
    }
}

impl<S, T> FromRequestParts<S> for ApiQuery<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(value) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| invalid_query(&rejection))?;
        Ok(Self(value))
    }
}

fn invalid_query(rejection: &QueryRejection) -> Problem {
    let text = rejection.body_text();
    // The message follows the library's own words and, for some errors, the parameter.
    let message = text.strip_prefix("Failed to deserialize query string: ");
    let message = message.unwrap_or(&text);
    let of_parameter = || UnknownField::in_message(message.split_once(": ")?.1);
    match UnknownField::in_message(message).or_else(of_parameter) {
        Some(unknown) => {
            let error = unknown.to_string();
            let detail = format!("The query string is not valid: {error}.");
            Problem::new(&kinds::INVALID_QUERY_PARAMETER, detail)
                .with_errors(vec![FieldError::new(unknown.name, error)])
        }
        None => Problem::new(&kinds::INVALID_QUERY_PARAMETER, text),
    }
}

/// Returns true for `application/json` and every `application/*+json`, with or without parameters.
fn has_json_content_type(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase())
        .is_some_and(|essence| {
            essence == "application/json"
                || (essence.starts_with("application/") && essence.ends_with("+json"))
        })
}

async fn plain_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let is_plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    if !encodings.all(is_plain) {
        return Err(Problem::new(
            &kinds::UNSUPPORTED_MEDIA_TYPE,
            "Send the body without `content-encoding`, because this service does not decompress.",
        ));
    }
    Bytes::from_request(request, state)
        .await
        .map_err(unreadable_body)
}

fn unreadable_body(rejection: BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Problem::new(
                &kinds::BODY_TOO_LARGE,
                "The body is larger than this service accepts. Send less, or raise \
                 web.max_body_bytes.",
            )
        }
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(&kinds::BODY_TOO_LARGE, other.body_text())
        }
        _ => Problem::new(
            &kinds::BODY_UNREADABLE,
            "The connection closed before the whole body arrived.",
        ),
    }
}

/// Reads a JSON body, as [`ApiJson`] does.
///
/// # Errors
/// Names the position of malformed JSON (400), of an unknown field (400) or of a wrong value (422).
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        malformed(error.inner(), pointer)
    })?;
    reader
        .end()
        .map_err(|error| malformed(&error, String::new()))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error, pointer: String) -> Problem {
    let detail = format!("The body is not valid: {error}.");
    if let Some(unknown) = UnknownField::in_message(&error.to_string()) {
        // The key itself, so that a client can mark it.
        let pointer = match pointer.rsplit('/').next() {
            Some(last) if unescape(last) == unknown.name => pointer,
            _ => format!("{pointer}/{}", escape(&unknown.name)),
        };
        let error = unknown.to_string();
        Problem::new(
            &kinds::UNKNOWN_FIELD,
            format!("The body is not valid: {error}."),
        )
        .with_errors(vec![FieldError::new(pointer, error)])
    } else if error.is_data() {
        Problem::new(&kinds::INVALID_BODY, detail)
            .with_errors(vec![FieldError::new(pointer, error.to_string())])
    } else {
        Problem::new(&kinds::INVALID_JSON, detail)
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;

    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&escape(key));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

fn invalid_path(rejection: PathRejection) -> Problem {
    let PathRejection::FailedToDeserializePathParams(failure) = rejection else {
        return Problem::internal(rejection);
    };
    match failure.into_kind() {
        ErrorKind::ParseErrorAtKey {
            key, expected_type, ..
        } => bad_parameter(key, format!("must be {expected_type}")),
        ErrorKind::DeserializeError { key, message, .. } => bad_parameter(key, message),
        ErrorKind::InvalidUtf8InPathParam { key } => {
            bad_parameter(key, String::from("must be UTF-8"))
        }
        other @ (ErrorKind::ParseErrorAtIndex { .. }
        | ErrorKind::ParseError { .. }
        | ErrorKind::Message(_)) => Problem::new(&kinds::INVALID_PATH_PARAMETER, other.to_string()),
        // The route and the handler disagree about the parameters, which is a bug of ours.
        other => Problem::internal(other.to_string()),
    }
}

fn bad_parameter(key: String, detail: String) -> Problem {
    Problem::new(
        &kinds::INVALID_PATH_PARAMETER,
        format!("`{key}` in the path is not valid: {detail}."),
    )
    .with_errors(vec![FieldError::new(key, detail)])
}
