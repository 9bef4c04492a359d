//! The id of a request, from the caller or generated.
//!
//! It appears in a header of the response, in the body of a problem, and in every log line of the
//! request.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that carries the id in requests and responses.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum length of a caller's id, in bytes.
const MAX_LENGTH: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    /// Returns the caller's id if it is safe to log: at most 128 letters, digits and `-_.:`.
    /// Otherwise returns a new UUID v7.
    #[must_use]
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        headers
            .get(X_REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| is_safe(id))
            .map_or_else(Self::generate, |id| Self(id.into()))
    }

    fn generate() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// Returns the id of the request that the current task serves, if any.
    #[must_use]
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `future` as part of this request.
    pub(crate) async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Returns the id as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id as a header value.
    pub(crate) fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("an id has only visible ASCII characters")
    }
}

fn is_safe(id: &str) -> bool {
    (1..=MAX_LENGTH).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{RequestId, X_REQUEST_ID};

    fn from(value: &str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(
            X_REQUEST_ID,
            HeaderValue::from_str(value).expect("it is a header"),
        );
        RequestId::from_headers(&headers)
    }

    #[test]
    fn a_sane_id_of_the_caller_is_kept_and_any_other_replaced() {
        assert_eq!(from("trace-1.a:B_c").as_str(), "trace-1.a:B_c");
        for hostile in ["", "a b", "<script>", "\"", &"x".repeat(129)] {
            assert_eq!(from(hostile).as_str().len(), 36, "{hostile}");
        }
    }
}
