//! Handlers in other languages: a callable that is a URL is run by sending the step there.

mod connect;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Bytes, HttpBody};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpInfo;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::Sha256;
use tasker_shared::config::tasker::HttpHandlersConfig;
use tasker_shared::models::core::task_template::FreeForm;
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::connect::{Answered, Connector};
use super::context::StepContext;
use super::dependencies::walk;
use super::outcome::{StepError, StepOutcome};

/// The number of characters that are kept of an answer that is an error.
const MAX_ERROR_TEXT: usize = 500;
/// The number of bytes that are read of such an answer: enough for these characters.
const MAX_ERROR_BYTES: usize = MAX_ERROR_TEXT * 4;
/// The most requests that are written at a time.
const WRITERS: usize = 2;
/// The time within which a request on a connection fails that the server had closed before. A later
/// failure is that of a handler which may have worked.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// The longest that the beginning of an answer that is an error is waited for.
const ERROR_TIME: Duration = Duration::from_secs(1);

/// Sends steps to the hosts that the configuration allows.
#[derive(Debug)]
pub(super) struct HttpHandlers {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    /// Opens a connection for each request.
    fresh: Client<HttpsConnector<Connector>, Full<Bytes>>,
    answered: Answered,
    hosts: Vec<String>,
    timeout: Duration,
    key: Option<Arc<[u8]>>,
    max_bytes: usize,
    writers: Arc<Semaphore>,
}

impl HttpHandlers {
    /// Returns nothing if no host is allowed.
    pub(super) fn new(config: &HttpHandlersConfig, max_bytes: u64) -> Option<Self> {
        if config.allowed_hosts.is_empty() {
            return None;
        }
        let answered = Answered::default();
        let connector = connect::connector(answered.clone());
        Some(Self {
            client: Client::builder(TokioExecutor::new()).build(connector.clone()),
            fresh: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector),
            answered,
            hosts: config
                .allowed_hosts
                .iter()
                .map(|host| host.to_lowercase())
                .collect(),
            timeout: Duration::from_secs(config.timeout_seconds.into()),
            key: config.signing_key().map(Into::into),
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
            writers: Arc::new(Semaphore::new(WRITERS)),
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
        let exchange = async {
            tokio::select! {
                ended = self.exchange(step, uri) => ended,
                () = step.cancelled() => {
                    let error = StepError::retryable("the request was given up: the step was cancelled");
                    Err(error.with_type("Cancelled"))
                }
            }
        };
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
        let request = self.request(step, uri).await?;
        let again = request.clone();
        let sent = Instant::now();
        let response = match self.client.request(request).await {
            // A server may close a connection that it keeps at the moment at which it is used again. The
            // handler does not see the request twice as a rule, and has the same `Idempotency-Key` if it does.
            Err(error) if sent.elapsed() < CLOSED_WITHIN && self.was_used(&error) => {
                self.fresh.request(again).await
            }
            response => response,
        };
        let response =
            response.map_err(|error| StepError::from(error).with_type("HttpUnreachable"))?;
        if let Some(info) = response.extensions().get::<HttpInfo>() {
            self.answered.insert(info.local_addr());
        }
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            let text = beginning(body).await;
            return Err(refusal(parts.status, &parts.headers, &text));
        }
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
        if body.is_empty() {
            return Ok(().into());
        }
        StepOutcome::read(&body).map_err(|error| {
            StepError::permanent(format!("the answer is no JSON: {error}"))
                .with_type("ResultNotJson")
        })
    }

    /// Returns whether an error is that of a connection that had an answer before.
    fn was_used(&self, error: &hyper_util::client::legacy::Error) -> bool {
        let mut extensions = http::Extensions::new();
        if let Some(connected) = error.connect_info() {
            connected.get_extras(&mut extensions);
        }
        let info = extensions.get::<HttpInfo>();
        info.is_some_and(|info| self.answered.remove(&info.local_addr()))
    }

    async fn request(
        &self,
        step: &StepContext,
        uri: Uri,
    ) -> Result<Request<Full<Bytes>>, StepError> {
        let (id, timestamp) = (step.attempt_key(), Utc::now().timestamp());
        let (key, step_of_body, id_of_body) = (self.key.clone(), step.clone(), id.clone());
        // Results of dependencies may be large, and the runtime's threads have no time to sign them.
        let turn = Arc::clone(&self.writers).acquire_owned().await?;
        let (body, signature) = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let body = serde_json::to_string(&payload(&step_of_body))?;
            let signature = key.map(|key| sign(&key, &id_of_body, timestamp, &body));
            Ok::<_, serde_json::Error>((body, signature))
        })
        .await??;
        let mut request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", step.idempotency_key())
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp);
        if let Some(signature) = signature {
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
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body.as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

/// The JSON that a handler is sent. Parts that were stored as JSON are not parsed: a batch of 10,000 sends
/// each of its steps the 750 kB that describe all of them.
#[derive(Serialize)]
struct Payload<'a> {
    task: TaskPart<'a>,
    step: StepPart<'a>,
    initialization: Option<&'a FreeForm>,
    dependencies: BTreeMap<&'a str, Option<&'a RawValue>>,
}

