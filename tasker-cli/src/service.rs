//! The HTTP interface of a service.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::Value;
use url::Url;

use crate::error::CliError;
use crate::progress;

/// The orchestration service, as options.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServiceArgs {
    /// The address of the orchestration service.
    #[arg(
        long,
        env = "TASKER_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: Url,
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
        value_name = "URL",
        default_value = "http://127.0.0.1:8081"
    )]
    worker_url: Url,
    #[command(flatten)]
    limit: LimitArgs,
}

#[derive(Debug, Clone, Copy, Args)]
struct LimitArgs {
    /// The longest wait for one answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    request_timeout: u64,
}

/// A connection to a service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    http: reqwest::Client,
    base: Url,
    /// The option that the address is from.
    option: &'static str,
}

impl ServiceArgs {
    pub(crate) fn connect(&self) -> Result<Service, CliError> {
        Service::new(self.url.clone(), "--url or TASKER_URL", self.limit)
    }
}

impl WorkerArgs {
    pub(crate) fn connect(&self) -> Result<Service, CliError> {
        let option = "--worker-url or TASKER_WORKER_URL";
        Service::new(self.worker_url.clone(), option, self.limit)
    }
}

impl Service {
    fn new(base: Url, option: &'static str, limit: LimitArgs) -> Result<Self, CliError> {
        // Services speak plain HTTP; TLS is the affair of a proxy in front of them.
        if base.scheme() != "http" {
            return Err(CliError::BadUrl { url: shown(&base) });
        }
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(limit.request_timeout))
            .user_agent(concat!("tasker/", env!("CARGO_PKG_VERSION")))
            .build();
        let failed = |source| CliError::Service {
            url: shown(&base),
            option,
            source,
        };
        Ok(Self {
            http: http.map_err(failed)?,
            base,
            option,
        })
    }

    /// Gets the JSON below these parts of a path.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, CliError> {
        self.send(Method::GET, path, query, None).await
    }

    /// Sends a request with a JSON body, if there is one, and returns the JSON of the answer.
    ///
    /// # Errors
    /// [`CliError::Service`] if the service does not answer, [`CliError::Refused`] if it refuses.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let failed = |source: reqwest::Error| CliError::Service {
            url: shown(&self.base),
            option: self.option,
            source: source.without_url(),
        };
        let answered = async {
            let answer = request.send().await?;
            Ok((answer.status(), answer.text().await?))
        };
        let (status, text) = progress::during("waiting for the service", answered)
            .await
            .map_err(failed)?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(json);
        }
        Err(CliError::Refused {
            status: status.as_u16(),
            problem: Box::new(json),
        })
    }
}

/// Returns a URL without user, password and query.
fn shown(url: &Url) -> String {
    tasker_shared::config::redact::url(url.as_str())
}
