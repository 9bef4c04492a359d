//! A service that runs as a process of its own, and is asked over HTTP.

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::Value;
use tasker_test_support::ServiceProcess;

use crate::cargo::target_folder;
use crate::error::XtaskError;

const READY_DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

/// Which service, and where it reads its address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    program: &'static str,
    bind_variable: &'static str,
}

pub(crate) const WORKER: Kind = Kind {
    program: "tasker-worker",
    bind_variable: "TASKER__WORKER__WEB__BIND_ADDRESS",
};

pub(crate) const ORCHESTRATION: Kind = Kind {
    program: "tasker-orchestration",
    bind_variable: "TASKER__ORCHESTRATION__WEB__BIND_ADDRESS",
};

/// A running service. It ends on drop, or when this process ends.
#[derive(Debug)]
pub(crate) struct Service {
    kind: Kind,
    process: ServiceProcess,
    port: u16,
    http: Client,
}

impl Service {
    /// Starts a service and waits until it says that it is ready.
    pub(crate) async fn start(
        kind: Kind,
        port: u16,
        environment: &[(&str, &str)],
        http: &Client,
    ) -> Result<Self, XtaskError> {
        let address = format!("127.0.0.1:{port}");
        let mut environment = environment.to_vec();
        environment.push((kind.bind_variable, &address));
        let program = target_folder()?.join(kind.program);
        let process = ServiceProcess::start(kind.program, &program, &environment).await?;
        let service = Self {
            kind,
            process,
            port,
            http: http.clone(),
        };
        service.ready().await?;
        Ok(service)
    }

    /// Where the service listens.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process, to freeze and thaw.
    pub(crate) fn process(&self) -> &ServiceProcess {
        &self.process
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, XtaskError> {
        let text = self.ask(Method::GET, path, None).await?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<String, XtaskError> {
        let request = format!("{method} {path}");
        let mut builder = self.http.request(method, format!("{}{path}", self.url()));
        if let Some(body) = body {
            builder = builder.json(body);
        }
        let response = builder.send().await?;
        let status = response.status();
        let body = response.text().await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(XtaskError::Answer {
            request,
            status: status.as_u16(),
            body,
        })
    }

    async fn ready(&self) -> Result<(), XtaskError> {
        let start = Instant::now();
        while self.get("/health/ready").await.is_err() {
            self.process.check_alive()?;
            if start.elapsed() > READY_DEADLINE {
                return Err(XtaskError::NotReady {
                    service: self.kind.program,
                    seconds: READY_DEADLINE.as_secs(),
                    log: self.process.log(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}