#[derive(Serialize)]
struct TaskPart<'a> {
    task_uuid: Uuid,
    context: Option<&'a RawValue>,
    correlation_id: Uuid,
    parent_correlation_id: Option<Uuid>,
    tags: &'a [String],
}

#[derive(Serialize)]
struct StepPart<'a> {
    workflow_step_uuid: Uuid,
    name: &'a str,
    attempt: i32,
    max_attempts: u32,
    is_last_attempt: bool,
    inputs: Option<&'a RawValue>,
    checkpoint: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolver: Option<&'a str>,
}

fn payload(step: &StepContext) -> Payload<'_> {
    let attempt = &step.0;
    let task = step.task();
    let results = walk(&attempt.parents);
    let handler = step.handler();
    Payload {
        task: TaskPart {
            task_uuid: task.task_uuid,
            context: task.context.as_deref(),
            correlation_id: task.correlation_id,
            parent_correlation_id: task.parent_correlation_id,
            tags: &task.tags,
        },
        step: StepPart {
            workflow_step_uuid: step.step_uuid(),
            name: step.name(),
            attempt: step.attempt(),
            max_attempts: step.max_attempts(),
            is_last_attempt: step.is_last_attempt(),
            inputs: attempt.inputs.as_deref(),
            checkpoint: attempt.checkpoint.as_deref(),
            method: handler.and_then(|handler| handler.method.as_deref()),
            resolver: handler.and_then(|handler| handler.resolver.as_deref()),
        },
        initialization: handler.and_then(|handler| handler.initialization.as_ref()),
        dependencies: results
            .map(|result| (&*result.name, result.value.as_deref()))
            .collect(),
    }
}

/// Reads the beginning of an answer that is an error, as far as it comes in time. Neither its size nor its
/// end matters, because its status says what follows.
async fn beginning(mut body: impl HttpBody<Data = Bytes> + Unpin) -> Vec<u8> {
    let mut text = Vec::new();
    let read = async {
        while text.len() < MAX_ERROR_BYTES
            && let Some(Ok(frame)) = body.frame().await
        {
            text.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    };
    tokio::time::timeout(ERROR_TIME, read).await.ok();
    text
}

/// Reads a `Retry-After`, which is a number of seconds or a date. One that is over is none, because all
/// attempts would follow each other without a pause.
fn pause(text: &str) -> Option<Duration> {
    let text = text.trim();
    let pause = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = DateTime::parse_from_rfc2822(text).ok()?;
        (date.to_utc() - Utc::now()).to_std().ok()?
    };
    (!pause.is_zero()).then_some(pause)
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
        let error = match after.and_then(pause) {
            Some(pause) => error.retry_after(pause),
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
    use std::convert::Infallible;
    use std::future::ready;
    use std::time::Duration;

    use axum::body::Body;
    use chrono::{TimeDelta, Utc};
    use futures::{StreamExt, stream};
    use tasker_shared::config::tasker::HttpHandlersConfig;

    use super::{HttpHandlers, beginning, pause, sign};

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
    fn a_pause_is_a_number_of_seconds_or_a_date() {
        assert_eq!(pause(" 7 "), Some(Duration::from_secs(7)));
        let most = Duration::from_secs(u64::MAX);
        assert_eq!(pause("18446744073709551615"), Some(most));
        assert_eq!(pause("99999999999999999999"), Some(most));
        let date = Utc::now() + TimeDelta::seconds(100);
        let until = pause(&date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()).unwrap();
        assert!((90..=100).contains(&until.as_secs()), "{until:?}");
        let over = ["0", "000", "Sun, 06 Nov 1994 08:49:37 GMT"];
        for none in ["", "1.5", "-1", "soon"].into_iter().chain(over) {
            assert_eq!(pause(none), None, "{none}");
        }
    }

    #[tokio::test]
    async fn the_beginning_of_an_error_is_not_waited_for_for_long() {
        let begun = ready(Ok::<_, Infallible>("begun"));
        let body = Body::from_stream(stream::once(begun).chain(stream::pending()));
        assert_eq!(beginning(body).await, b"begun");
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
