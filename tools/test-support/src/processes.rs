//! Which processes a process has started.

use std::path::Path;
use std::process::Command;

use rustix::process::Pid;

/// The children of a process, as far as they can be known.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let pairs = if Path::new("/proc/self/stat").exists() {
        from_proc()
    } else {
        from_ps()
    };
    pairs
        .into_iter()
        .filter(|(_, of)| *of == parent)
        .map(|(pid, _)| pid)
        .collect()
}

/// Every process with its parent, from Linux's process file system: small images have no `ps`.
fn from_proc() -> Vec<(Pid, Pid)> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = parse(entry.file_name().to_str()?)?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // `pid (name) state ppid`, where the name may hold anything, parentheses too.
            let (_, rest) = stat.rsplit_once(')')?;
            Some((pid, parse(rest.split_whitespace().nth(1)?)?))
        })
        .collect()
}

fn from_ps() -> Vec<(Pid, Pid)> {
    let output = Command::new("ps")
        .args(["-A", "-o", "pid=", "-o", "ppid="])
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            Some((parse(columns.next()?)?, parse(columns.next()?)?))
        })
        .collect()
}

fn parse(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}
