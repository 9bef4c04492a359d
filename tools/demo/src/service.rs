//! A service of Tasker as a process of its own, and requests to it.

use std::net::TcpListener;
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tasker_test_support::{Result, ServiceProcess, free_port};

/// A program, the variable for its address, and its usual port.
type Program = (&'static str, &'static str, u16);

/// A worker with handlers for all templates of `config/tasks`, which it registers.
pub(crate) const WORKER: Program = (
    "examples/example_worker",
    "TASKER__WORKER__WEB__BIND_ADDRESS",
    8081,
);
pub(crate) const ORCHESTRATION: Program = (
    "tasker-orchestration",
    "TASKER__ORCHESTRATION__WEB__BIND_ADDRESS",
    8080,
);
/// Longer than any request waits for a task.
const REQUEST: Duration = Duration::from_secs(90);

/// A running service. It ends on drop, or when this process ends.
pub(crate) struct Service<'a> {
    program: Program,
    settings: &'a [(&'a str, &'a str)],
    port: u16,
    http: Client,
    pub(crate) process: ServiceProcess,
}

impl<'a> Service<'a> {
    /// Starts a service, on its usual port if that is free, and waits until it is ready.
    pub(crate) async fn start(
        program: Program,
        settings: &'a [(&'a str, &'a str)],
    ) -> Result<Self> {
        let is_free = TcpListener::bind(("127.0.0.1", program.2)).is_ok();
        let port = if is_free { program.2 } else { free_port()? };
        Self::start_at(port, program, settings).await
    }

    /// Stops the service, and starts it again at the same address.
    pub(crate) async fn restart(&mut self) -> Result {
        self.process.stop().await?;
        *self = Self::start_at(self.port, self.program, self.settings).await?;
        Ok(())
    }

    async fn start_at(
        port: u16,
        program @ (name, bind_variable, _): Program,
        settings: &'a [(&'a str, &'a str)],
    ) -> Result<Self> {
        let path = std::env::current_exe()?.with_file_name(name);
        let address = format!("127.0.0.1:{port}");
        let environment = [settings, &[(bind_variable, &address)]].concat();
        Ok(Self {
            process: ServiceProcess::start_ready(name, &path, &environment, port).await?,
            http: Client::builder().no_proxy().timeout(REQUEST).build()?,
            program,
            settings,
            port,
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Result<Value> {
        let answer = self.http.get(self.url(path)).send().await?;
        answer.error_for_status()?.json().await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> reqwest::Result<Value> {
        let answer = self.http.post(self.url(path)).json(body).send().await?;
        answer.error_for_status()?.json().await
    }

    /// Returns the value of a metric, 0 if it has none yet.
    pub(crate) async fn metric(&self, name: &str) -> reqwest::Result<f64> {
        let answer = self.http.get(self.url("/metrics")).send().await?;
        let metrics = answer.error_for_status()?.text().await?;
        let mut values = metrics.lines().filter_map(|line| line.split_once(' '));
        let value = values.find(|(metric, _)| *metric == name);
        Ok(value
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(0.0))
    }
}
