//! A server process that cannot outlive us.
//!
//! A destructor does not run when a process is killed, and the ways in which an operating system
//! could end children with their parent are either not portable or need unsafe code. So each
//! server has a small shell as its parent, and the shell reads orders from a pipe that we hold.
//! When the pipe closes, for whatever reason, the shell stops the server and removes its files.
//! The shell has a process group of its own, so that Ctrl-C in a terminal reaches us and not it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::TestkitError;
use crate::account::Account;

const SCRIPT: &str = include_str!("supervisor.sh");
const POLL: Duration = Duration::from_millis(10);
/// The supervisor kills a server that has not obeyed for 5 s.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How much of a log an error carries.
const LOG_TAIL: usize = 4000;

/// One server program with its folder. It does not run until [`Supervised::start`].
#[derive(Debug)]
pub(crate) struct Supervised {
    program: &'static str,
    folder: PathBuf,
    shell: Child,
    /// None only while being dropped.
    orders: Option<ChildStdin>,
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
    ) -> Result<Self, TestkitError> {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", SCRIPT, "supervisor"])
            .arg(folder.path())
            .arg(stop_signal)
            .args(command)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        // PGDATA, PGPORT and their like would change what the server does.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                shell.env_remove(name);
            }
        }
        if let Some(Account { uid, gid }) = account {
            shell.uid(uid).gid(gid);
        }
        let mut shell = shell
            .spawn()
            .map_err(|source| TestkitError::Supervisor { program, source })?;
        let orders = shell.stdin.take();
        Ok(Self {
            program,
            folder: folder.keep(),
            shell,
            orders,
        })
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
        self.wait_until("start", START_DEADLINE, || {
            self.running_pid().is_some() || self.exit_status().is_some()
        })
        .await
    }

    /// Tells the server to stop and waits until it has. Nothing happens to one that has stopped.
    pub(crate) async fn stop(&self) -> Result<(), TestkitError> {
        if self.running_pid().is_none() {
            return Ok(());
        }
        self.order("stop\n")?;
        self.stopped().await
    }

    /// Waits until the server's process is gone, if there ever was one.
    pub(crate) async fn stopped(&self) -> Result<(), TestkitError> {
        self.wait_until("stop", STOP_DEADLINE, || self.running_pid().is_none())
            .await
    }

    /// The process, while it runs.
    pub(crate) fn running_pid(&self) -> Option<Pid> {
        if self.exit_status().is_some() {
            return None;
        }
        Pid::from_raw(self.line("pid")?.parse().ok()?)
    }

    /// Fails if the server has ended.
    pub(crate) fn check_alive(&self) -> Result<(), TestkitError> {
        match self.exit_status() {
            None => Ok(()),
            Some(status) => Err(TestkitError::Exited {
                program: self.program,
                status,
                log: self.log_tail(),
            }),
        }
    }

    /// Sends a signal to the server's process, if it runs.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), TestkitError> {
        match self.running_pid() {
            Some(pid) => self.signal_one(pid, signal),
            None => Ok(()),
        }
    }

    /// Sends a signal to a process of the server's. One that is gone is not an error.
    pub(crate) fn signal_one(&self, pid: Pid, signal: Signal) -> Result<(), TestkitError> {
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(self.signal_error(errno.into())),
        }
    }

    /// Tells the supervisor which processes it has to wake before it can stop the server.
    pub(crate) fn note_frozen(&self, pids: &[Pid]) -> Result<(), TestkitError> {
        let list: Vec<String> = pids
            .iter()
            .map(|pid| pid.as_raw_nonzero().to_string())
            .collect();
        std::fs::write(self.folder.join("frozen"), list.join(" "))
            .map_err(|source| self.signal_error(source))
    }

    /// Waits for a condition that concerns this server, polled every few milliseconds.
    pub(crate) async fn wait_until(
        &self,
        action: &'static str,
        deadline: Duration,
        mut reached: impl FnMut() -> bool,
    ) -> Result<(), TestkitError> {
        let start = Instant::now();
        while !reached() {
            if start.elapsed() > deadline {
                return Err(self.too_slow(action, deadline));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    pub(crate) fn too_slow(&self, action: &'static str, deadline: Duration) -> TestkitError {
        TestkitError::TooSlow {
            program: self.program,
            action,
            seconds: deadline.as_secs(),
            log: self.log_tail(),
        }
    }

    /// Everything that the server wrote, over all its restarts.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let start = log.len().saturating_sub(LOG_TAIL);
        log[log.ceil_char_boundary(start)..].to_owned()
    }

    fn exit_status(&self) -> Option<String> {
        self.line("exited")
    }

    /// A file's one line, once it is written to its end.
    fn line(&self, file: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join(file)).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    }

    fn order(&self, line: &str) -> Result<(), TestkitError> {
        let mut orders = self.orders.as_ref().expect("orders are taken on drop only");
        orders
            .write_all(line.as_bytes())
            .map_err(|source| TestkitError::Supervisor {
                program: self.program,
                source,
            })
    }

    fn signal_error(&self, source: io::Error) -> TestkitError {
        TestkitError::Signal {
            program: self.program,
            source,
        }
    }
}

impl Drop for Supervised {
    /// Blocks until the server and its folder are gone, or for ten seconds: then the supervisor
    /// goes on without us.
    fn drop(&mut self) {
        drop(self.orders.take());
        let start = Instant::now();
        while matches!(self.shell.try_wait(), Ok(None)) && start.elapsed() < STOP_DEADLINE {
            std::thread::sleep(POLL);
        }
    }
}
