//! Handlers in other languages: a callable that is a URL is run by sending the step there.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sha2::Sha256;
use tasker_shared::config::tasker::HttpHandlersConfig;

use super::context::StepContext;
use super::dependencies::walk;
use super::outcome::{StepError, StepOutcome};

/// The number of characters that are kept of an answer that is an error.
const MAX_ERROR_TEXT: usize = 500;
/// The prefix of a key of Standard Webhooks.
const SECRET_PREFIX: &str = "whsec_";

/// Sends steps to the hosts that the configuration allows.
#[derive(Debug)]
pub(super) struct HttpHandlers {
    client: Client<HttpsConnector<HttpConnector>, Full<axum::body::Bytes>>,
    hosts: Vec<String>,
    timeout: Duration,
    key: Option<Vec<u8>>,
    max_bytes: usize,
}

impl HttpHandlers {
    /// Returns nothing if no host is allowed.
    pub(super) fn new(config: &HttpHandlersConfig, max_bytes: u64) -> Option<Self> {
        if config.allowed_hosts.is_empty() {
            return None;
        }
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        let secret = config.signing_secret.expose();
        let key = (!secret.is_empty()).then(|| {
            let encoded = secret.strip_prefix(SECRET_PREFIX).unwrap_or(secret);
            // A key that is no base64 is used as it is.
            BASE64_STANDARD
                .decode(encoded)
                .unwrap_or_else(|_| secret.as_bytes().to_vec())
        });
        Some(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            hosts: config
                .allowed_hosts
                .iter()
                .map(|host| host.to_lowercase())
                .collect(),
            timeout: Duration::from_secs(config.timeout_seconds.into()),
            key,
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
        })
    }

    /// Returns patterns of `LIKE` for the callables that may be run.
    pub(super) fn patterns(&self) -> Vec<String> {
        let escaped = |host: &String| {
            host.replace('\\', "\\\\")
                .replace('%', "\\%")
                .replace('_', "\\_")
        };
        let of_host = |host| ["http", "https"].map(|scheme| format!("{scheme}://{host}/%"));
        self.hosts.iter().map(escaped).flat_map(of_host).collect()
    }

    /// Returns the callable as a URL, if it is one that may be used.
    pub(super) fn allowed(&self, callable: &str) -> Option<Uri> {
        let uri: Uri = callable.parse().ok()?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority()?.as_str().to_lowercase();
        (is_http && self.hosts.contains(&authority)).then_some(uri)
    }

    /// Runs a step by sending it to `uri`.
    pub(super) async fn run(&self, step: &StepContext, uri: Uri) -> Result<StepOutcome, StepError> {
        let has_own_timeout = step
            .0
            .definition()
            .is_some_and(|s| s.timeout_seconds.is_some());
        let exchange = self.exchange(step, uri);
        if has_own_timeout {
            return exchange.await;
        }
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_elapsed| {
                let message = format!(
                    "the handler did not answer within {} s",
                    self.timeout.as_secs()
                );
                Err(StepError::retryable(message).with_type("Timeout"))
            })
    }

    async fn exchange(&self, step: &StepContext, uri: Uri) -> Result<StepOutcome, StepError> {
        let request = self.request(step, uri)?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| StepError::from(error).with_type("HttpUnreachable"))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, self.max_bytes)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    let message = format!("the answer has more than {} bytes", self.max_bytes);
                    return StepError::permanent(message).with_type("ResultTooLarge");
                }
                StepError::retryable(format!("the answer broke off: {error}"))
                    .with_type("HttpUnreachable")
            })?;
        let body = body.to_bytes();
        if parts.status.is_success() {
            if body.is_empty() {
                return Ok(().into());
            }
            let result: Value = serde_json::from_slice(&body).map_err(|error| {
                StepError::permanent(format!("the answer is no JSON: {error}"))
                    .with_type("ResultNotJson")
            })?;
            return Ok(result.into());
        }
        Err(refusal(parts.status, &parts.headers, &body))
    }

    fn request(
        &self,
        step: &StepContext,
        uri: Uri,
    ) -> Result<Request<Full<axum::body::Bytes>>, StepError> {
        let body = payload(step).to_string();
        let (id, timestamp) = (step.attempt_key(), Utc::now().timestamp());
        let mut request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", step.idempotency_key())
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp);
        if let Some(key) = &self.key {
            let signature = sign(key, &id, timestamp, &body);
            request = request.header("webhook-signature", signature);
        }
        request
            .body(Full::from(body))
            .map_err(|error| StepError::permanent(format!("the request cannot be made: {error}")))
    }
}

