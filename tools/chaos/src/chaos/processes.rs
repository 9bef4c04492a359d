//! The processes of a run: two agents, a worker and an orchestration service, each with its own link
//! to the servers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as HistoryMutex};
use std::time::{Duration, Instant};

use reqwest::Client;
use tasker_test_support::{ServiceProcess, TestkitError, free_port};
use tokio::sync::Mutex;

use super::agent::{COLLECTOR, PROCESS};
use super::noted;
use crate::error::ChaosError;
use crate::judge::history::History;
use crate::world::World;

/// The members of a run, by index. Each is one process at a time.
pub(super) const MEMBERS: [&str; 4] = ["agent 1", "agent 2", "worker", "orchestration"];
pub(super) const AGENTS: std::ops::Range<usize> = 0..2;
pub(super) const WORKER: usize = 2;
pub(super) const ORCHESTRATION: usize = 3;

/// The program of each service, and the variable for its address.
const SERVICES: [(&str, &str); 2] = [
    ("tasker-worker", "TASKER__WORKER__WEB__BIND_ADDRESS"),
    (
        "tasker-orchestration",
        "TASKER__ORCHESTRATION__WEB__BIND_ADDRESS",
    ),
];
/// Longer than any fault lasts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const READY_LIMIT: Duration = Duration::from_mins(1);
const READY_POLL: Duration = Duration::from_millis(20);

pub(super) struct Processes {
    members: Vec<Member>,
    pub(super) http: Client,
    folder: PathBuf,
    history: Arc<HistoryMutex<History>>,
}

struct Member {
    process: Mutex<Option<ServiceProcess>>,
    environment: Vec<(&'static str, String)>,
    /// The port that it listens on, if it is a service.
    port: u16,
}

impl Processes {
    /// Prepares all members. [`Processes::start`] starts each.
    pub(super) fn new(
        world: &World,
        collector: &str,
        max_staleness_ms: u32,
        history: &Arc<HistoryMutex<History>>,
    ) -> Result<Self, ChaosError> {
        let program = std::env::current_exe().map_err(ChaosError::io("finding this program"))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = |folder: &str| root.join(folder).display().to_string();
        let mut members = Vec::new();
        for link in &world.links {
            members.push(Member {
                process: Mutex::new(None),
                environment: vec![
                    ("DATABASE_URL", link.postgres.url().to_owned()),
                    ("REDIS_URL", link.redis.url().to_owned()),
                    ("TASKER_CONFIG_ROOT", path("config")),
                    ("TASKER_TEMPLATE_PATH", path("config/tasks")),
                    ("TASKER__COMMON__CACHE__ENABLED", String::from("true")),
                    (
                        "TASKER__COMMON__CACHE__MAX_STALENESS_MS",
                        max_staleness_ms.to_string(),
                    ),
                    ("RUST_LOG", String::from("error")),
                    (COLLECTOR, collector.to_owned()),
                ],
                port: free_port()?,
            });
        }
        Ok(Self {
            members,
            http: Client::builder()
                .no_proxy()
                .timeout(REQUEST_TIMEOUT)
                .build()?,
            folder: program.parent().unwrap_or(Path::new(".")).to_owned(),
            history: Arc::clone(history),
        })
    }

    /// Returns the URL of a service.
    pub(super) fn url(&self, member: usize) -> String {
        format!("http://127.0.0.1:{}", self.members[member].port)
    }

    /// Starts a member, in place of its process that was killed. Waits until a service is ready.
    pub(super) async fn start(&self, member: usize) -> Result<(), ChaosError> {
        let Member {
            process,
            environment,
            port,
        } = &self.members[member];
        let mut environment = environment.clone();
        let service = member
            .checked_sub(AGENTS.end)
            .map(|service| SERVICES[service]);
        let mut name = "tasker-chaos";
        if let Some((service, variable)) = service {
            environment.push((variable, format!("127.0.0.1:{port}")));
            name = service;
        }
        // The orchestration service reads the versions of a template from PostgreSQL before it asks
        // the registry.
        let absence_is_newer = member == ORCHESTRATION;
        let number = noted(&self.history, |history| {
            history.process(member, absence_is_newer)
        });
        environment.push((PROCESS, number.to_string()));
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut process = process.lock().await;
        // The folder of the old one goes with it.
        *process = None;
        let started = ServiceProcess::start(name, &self.folder.join(name), &environment).await?;
        if service.is_some() {
            self.until_ready(member, &started).await?;
        }
        *process = Some(started);
        Ok(())
    }

    async fn until_ready(&self, member: usize, process: &ServiceProcess) -> Result<(), ChaosError> {
        let url = format!("{}/health/ready", self.url(member));
        let start = Instant::now();
        loop {
            let answer = self.http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            process.check_alive()?;
            if start.elapsed() > READY_LIMIT {
                return Err(ChaosError::TooSlow {
                    what: MEMBERS[member],
                    action: "get ready",
                    seconds: READY_LIMIT.as_secs(),
                    log: format!("; its log says:\n{}", process.log()),
                });
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Kills a member. Returns an error with its output if it had ended before.
    pub(super) async fn kill(&self, member: usize) -> Result<Option<TestkitError>, ChaosError> {
        let process = self.members[member].process.lock().await;
        let Some(process) = &*process else {
            return Ok(None);
        };
        let lost = process.check_alive().err();
        process.kill().await?;
        Ok(lost)
    }

    /// Stops a member from running for so long.
    pub(super) async fn freeze(&self, member: usize, length: Duration) -> Result<(), ChaosError> {
        if let Some(process) = &*self.members[member].process.lock().await {
            process.freeze()?;
            tokio::time::sleep(length).await;
            process.thaw()?;
        }
        Ok(())
    }

    /// Returns an error with the output of each process that has ended by itself.
    pub(super) async fn lost(&self) -> Vec<TestkitError> {
        let mut lost = Vec::new();
        for member in &self.members {
            let process = member.process.lock().await;
            lost.extend(
                process
                    .as_ref()
                    .and_then(|process| process.check_alive().err()),
            );
        }
        lost
    }
}
