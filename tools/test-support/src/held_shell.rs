//! A shell that cleans up after us when we are gone.
//!
//! A destructor does not run when a process is killed, and the ways in which an operating system
//! could end children with their parent are either not portable or need unsafe code. So whatever
//! must not outlive us is in the care of a small shell that reads a pipe which we hold. When the
//! pipe closes, for whatever reason, the shell does its last work. It has a process group of its
//! own, so that Ctrl-C in a terminal reaches us and not it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::account::Account;

const POLL: Duration = Duration::from_millis(10);
/// Longer than any of the scripts gives the thing that it ends.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// A running shell. The other end of its standard input closes on drop, or when this process ends.
#[derive(Debug)]
pub(crate) struct HeldShell {
    shell: Child,
    /// None only while being dropped.
    orders: Option<ChildStdin>,
}

impl HeldShell {
    /// The shell has our environment with `environment` above it.
    pub(crate) fn start(
        script: &str,
        arguments: &[OsString],
        environment: &[(&str, &str)],
        account: Option<Account>,
    ) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", script, "held-shell"])
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        if let Some(Account { uid, gid }) = account {
            shell.uid(uid).gid(gid);
        }
        let mut shell = shell.spawn()?;
        let orders = shell.stdin.take();
        Ok(Self { shell, orders })
    }

    /// Writes a line to the shell's standard input.
    pub(crate) fn order(&self, line: &str) -> io::Result<()> {
        let mut orders = self.orders.as_ref().expect("orders are taken on drop only");
        orders.write_all(line.as_bytes())
    }
}

impl Drop for HeldShell {
    /// Blocks until the shell has done its last work, or for ten seconds: then it goes on alone.
    fn drop(&mut self) {
        drop(self.orders.take());
        let start = Instant::now();
        while matches!(self.shell.try_wait(), Ok(None)) && start.elapsed() < END_DEADLINE {
            std::thread::sleep(POLL);
        }
    }
}
