//! The servers, the processes, and the proxies between them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Client;
use sqlx::{Connection, Executor, PgConnection};
use tasker_test_support::{
    PostgresServer, RedisServer, ServiceProcess, TcpProxy, TestkitError, free_port,
};
use tokio::sync::Mutex;

use super::service::{Kind, ORCHESTRATION, Service, WORKER};
use super::templates;
use crate::cargo::{root, target_folder};
use crate::error::XtaskError;

const DATABASE: &str = "chaos";
/// Longer than any fault lasts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The slots: two agents, which use the library, and a service of each kind.
pub(super) const AGENTS: [usize; 2] = [0, 1];
pub(super) const WORKER_SLOT: usize = 2;
pub(super) const ORCHESTRATION_SLOT: usize = 3;
pub(super) const SLOTS: [&str; 4] = ["agent 1", "agent 2", "worker", "orchestration"];

/// Everything that runs. Fields are dropped from the top: processes before their servers.
pub(super) struct Stage {
    pub(super) slots: Vec<Slot>,
    pub(super) redis: RedisServer,
    pub(super) postgres: PostgresServer,
    pub(super) http: Client,
    ending: AtomicBool,
}

/// A process, and its own way to each server.
pub(super) struct Slot {
    /// None only while it is started.
    pub(super) program: Mutex<Option<Program>>,
    /// Where it listens, if it does.
    pub(super) url: Option<String>,
    pub(super) postgres: TcpProxy,
    pub(super) redis: TcpProxy,
    environment: Vec<(&'static str, String)>,
}

pub(super) enum Program {
    Agent(ServiceProcess),
    Service(Service),
}

impl Program {
    pub(super) fn process(&self) -> &ServiceProcess {
        match self {
            Self::Agent(process) => process,
            Self::Service(service) => service.process(),
        }
    }
}

impl Stage {
    /// Starts both servers and both services. The agents come later, with [`Stage::start_agent`].
    pub(super) async fn set(max_staleness_ms: u32, coordinator: &str) -> Result<Self, XtaskError> {
        let postgres = PostgresServer::start().await?;
        let redis = RedisServer::start().await?;
        let mut connection = PgConnection::connect(&postgres.url("postgres")).await?;
        connection.execute("CREATE DATABASE chaos").await?;
        connection.close().await?;

        let http = Client::builder()
            .no_proxy()
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        let mut slots = Vec::new();
        for (slot, name) in SLOTS.iter().enumerate() {
            let postgres = TcpProxy::before(&postgres.url(DATABASE)).await?;
            let redis = TcpProxy::before(&redis.url()).await?;
            let environment = vec![
                ("DATABASE_URL", postgres.url().to_owned()),
                ("REDIS_URL", redis.url().to_owned()),
                (
                    "TASKER_CONFIG_ROOT",
                    root().join("config").display().to_string(),
                ),
                (
                    "TASKER_TEMPLATE_PATH",
                    root().join("config/tasks").display().to_string(),
                ),
                ("TASKER__COMMON__CACHE__ENABLED", String::from("true")),
                (
                    "TASKER__COMMON__CACHE__MAX_STALENESS_MS",
                    max_staleness_ms.to_string(),
                ),
                ("RUST_LOG", String::from("error")),
                ("CHAOS_COORDINATOR", coordinator.to_owned()),
                ("CHAOS_SLOT", slot.to_string()),
                ("CHAOS_TEMPLATES", templates::list()),
            ];
            let kind = match slot {
                WORKER_SLOT => Some(WORKER),
                ORCHESTRATION_SLOT => Some(ORCHESTRATION),
                _ => None,
            };
            let service = match kind {
                Some(kind) => Some(start_service(kind, &environment, &http).await?),
                None => None,
            };
            println!("{name:<15}PostgreSQL and Redis through proxies of its own");
            slots.push(Slot {
                url: service.as_ref().map(Service::url),
                program: Mutex::new(service.map(Program::Service)),
                postgres,
                redis,
                environment,
            });
        }
        Ok(Self {
            slots,
            redis,
            postgres,
            http,
            ending: AtomicBool::new(false),
        })
    }

    /// Starts the agent of this slot, in place of one that was killed.
    pub(super) async fn start_agent(&self, slot: usize) -> Result<(), XtaskError> {
        let slot = &self.slots[slot];
        let mut program = slot.program.lock().await;
        // The old one's folder goes with it.
        *program = None;
        let path = target_folder()?.join("examples/chaos_agent");
        let process =
            ServiceProcess::start("chaos_agent", &path, &borrowed(&slot.environment)).await?;
        *program = Some(Program::Agent(process));
        Ok(())
    }

    /// The processes that have ended without being told to, as errors with what they wrote.
    pub(super) async fn lost(&self) -> Vec<TestkitError> {
        let mut lost = Vec::new();
        for slot in &self.slots {
            if let Some(program) = &*slot.program.lock().await {
                lost.extend(program.process().check_alive().err());
            }
        }
        lost
    }

    /// Everything that the process of this slot wrote.
    pub(super) async fn log(&self, slot: usize) -> String {
        let program = self.slots[slot].program.lock().await;
        program
            .as_ref()
            .map_or_else(String::new, |program| program.process().log())
    }

    /// A connection straight to PostgreSQL.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect(&self.postgres.url(DATABASE)).await
    }

    /// Tells all tasks that the run is over. What each does at the moment is done to its end.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }
}

async fn start_service(
    kind: Kind,
    environment: &[(&'static str, String)],
    http: &Client,
) -> Result<Service, XtaskError> {
    Service::start(kind, free_port()?, &borrowed(environment), http).await
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}
