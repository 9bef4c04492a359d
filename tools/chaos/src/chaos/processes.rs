//! The processes of a run: two agents, a worker and an orchestration service, each with its own
//! link to the servers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Client;
use tasker_test_support::{ServiceProcess, TestkitError, free_port};
use tokio::sync::Mutex;

use super::agent;
use crate::error::ChaosError;
use crate::world::World;

/// The members of a run, by index. Each is one process at a time.
pub(super) const MEMBERS: [&str; 4] = ["agent 1", "agent 2", "worker", "orchestration"];
pub(super) const AGENTS: std::ops::Range<usize> = 0..2;
pub(super) const WORKER: usize = 2;
pub(super) const ORCHESTRATION: usize = 3;

/// The program of each member, and the variable for its address if it is a service.
const PROGRAMS: [(&str, &str); 4] = [
    ("tasker-chaos", "CHAOS_UNUSED"),
    ("tasker-chaos", "CHAOS_UNUSED"),
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
    programs: PathBuf,
}

struct Member {
    process: Mutex<Option<(u16, ServiceProcess)>>,
    environment: Vec<(&'static str, String)>,
    port: u16,
}

impl Processes {
    /// Prepares all members. [`Processes::start`] starts each.
    pub(super) fn new(world: &World, max_staleness_ms: u32) -> Result<Self, ChaosError> {
        let program = std::env::current_exe().map_err(ChaosError::io("finding this program"))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = |folder: &str| root.join(folder).display().to_string();
        let bound = max_staleness_ms.to_string();
        let mut members = Vec::new();
        for link in &world.links {
            let mut environment = vec![
                ("DATABASE_URL", link.postgres.url().to_owned()),
                ("REDIS_URL", link.redis.url().to_owned()),
                ("TASKER_CONFIG_ROOT", path("config")),
                ("TASKER_TEMPLATE_PATH", path("config/tasks")),
                ("TASKER__COMMON__CACHE__ENABLED", String::from("true")),
                ("TASKER__COMMON__CACHE__MAX_STALENESS_MS", bound.clone()),
                ("RUST_LOG", String::from("error")),
            ];
            let port = free_port()?;
            let (_, address) = PROGRAMS[members.len()];
            environment.push((address, format!("127.0.0.1:{port}")));
            members.push(Member {
                process: Mutex::new(None),
                environment,
                port,
            });
        }
        let http = Client::builder().no_proxy().timeout(REQUEST_TIMEOUT);
        Ok(Self {
            members,
            http: http.build()?,
            programs: program.parent().unwrap_or(Path::new(".")).to_owned(),
        })
    }

    /// Returns the URL of a service.
    pub(super) fn url(&self, member: usize) -> String {
        format!("http://127.0.0.1:{}", self.members[member].port)
    }

    /// Starts a member as the process with this number, and waits until it is ready: until a
    /// service says so, and until an agent has read a template.
    pub(super) async fn start(&self, member: usize, number: u16) -> Result<(), ChaosError> {
        let number_text = number.to_string();
        let environment = self.members[member].environment.iter();
        let mut environment: Vec<_> = environment
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        if AGENTS.contains(&member) {
            environment.push((agent::PROCESS, &number_text));
        }
        let (name, _) = PROGRAMS[member];
        let mut process = self.members[member].process.lock().await;
        let started = ServiceProcess::start(name, &self.programs.join(name), &environment).await?;
        let (_, started) = process.insert((number, started));
        let start = Instant::now();
        while !self.is_ready(member, started).await {
            started.check_alive()?;
            if start.elapsed() > READY_LIMIT {
                return Err(ChaosError::TooSlow {
                    what: MEMBERS[member],
                    action: "get ready",
                    seconds: READY_LIMIT.as_secs(),
                });
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    async fn is_ready(&self, member: usize, process: &ServiceProcess) -> bool {
        if AGENTS.contains(&member) {
            return process.log().lines().any(|line| line.starts_with("r "));
        }
        let url = format!("{}/health/ready", self.url(member));
        let answer = self.http.get(&url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Kills an agent. Returns its number, its output, and an error if it had ended by itself
    /// before.
    pub(super) async fn kill(
        &self,
        agent: usize,
    ) -> Result<(u16, String, Option<TestkitError>), ChaosError> {
        let process = self.members[agent].process.lock().await.take();
        let (number, process) = process.ok_or(ChaosError::Ended(MEMBERS[agent]))?;
        let lost = process.check_alive().err();
        process.kill().await?;
        Ok((number, process.log(), lost))
    }

    /// Stops a member from running for so long.
    pub(super) async fn freeze(&self, member: usize, length: Duration) -> Result<(), ChaosError> {
        if let Some((_, process)) = &*self.members[member].process.lock().await {
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
                    .and_then(|(_, process)| process.check_alive().err()),
            );
        }
        lost
    }
}
