//! A shell that cleans up after this process has ended.
//!
//! A destructor does not run when a process is killed, and an operating system's ways to end
//! children with their parent are not portable or need unsafe code. So a small shell reads from a
//! pipe that this process holds open. When the pipe closes, for any reason, the shell cleans up. It
//! has a process group of its own, so that Ctrl-C in a terminal does not reach it.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::account::Account;

const POLL: Duration = Duration::from_millis(10);
/// Longer than any script takes to clean up.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// A running shell. The other end of its standard input closes on drop, or when this process ends.
#[derive(Debug)]
pub(crate) struct HeldShell {
    shell: Child,
    /// None only during the drop.
    orders: Option<ChildStdin>,
}

impl HeldShell {
    /// Starts the script with this process's environment, extended by `environment`.
    pub(crate) fn start(
        script: &str,
        arguments: &[OsString],
        environment: &[(&str, &str)],
        account: Option<Account>,
    ) -> Result<Self> {
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
        let mut shell = shell
            .spawn()
            .map_err(|error| format!("the shell that supervises does not start: {error}"))?;
        let orders = shell.stdin.take();
        Ok(Self { shell, orders })
    }

    /// Writes a line to the shell's standard input.
    pub(crate) fn order(&self, line: &str) -> Result {
        let mut orders = self.orders.as_ref().expect("orders are taken on drop only");
        let written = orders.write_all(line.as_bytes());
        Ok(written.map_err(|error| format!("the shell that supervises has ended: {error}"))?)
    }
}

impl Drop for HeldShell {
    /// Waits until the shell has cleaned up, ten seconds at most; then it continues alone.
    fn drop(&mut self) {
        drop(self.orders.take());
        let start = Instant::now();
        while matches!(self.shell.try_wait(), Ok(None)) && start.elapsed() < END_DEADLINE {
            std::thread::sleep(POLL);
        }
    }
}
