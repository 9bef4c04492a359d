//! Runs the service through all failures of its servers, and collects all that it prints and
//! answers.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tasker_test_support::{Result, ServiceProcess, free_port};
use tokio::task::JoinSet;

use super::secret::Secret;
use super::servers::PasswordServers;

/// The limit for the service to notice a failure or its end.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// The value of each path parameter. It identifies nothing that exists.
const UNKNOWN: &str = "018f0000-0000-7000-8000-000000000000";

/// The service's output, and the secrets that must not be in it.
pub(super) struct Output {
    pub(super) log: String,
    /// Statuses, headers and bodies of all answers.
    pub(super) answered: String,
    secrets: [Secret; 3],
}

impl Output {
    /// Returns the first line that contains a secret in any form.
    pub(super) fn leak(&self) -> Option<&str> {
        let mut lines = self.log.lines().chain(self.answered.lines());
        lines.find(|line| self.secrets.iter().any(|secret| secret.is_in(line)))
    }
}

/// Runs the service at log level `trace`, with passwords in the URLs of its servers, and requests
/// all of its routes during each failure. Redis is down when the service starts.
pub(super) async fn run_through() -> Result<Output> {
    let servers = PasswordServers::start().await?;
    servers.redis.kill().await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let environment = [
        ("DATABASE_URL", servers.database_url()),
        ("REDIS_URL", servers.redis_url()),
        ("TASKER__COMMON__CACHE__ENABLED", String::from("true")),
        // A debug build that logs everything is slow.
        (
            "TASKER__COMMON__CACHE__OPERATION_TIMEOUT_MS",
            String::from("500"),
        ),
        ("TASKER_LOG", String::new()),
        ("TASKER_LOG_FORMAT", String::from("json")),
        ("RUST_LOG", String::from("trace")),
        ("TASKER__ORCHESTRATION__WEB__BIND_ADDRESS", address.clone()),
    ];
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let program = Path::new(env!("CARGO_BIN_EXE_tasker-orchestration"));
    let mut service = Service {
        process: ServiceProcess::start("tasker-orchestration", program, &environment).await?,
        url: format!("http://{address}"),
        client_secret: Secret::new(),
        answered: String::new(),
    };
    fail_and_restore(&servers, &mut service).await?;
    service.process.stop().await?;
    Ok(Output {
        log: service.process.log(),
        answered: service.answered,
        secrets: [
            servers.postgres_secret,
            servers.redis_secret,
            service.client_secret,
        ],
    })
}

async fn fail_and_restore(servers: &PasswordServers, service: &mut Service) -> Result {
    let (postgres, redis) = (&servers.postgres, &servers.redis);
    service.request_when("degraded").await?;
    redis.restart().await?;
    service.request_when("healthy").await?;

    servers.lock_redis(true).await?;
    service.request_when("degraded").await?;
    servers.lock_redis(false).await?;
    service.request_when("healthy").await?;

    redis.kill().await?;
    service.request_when("degraded").await?;
    redis.restart().await?;
    service.request_when("healthy").await?;

    redis.freeze()?;
    service.request_when("degraded").await?;
    redis.thaw()?;
    service.request_when("healthy").await?;

    servers.lock_postgres(true).await?;
    service.request_when("unhealthy").await?;
    servers.lock_postgres(false).await?;
    service.request_when("healthy").await?;

    postgres.kill().await?;
    service.request_when("unhealthy").await?;
    postgres.restart().await?;
    service.request_when("healthy").await
}

struct Service {
    process: ServiceProcess,
    url: String,
    client_secret: Secret,
    answered: String,
}

impl Service {
    /// Waits until the service reports this health, then requests all routes.
    async fn request_when(&mut self, health: &str) -> Result {
        let started = Instant::now();
        while self.health().await != health {
            self.process.check_alive()?;
            assert!(
                started.elapsed() < PATIENCE,
                "not {health}:\n{}",
                self.process.log()
            );
            tokio::time::sleep(POLL).await;
        }
        self.request_all().await
    }

    async fn health(&self) -> Value {
        let answer = match reqwest::get(format!("{}/health/detailed", self.url)).await {
            Ok(answer) => answer.json::<Value>().await,
            Err(error) => Err(error),
        };
        answer.map_or(Value::Null, |mut health| health["status"].take())
    }

    /// Requests each operation of the OpenAPI document, all at once, with a secret in a header.
    async fn request_all(&mut self) -> Result {
        let document = reqwest::get(format!("{}/api-docs/openapi.json", self.url))
            .await?
            .text()
            .await?;
        let paths = serde_json::from_str::<Value>(&document)?["paths"].take();
        let authorization = format!("Bearer {}", self.client_secret.core());
        let (client, mut requests) = (reqwest::Client::new(), JoinSet::new());
        for (path, methods) in paths.as_object().ok_or("no paths")? {
            let path: Vec<_> = path
                .split('/')
                .map(|part| if part.starts_with('{') { UNKNOWN } else { part })
                .collect();
            for method in methods.as_object().ok_or("no methods")?.keys() {
                let url = format!("{}{}", self.url, path.join("/"));
                let request = client
                    .request(method.to_uppercase().parse()?, url)
                    .header("authorization", &authorization)
                    .json(&json!({"name": UNKNOWN, "namespace": "none", "context": {}}));
                requests.spawn(async move { printed(request.send().await).await });
            }
        }
        self.answered.push_str(&document);
        for answer in requests.join_all().await {
            self.answered.push('\n');
            self.answered.push_str(&answer);
        }
        Ok(())
    }
}

async fn printed(answer: reqwest::Result<reqwest::Response>) -> String {
    match answer {
        Ok(answer) => {
            let head = format!("{} {:?}", answer.status(), answer.headers());
            format!("{head}\n{}", answer.text().await.unwrap_or_default())
        }
        Err(error) => format!("{error:?}"),
    }
}
