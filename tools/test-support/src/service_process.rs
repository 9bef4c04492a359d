//! A program that must not outlive this process, and that can be stopped, killed and frozen.
//!
//! The supervisor is the shell script beside this file; [`HeldShell`] says why it is a shell.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::account::Account;
use crate::error::too_slow;
use crate::held_shell::HeldShell;
use crate::{Exited, Result, folder, ports, processes};

const SCRIPT: &str = include_str!("service_process.sh");
const POLL: Duration = Duration::from_millis(10);
/// Longer than the 5 s after which the supervisor kills a server.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const START_DEADLINE: Duration = Duration::from_secs(10);
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// Longer, because a service waits for servers that fail.
const SERVICE_DEADLINE: Duration = Duration::from_mins(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The limit for the processes of a killed server to vanish.
const VANISH_DEADLINE: Duration = Duration::from_secs(5);

/// A program with a folder of its own. On drop, or when this process ends, however it ends, the
/// program gets its stop signal, such as SIGTERM, is killed five seconds later, and its folder is
/// removed.
#[derive(Debug)]
pub struct ServiceProcess {
    program: &'static str,
    folder: PathBuf,
    shell: HeldShell,
}

impl ServiceProcess {
    /// Starts a program as the same user, with this process's environment extended by
    /// `environment`. Returns when its process exists, which is before it is ready.
    pub async fn start(
        name: &'static str,
        program: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = folder::create("tasker-service-", None)?;
        let command = [program.into()];
        let process = Self::new(name, folder, None, "TERM", &command, environment)?;
        process.run().await?;
        Ok(process)
    }

    /// Starts a service as [`start`](Self::start) does, and waits until it says that it is ready on
    /// this port, a minute at most.
    pub async fn start_ready(
        name: &'static str,
        program: &Path,
        environment: &[(&str, &str)],
        port: u16,
    ) -> Result<Self> {
        let process = Self::start(name, program, environment).await?;
        let request = "GET /health/ready HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let is_ready = async || Ok(ports::ask(port, request).await?.contains(" 200"));
        process.until(SERVICE_DEADLINE, is_ready).await?;
        Ok(process)
    }

    /// Hands the folder to a supervisor that can run `command` in it and stop it with `stop_signal`
    /// (a name such as `TERM`).
    pub(crate) fn new(
        program: &'static str,
        folder: TempDir,
        account: Option<Account>,
        stop_signal: &str,
        command: &[OsString],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let mut arguments: Vec<OsString> = vec![folder.path().into(), stop_signal.into()];
        arguments.extend_from_slice(command);
        let shell = HeldShell::start(SCRIPT, &arguments, environment, account)?;
        Ok(Self {
            program,
            folder: folder.keep(),
            shell,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs the program and returns when its process exists, which is before it is ready.
    async fn run(&self) -> Result {
        self.stopped().await?;
        // Files of the last run must not be taken for those of this one.
        for file in ["pid", "exited", "frozen"] {
            match std::fs::remove_file(self.folder.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error)?,
                _ => {}
            }
        }
        self.order("start\n")?;
        let started = async || Ok(self.line("pid").is_some());
        self.wait_until("start", START_DEADLINE, started).await
    }

    /// Stops the program in an orderly way and waits for its end. Does nothing if it has stopped.
    pub async fn stop(&self) -> Result {
        if self.running_pid().is_none() {
            return Ok(());
        }
        self.order("stop\n")?;
        self.stopped().await
    }

    /// Kills the program and its children at once, and waits until they are gone. Connections are
    /// closed; new ones are refused.
    pub async fn kill(&self) -> Result {
        let pids = self.pids();
        self.signal(&pids, Signal::KILL)?;
        self.stopped().await?;
        // PostgreSQL does not start while an old process holds its shared memory.
        let start = Instant::now();
        while pids.iter().any(|pid| test_kill_process(*pid).is_ok())
            && start.elapsed() < VANISH_DEADLINE
        {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Suspends the program and its children: connections stay open, the kernel accepts new ones,
    /// and nothing is answered.
    pub fn freeze(&self) -> Result {
        // A suspended parent starts no new children.
        let parent: Vec<Pid> = self.running_pid().into_iter().collect();
        self.note_frozen(&parent)?;
        self.signal(&parent, Signal::STOP)?;
        let pids = self.pids();
        self.note_frozen(&pids)?;
        self.signal(&pids, Signal::STOP)
    }

    /// Resumes a frozen program. It then executes everything that was sent to it meanwhile.
    pub fn thaw(&self) -> Result {
        self.signal(&self.pids(), Signal::CONT)?;
        self.note_frozen(&[])
    }

    /// Returns the exit status of a program that has ended.
    fn exit_status(&self) -> Option<String> {
        self.line("exited")
    }

    /// Returns everything that the program wrote, over all its restarts.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts the program again, after stopping it if it runs, and waits until the probe returns
    /// true. Fails at once if the program ends instead.
    pub(crate) async fn restart_until(&self, probe: impl AsyncFn() -> Result<bool>) -> Result {
        self.stop().await?;
        self.run().await?;
        self.until(READY_DEADLINE, probe).await
    }

    async fn until(&self, deadline: Duration, probe: impl AsyncFn() -> Result<bool>) -> Result {
        let is_ready = async || {
            self.check_alive()?;
            let answer = tokio::time::timeout(PROBE_TIMEOUT, probe()).await;
            let is_ready = matches!(answer, Ok(Ok(true)));
            if is_ready {
                // Another process may have answered on the port of one that has ended.
                self.check_alive()?;
            }
            Ok(is_ready)
        };
        self.wait_until("get ready", deadline, is_ready).await
    }

    /// Fails, with the end of the log, if the program has ended.
    pub fn check_alive(&self) -> Result<(), Exited> {
        match self.exit_status() {
            None => Ok(()),
            Some(status) => Err(Exited::new(self.program, status, &self.log())),
        }
    }

    async fn stopped(&self) -> Result {
        let stopped = async || Ok(self.running_pid().is_none());
        self.wait_until("stop", STOP_DEADLINE, stopped).await
    }

    /// Waits until `reached` returns true. `action` names that for the error.
    pub(crate) async fn wait_until(
        &self,
        action: &'static str,
        deadline: Duration,
        reached: impl AsyncFn() -> Result<bool>,
    ) -> Result {
        let start = Instant::now();
        while !reached().await? {
            if start.elapsed() > deadline {
                return Err(too_slow(self.program, action, deadline, &self.log()));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn running_pid(&self) -> Option<Pid> {
        if self.exit_status().is_some() {
            return None;
        }
        Pid::from_raw(self.line("pid")?.parse().ok()?)
    }

    /// Returns the folder below `/proc` of the running program.
    #[must_use]
    pub fn proc_folder(&self) -> Option<String> {
        let pid = self.running_pid()?;
        Some(format!("/proc/{}", pid.as_raw_nonzero()))
    }

    /// Returns the program's process and its children, which may have process groups of their own.
    fn pids(&self) -> Vec<Pid> {
        let Some(parent) = self.running_pid() else {
            return Vec::new();
        };
        let mut pids = vec![parent];
        pids.extend(processes::children(parent));
        pids
    }

    /// Sends a signal to each process. Skips those that have ended.
    fn signal(&self, pids: &[Pid], signal: Signal) -> Result {
        pids.iter()
            .try_for_each(|pid| match kill_process(*pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(errno) => Err(format!("{} cannot be signalled: {errno}", self.program).into()),
            })
    }

    /// Lists the processes that the supervisor has to resume before it can stop the server.
    fn note_frozen(&self, pids: &[Pid]) -> Result {
        let list: Vec<String> = pids
            .iter()
            .map(|pid| pid.as_raw_nonzero().to_string())
            .collect();
        Ok(std::fs::write(self.folder.join("frozen"), list.join(" "))?)
    }

    /// Returns the line in a file once it is complete.
    fn line(&self, file: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join(file)).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    }

    fn order(&self, line: &str) -> Result {
        self.shell.order(line)
    }
}
