//! Everything that can happen to the servers under a service of Tasker.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{GuardedServers, Secret, ServiceProcess, TestkitError, ask_everything, free_port};

/// How long a service may take to notice what happened to it.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// All that a service said, and the secrets that it should have kept.
#[derive(Debug)]
pub struct Testimony {
    /// What it wrote to its log.
    pub log: String,
    /// What it answered: statuses, headers and bodies.
    pub answered: String,
    secrets: [Secret; 3],
}

impl Testimony {
    /// The first line with a secret in it, in any form.
    #[must_use]
    pub fn betrayal(&self) -> Option<&str> {
        let mut lines = self.log.lines().chain(self.answered.lines());
        lines.find(|line| self.secrets.iter().any(|secret| secret.is_in(line)))
    }
}

/// Runs a service that logs all that it can, with passwords in the URLs of its servers, through all
/// failures of these, asks it for everything during each, and ends it when it is well again.
///
/// Redis is dead when the service starts, and arrives late. The service listens where
/// `bind_variable` tells it, and has `environment` besides.
///
/// # Errors
/// When a server cannot be broken or mended, or when the service does not notice either within
/// 30 s.
pub async fn ordeal(
    name: &'static str,
    program: &Path,
    bind_variable: &str,
    environment: &[(&str, &str)],
) -> Result<Testimony, TestkitError> {
    let servers = GuardedServers::start().await?;
    servers.redis.kill().await?;
    let (database_url, redis_url) = (servers.database_url(), servers.redis_url());
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut all = vec![
        ("DATABASE_URL", database_url.as_str()),
        ("REDIS_URL", &redis_url),
        ("TASKER__COMMON__CACHE__ENABLED", "true"),
        // A debug build that writes everything down is slow.
        ("TASKER__COMMON__CACHE__OPERATION_TIMEOUT_MS", "500"),
        ("TASKER_LOG", ""),
        ("RUST_LOG", "trace"),
        (bind_variable, &address),
    ];
    all.extend(environment);
    let process = ServiceProcess::start(name, program, &all).await?;
    let mut service = Service {
        process,
        base_url: format!("http://{address}"),
        client_secret: Secret::new(),
        answered: String::new(),
    };
    fail_and_mend(&servers, &mut service).await?;
    service.process.stop().await?;
    Ok(Testimony {
        log: service.process.log(),
        answered: service.answered,
        secrets: [
            servers.postgres_secret,
            servers.redis_secret,
            service.client_secret,
        ],
    })
}

async fn fail_and_mend(
    servers: &GuardedServers,
    service: &mut Service,
) -> Result<(), TestkitError> {
    let GuardedServers {
        postgres, redis, ..
    } = servers;
    service.ask_when("degraded").await?;
    redis.restart().await?;
    service.ask_when("healthy").await?;

    servers.lock_redis(true).await?;
    service.ask_when("degraded").await?;
    servers.lock_redis(false).await?;
    service.ask_when("healthy").await?;

    redis.kill().await?;
    service.ask_when("degraded").await?;
    redis.restart().await?;
    service.ask_when("healthy").await?;

    redis.freeze().await?;
    service.ask_when("degraded").await?;
    redis.thaw().await?;
    service.ask_when("healthy").await?;

    servers.lock_postgres(true).await?;
    service.ask_when("unhealthy").await?;
    servers.lock_postgres(false).await?;
    service.ask_when("healthy").await?;

    postgres.kill().await?;
    service.ask_when("unhealthy").await?;
    postgres.restart().await?;
    service.ask_when("healthy").await
}

struct Service {
    process: ServiceProcess,
    base_url: String,
    client_secret: Secret,
    answered: String,
}

impl Service {
    /// Waits until the service says of itself that it is `expected`, then asks it for everything.
    async fn ask_when(&mut self, expected: &str) -> Result<(), TestkitError> {
        let start = Instant::now();
        while self.health().await != expected {
            self.process.check_alive()?;
            if start.elapsed() > PATIENCE {
                let log = self.process.log();
                return Err(TestkitError::too_slow(
                    "the service",
                    "notice",
                    PATIENCE,
                    &log,
                ));
            }
            tokio::time::sleep(POLL).await;
        }
        let authorization = format!("Bearer {}", self.client_secret.core());
        let answered = ask_everything(&self.base_url, &authorization).await?;
        self.answered.push_str(&answered);
        Ok(())
    }

    async fn health(&self) -> Value {
        let answer = match reqwest::get(format!("{}/health/detailed", self.base_url)).await {
            Ok(answer) => answer.json::<Value>().await,
            Err(error) => Err(error),
        };
        answer.map_or(Value::Null, |mut health| health["status"].take())
    }
}
