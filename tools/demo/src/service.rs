//! A service of Tasker as a process of its own, and requests to it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::Value;
use tasker_test_support::{ServiceProcess, free_port};

pub(crate) type Failure = Box<dyn std::error::Error>;

const READY: Duration = Duration::from_mins(1);
const WORKER: (&str, &str, u16) = ("tasker-worker", "TASKER__WORKER__WEB__BIND_ADDRESS", 8081);
const ORCHESTRATION: (&str, &str, u16) = (
    "tasker-orchestration",
    "TASKER__ORCHESTRATION__WEB__BIND_ADDRESS",
    8080,
);

/// A running service. It ends on drop, or when this process ends.
pub(crate) struct Service {
    process: ServiceProcess,
    address: String,
    http: Client,
}

/// Resolves that one tier answered since the process started.
pub(crate) struct Resolves {
    pub(crate) count: f64,
    pub(crate) seconds: f64,
}

impl Service {
    /// Starts a worker, which registers the templates, and waits until it is ready.
    pub(crate) async fn worker(settings: &[(&str, &str)]) -> Result<Self, Failure> {
        Self::start(WORKER, &address(WORKER.2)?, settings).await
    }

    /// Starts an orchestration service and waits until it is ready.
    pub(crate) async fn orchestration(settings: &[(&str, &str)]) -> Result<Self, Failure> {
        Self::start(ORCHESTRATION, &address(ORCHESTRATION.2)?, settings).await
    }

    /// Stops a worker, and starts it again on the same port.
    pub(crate) async fn restart(&mut self, settings: &[(&str, &str)]) -> Result<(), Failure> {
        self.process.stop().await?;
        *self = Self::start(WORKER, &self.address, settings).await?;
        Ok(())
    }

    async fn start(
        (program, bind_variable, _): (&'static str, &str, u16),
        address: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let mut settings = settings.to_vec();
        settings.push((bind_variable, address));
        let path = std::env::current_exe()?.with_file_name(program);
        let service = Self {
            process: ServiceProcess::start(program, &path, &settings).await?,
            address: address.to_owned(),
            http: Client::builder().no_proxy().build()?,
        };
        let started = Instant::now();
        while service.get("/health/ready").await.is_err() {
            service.process.check_alive()?;
            if started.elapsed() > READY {
                return Err(format!("{program} is not ready:\n{}", service.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(service)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns everything that the process wrote.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        let text = self.request(Method::GET, path, &Value::Null).await?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Ok(serde_json::from_str(
            &self.request(Method::POST, path, body).await?,
        )?)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.request(Method::DELETE, path, &Value::Null).await?;
        Ok(())
    }

    /// Returns how many templates this tier answered, and in how many seconds.
    pub(crate) async fn resolves(&self, tier: &str) -> Result<Resolves, Failure> {
        let metrics = self.request(Method::GET, "/metrics", &Value::Null).await?;
        let value = |part: &str| {
            let name =
                format!("tasker_template_resolve_duration_seconds_{part}{{tier=\"{tier}\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
            value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
        };
        Ok(Resolves {
            count: value("count"),
            seconds: value("sum"),
        })
    }

    async fn request(&self, method: Method, path: &str, body: &Value) -> Result<String, Failure> {
        let mut request = self.http.request(method, self.url() + path);
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if status.is_success() {
            return Ok(text);
        }
        Err(format!("{path} was answered with {status}: {text}").into())
    }
}

/// Returns the usual address if it is free, else another port.
fn address(port: u16) -> Result<String, Failure> {
    let usual = format!("127.0.0.1:{port}");
    match TcpListener::bind(&usual) {
        Ok(_) => Ok(usual),
        Err(_) => Ok(format!("127.0.0.1:{}", free_port()?)),
    }
}
