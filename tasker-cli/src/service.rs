//! The HTTP interface of a service.

use std::time::Duration;

use clap::{Args, value_parser};
use http::Method;
use http::header::{CONTENT_TYPE, LOCATION};
use serde::Serialize;
use serde_json::Value;
use tasker_shared::config::redact;
use url::Url;

use crate::answer::Answer;
use crate::error::CliError;
use crate::http::Http;
use crate::progress;

const ORCHESTRATION: &str = "http://127.0.0.1:8080";
const WORKER: &str = "http://127.0.0.1:8081";

/// The orchestration service, as options.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServiceArgs {
    /// The address of the orchestration service.
    #[arg(
        long,
        env = "TASKER_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = ORCHESTRATION
    )]
    url: String,
    #[command(flatten)]
    limit: LimitArgs,
}

/// The worker, as options.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArgs {
    /// The address of a worker.
    #[arg(
        long,
        env = "TASKER_WORKER_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = WORKER
    )]
    worker_url: String,
    #[command(flatten)]
    limit: LimitArgs,
}

#[derive(Debug, Clone, Copy, Args)]
struct LimitArgs {
    /// The longest wait for one answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..))]
    request_timeout: u64,
}

/// The body of a request without one.
pub(crate) const NOTHING: Option<&()> = None;

/// A connection to a service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    http: Http,
    base: Url,
    /// The option that the address is from.
    option: &'static str,
}

impl ServiceArgs {
    pub(crate) fn connect(&self) -> Result<Service, CliError> {
        let url = or_default(&self.url, ORCHESTRATION);
        Service::new(url, "--url or TASKER_URL", self.limit)
    }
}

impl WorkerArgs {
    pub(crate) fn connect(&self) -> Result<Service, CliError> {
        let option = "--worker-url or TASKER_WORKER_URL";
        Service::new(or_default(&self.worker_url, WORKER), option, self.limit)
    }
}

/// Returns `default` if `url` is empty, because an empty variable counts as unset.
fn or_default<'a>(url: &'a str, default: &'a str) -> &'a str {
    if url.is_empty() { default } else { url }
}

impl Service {
    fn new(base: &str, option: &'static str, limit: LimitArgs) -> Result<Self, CliError> {
        // Parsed here, because clap would print a URL that it cannot parse with its password.
        // Services speak plain HTTP; a proxy in front of them may want TLS.
        let base = Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| CliError::BadUrl {
                url: redact::url(base),
                option,
            })?;
        Ok(Self {
            http: Http::new(&base, Duration::from_secs(limit.request_timeout))?,
            base,
            option,
        })
    }

    /// Gets the JSON below these parts of a path.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        shape: Shape,
    ) -> Result<Answer, CliError> {
        self.send(Method::GET, path, query, NOTHING, shape).await
    }

    /// Sends a request with a JSON body, if there is one, and returns the JSON of the answer.
    ///
    /// # Errors
    /// [`CliError::Service`] if the service does not answer, [`CliError::Refused`] if it refuses,
    /// [`CliError::Stranger`] if something else answers.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
        shape: Shape,
    ) -> Result<Answer, CliError> {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let failed = |source| CliError::Service {
            url: shown(&self.base),
            option: self.option,
            source,
        };
        let answered = self.http.send(method, &url, body);
        let (status, headers, text) = progress::during("waiting for the service", answered)
            .await
            .map_err(failed)?;
        let stranger = |answer: String| CliError::Stranger {
            url: shown(&self.base),
            option: self.option,
            status: status.as_u16(),
            answer,
        };
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        // Services do not redirect. Whoever does is in front of them, and may answer a request that it
        // never passed on.
        if status.is_redirection() {
            let target = header(LOCATION).and_then(|target| self.base.join(target).ok());
            let host = target.as_ref().and_then(Url::host_str);
            let host = host.unwrap_or("an unknown host");
            return Err(stranger(format!("a redirection to {host}")));
        }
        let Ok(json) = Answer::parse(text) else {
            let kind = header(CONTENT_TYPE).unwrap_or("content of no type");
            return Err(stranger(format!("{kind} that is not JSON")));
        };
        if status.is_success() {
            return match shape.missing_in(&json) {
                None => Ok(json),
                Some(missing) => Err(stranger(format!("JSON without {missing}"))),
            };
        }
        if !json["code"].is_string() {
            return Err(stranger(String::from("JSON that describes no problem")));
        }
        Err(CliError::Refused {
            status: status.as_u16(),
            problem: Box::new(json.into_value()),
        })
    }
}

/// The part of an answer that a command cannot do without.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// An object with these keys.
    Object(&'static [&'static str]),
    /// A list of objects with these keys.
    List(&'static [&'static str]),
}

impl Shape {
    fn missing_in(self, json: &Value) -> Option<&'static str> {
        let absent = |keys: &'static [&'static str], value: &Value| {
            keys.iter().copied().find(|key| value[key].is_null())
        };
        match self {
            Self::Object(keys) => absent(keys, json),
            Self::List(keys) => match json.as_array() {
                None => Some("a list"),
                Some(items) => items.iter().find_map(|item| absent(keys, item)),
            },
        }
    }
}

/// Returns a URL without user, password and query.
fn shown(url: &Url) -> String {
    redact::url(url.as_str())
}
