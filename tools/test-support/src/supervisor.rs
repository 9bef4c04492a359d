//! A server program that runs under a supervisor's eyes: started, stopped, killed, frozen.
//!
//! The supervisor is the shell script beside this file; see [`HeldShell`] for why it is a shell.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::TestkitError;
use crate::account::Account;
use crate::held_shell::HeldShell;
use crate::processes;

const SCRIPT: &str = include_str!("supervisor.sh");
const POLL: Duration = Duration::from_millis(10);
/// The supervisor kills a server that has not obeyed for 5 s.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How long the processes of a killed server may take to vanish.
const VANISH_DEADLINE: Duration = Duration::from_secs(5);

/// One server program with its folder. It does not run until [`Supervised::start`]. On drop the
/// server is stopped and the folder removed.
#[derive(Debug)]
pub(crate) struct Supervised {
    program: &'static str,
    folder: PathBuf,
    shell: HeldShell,
}

impl Supervised {
    /// Hands the folder to a supervisor that will run `command` in it, when told to, and stop it
    /// with `stop_signal` (a name such as `TERM`).
    pub(crate) fn new(
        program: &'static str,
        folder: TempDir,
        account: Option<Account>,
        stop_signal: &str,
        command: &[OsString],
        environment: &[(&str, &str)],
    ) -> Result<Self, TestkitError> {
        let mut arguments: Vec<OsString> = vec![folder.path().into(), stop_signal.into()];
        arguments.extend_from_slice(command);
        let shell = HeldShell::start(SCRIPT, &arguments, environment, account)
            .map_err(|source| TestkitError::Supervisor { program, source })?;
        Ok(Self {
            program,
            folder: folder.keep(),
            shell,
        })
    }

    pub(crate) fn program(&self) -> &'static str {
        self.program
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts the server and returns when its process exists, which is before it is of any use.
    pub(crate) async fn start(&self) -> Result<(), TestkitError> {
        self.stopped().await?;
        // What the last run left behind must not be taken for news of this one.
        for file in ["pid", "exited", "frozen"] {
            match std::fs::remove_file(self.folder.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(TestkitError::Folder(error));
                }
                _ => {}
            }
        }
        self.order("start\n")?;
        let started = || self.line("pid").is_some();
        self.wait_until("start", START_DEADLINE, started).await
    }

    /// Tells the server to stop and waits until it has. Nothing happens to one that has stopped.
    pub(crate) async fn stop(&self) -> Result<(), TestkitError> {
        if self.running_pid().is_none() {
            return Ok(());
        }
        self.order("stop\n")?;
        self.stopped().await
    }

    /// Kills the server's process and its children at once, and waits until they are gone.
    pub(crate) async fn kill(&self) -> Result<(), TestkitError> {
        let pids = self.pids();
        self.signal(&pids, Signal::KILL)?;
        self.stopped().await?;
        // PostgreSQL does not start while a process of the one before it holds its shared memory.
        let start = Instant::now();
        while pids.iter().any(|pid| test_kill_process(*pid).is_ok())
            && start.elapsed() < VANISH_DEADLINE
        {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Stops the server's process and its children from running.
    pub(crate) fn freeze(&self) -> Result<(), TestkitError> {
        // Once the parent stands still there are no new children to miss.
        let parent: Vec<Pid> = self.running_pid().into_iter().collect();
        self.note_frozen(&parent)?;
        self.signal(&parent, Signal::STOP)?;
        let pids = self.pids();
        self.note_frozen(&pids)?;
        self.signal(&pids, Signal::STOP)
    }

    /// Lets the server's process and its children run on.
    pub(crate) fn thaw(&self) -> Result<(), TestkitError> {
        self.signal(&self.pids(), Signal::CONT)?;
        self.note_frozen(&[])
    }

    /// The status with which the server ended, if it has.
    pub(crate) fn exit_status(&self) -> Option<String> {
        self.line("exited")
    }

    /// Everything that the server wrote, over all its restarts.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn stopped(&self) -> Result<(), TestkitError> {
        let stopped = || self.running_pid().is_none();
        self.wait_until("stop", STOP_DEADLINE, stopped).await
    }

    async fn wait_until(
        &self,
        action: &'static str,
        deadline: Duration,
        reached: impl Fn() -> bool,
    ) -> Result<(), TestkitError> {
        let start = Instant::now();
        while !reached() {
            if start.elapsed() > deadline {
                return Err(TestkitError::too_slow(
                    self.program,
                    action,
                    deadline,
                    &self.log(),
                ));
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

    /// The server's process and its children, which may have process groups of their own.
    fn pids(&self) -> Vec<Pid> {
        let Some(parent) = self.running_pid() else {
            return Vec::new();
        };
        let mut pids = vec![parent];
        pids.extend(processes::children(parent));
        pids
    }

    /// Sends a signal to each process. One that is gone is not an error.
    fn signal(&self, pids: &[Pid], signal: Signal) -> Result<(), TestkitError> {
        pids.iter()
            .try_for_each(|pid| match kill_process(*pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(errno) => Err(TestkitError::Signal {
                    program: self.program,
                    source: errno.into(),
                }),
            })
    }

    /// Tells the supervisor which processes it has to wake before it can stop the server.
    fn note_frozen(&self, pids: &[Pid]) -> Result<(), TestkitError> {
        let list: Vec<String> = pids
            .iter()
            .map(|pid| pid.as_raw_nonzero().to_string())
            .collect();
        std::fs::write(self.folder.join("frozen"), list.join(" ")).map_err(TestkitError::Folder)
    }

    /// A file's one line, once it is written to its end.
    fn line(&self, file: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join(file)).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    }

    fn order(&self, line: &str) -> Result<(), TestkitError> {
        self.shell
            .order(line)
            .map_err(|source| TestkitError::Supervisor {
                program: self.program,
                source,
            })
    }
}