/// Signs a request as Standard Webhooks does.
fn sign(key: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

fn payload(step: &StepContext) -> Value {
    let attempt = &step.0;
    let json = |raw: Option<&serde_json::value::RawValue>| {
        raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok())
            .unwrap_or(Value::Null)
    };
    let mut dependencies = BTreeMap::new();
    for result in walk(&attempt.parents) {
        let value = || json(result.value.as_deref());
        dependencies
            .entry(result.name.to_string())
            .or_insert_with(value);
    }
    let settings = attempt
        .definition()
        .and_then(|s| s.handler.initialization.as_ref());
    let task = step.task();
    json!({
        "task": {
            "task_uuid": task.task_uuid,
            "context": json(task.context.as_deref()),
            "correlation_id": task.correlation_id,
            "parent_correlation_id": task.parent_correlation_id,
            "tags": task.tags,
        },
        "step": {
            "workflow_step_uuid": step.step_uuid(),
            "name": step.name(),
            "attempt": step.attempt(),
            "max_attempts": step.max_attempts(),
            "is_last_attempt": step.is_last_attempt(),
            "inputs": json(attempt.inputs.as_deref()),
            "checkpoint": json(attempt.checkpoint.as_deref()),
        },
        "initialization": settings.and_then(|s| s.to_value().ok()),
        "dependencies": dependencies,
    })
}

/// The error of an answer with another status than success.
fn refusal(status: StatusCode, headers: &http::HeaderMap, body: &[u8]) -> StepError {
    let text: String = String::from_utf8_lossy(body)
        .chars()
        .take(MAX_ERROR_TEXT)
        .collect();
    let kind = format!("Http{}", status.as_u16());
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        let error = StepError::retryable(format!("the handler answered {status}: {text}"));
        let after = headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let error = match after.and_then(|value| value.trim().parse().ok()) {
            Some(seconds) => error.retry_after(Duration::from_secs(seconds)),
            None => error,
        };
        return error.with_type(kind);
    }
    let message = if status.is_redirection() {
        format!("the handler answered {status}; redirects are not followed")
    } else {
        format!("the handler answered {status}: {text}")
    };
    StepError::permanent(message).with_type(kind)
}

#[cfg(test)]
mod tests {
    use tasker_shared::config::tasker::HttpHandlersConfig;

    use super::{HttpHandlers, sign};

    fn handlers(hosts: &[&str]) -> Option<HttpHandlers> {
        let config = HttpHandlersConfig {
            allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..HttpHandlersConfig::default()
        };
        HttpHandlers::new(&config, 1024)
    }

    #[test]
    fn only_listed_hosts_are_sent_to() {
        assert!(handlers(&[]).is_none());
        let handlers = handlers(&["steps.example.com", "127.0.0.1:8000", "a_b.example"]).unwrap();
        for (callable, is_allowed) in [
            ("https://steps.example.com/run", true),
            ("http://127.0.0.1:8000/x", true),
            ("http://127.0.0.1:8001/x", false),
            ("https://user@steps.example.com/run", false),
            ("https://steps.example.com.evil.example/run", false),
            ("ftp://steps.example.com/run", false),
            ("shop.Handler", false),
        ] {
            assert_eq!(
                handlers.allowed(callable).is_some(),
                is_allowed,
                "{callable}"
            );
        }
        assert!(
            handlers
                .patterns()
                .contains(&String::from("https://a\\_b.example/%"))
        );
    }

    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        // The example of the specification's reference libraries.
        let key = base64::Engine::decode(
            &base64::prelude::BASE64_STANDARD,
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        );
        let signature = sign(
            &key.unwrap(),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
