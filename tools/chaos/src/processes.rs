//! The processes of a run, each with its own link to the servers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Client;
use tasker_test_support::{Exited, ServiceProcess, free_port};
use tokio::sync::Mutex;

use crate::error::Result;
use crate::steps::levels::Levels;
use crate::world::World;

/// Longer than any fault lasts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The variables with the addresses of services.
pub(crate) const WORKER_ADDRESS: &str = "TASKER__WORKER__WEB__BIND_ADDRESS";
pub(crate) const ORCHESTRATION_ADDRESS: &str = "TASKER__ORCHESTRATION__WEB__BIND_ADDRESS";

/// A member of a run. It is one process at a time.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    /// The variable with the address of a service. Other members count as ready when they run.
    pub(crate) address: Option<&'static str>,
    /// The variable that has the number of the process.
    pub(crate) numbered_by: Option<&'static str>,
    /// Further variables.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// The way in which a process is ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Kill,
    /// With SIGTERM.
    Stop,
}

pub(crate) struct Processes {
    slots: Vec<Slot>,
    pub(crate) http: Client,
    programs: PathBuf,
}

struct Slot {
    member: Member,
    process: Mutex<Option<(u16, ServiceProcess)>>,
    port: u16,
}

impl Slot {
    fn ended(&self) -> String {
        format!("{} ended before it was stopped", self.member.name)
    }
}

impl Processes {
    /// Prepares all members, one for each link of the world. [`Processes::start`] starts each.
    pub(crate) fn new(world: &World, members: Vec<Member>) -> Result<Self> {
        let program = std::env::current_exe()?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = |folder: &str| root.join(folder).display().to_string();
        let mut slots = Vec::new();
        for (link, mut member) in world.links.iter().zip(members) {
            let port = free_port()?;
            member.environment.extend([
                ("DATABASE_URL", link.postgres.url().to_owned()),
                ("REDIS_URL", link.redis.url().to_owned()),
                ("TASKER_CONFIG_ROOT", path("config")),
                ("TASKER_TEMPLATE_PATH", path("config/tasks")),
                ("TASKER__COMMON__CACHE__ENABLED", String::from("true")),
            ]);
            let address = member
                .address
                .map(|name| (name, format!("127.0.0.1:{port}")));
            member.environment.extend(address);
            slots.push(Slot {
                member,
                process: Mutex::new(None),
                port,
            });
        }
        let http = Client::builder().no_proxy().timeout(REQUEST_TIMEOUT);
        Ok(Self {
            slots,
            http: http.build()?,
            programs: program.parent().unwrap_or(Path::new(".")).to_owned(),
        })
    }

    /// Returns the URL of a service.
    pub(crate) fn url(&self, member: usize) -> String {
        format!("http://127.0.0.1:{}", self.slots[member].port)
    }

    /// Starts a member as the process with this number, and waits until it is ready.
    pub(crate) async fn start(&self, member: usize, number: u16) -> Result {
        let number_text = number.to_string();
        let slot = &self.slots[member];
        let mut environment: Vec<_> = slot
            .member
            .environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        environment.extend(slot.member.numbered_by.map(|name| (name, &*number_text)));
        let name = slot.member.program;
        let mut process = slot.process.lock().await;
        let program = self.programs.join(name);
        let started = match slot.member.address {
            Some(_) => ServiceProcess::start_ready(name, &program, &environment, slot.port).await?,
            None => ServiceProcess::start(name, &program, &environment).await?,
        };
        *process = Some((number, started));
        Ok(())
    }

    /// Ends the process of a member. Returns its number, its output, and an error if it had ended by
    /// itself before.
    pub(crate) async fn end(
        &self,
        member: usize,
        ending: Ending,
    ) -> Result<(u16, String, Option<Exited>)> {
        let slot = &self.slots[member];
        let process = slot.process.lock().await.take();
        let (number, process) = process.ok_or_else(|| slot.ended())?;
        let lost = process.check_alive().err();
        match ending {
            Ending::Kill => process.kill().await?,
            Ending::Stop => process.stop().await?,
        }
        Ok((number, process.log(), lost))
    }

    /// Stops a member from running for so long.
    pub(crate) async fn freeze(&self, member: usize, length: Duration) -> Result {
        let process = self.slots[member].process.lock().await;
        if let Some((_, process)) = &*process {
            process.freeze()?;
            tokio::time::sleep(length).await;
            process.thaw()?;
        }
        Ok(())
    }

    /// Reads the levels of all processes.
    pub(crate) async fn add_levels(&self, levels: &mut Levels) -> Result {
        for slot in &self.slots {
            let process = slot.process.lock().await;
            let running = process.as_ref().and_then(|(_, it)| it.proc_folder());
            let folder = running.ok_or_else(|| slot.ended())?;
            levels.add_process(slot.member.name, &folder)?;
        }
        Ok(())
    }
}
