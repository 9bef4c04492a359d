//! CPU time of the processes that this one started, PostgreSQL's included.

use std::collections::HashMap;
use std::fs;

/// The clock of `/proc` on Linux, in ticks a second.
const TICKS: f64 = 100.0;

/// One line of `/proc/PID/stat`.
struct Process {
    pid: u32,
    parent: u32,
    /// Its own time and that of its children that have ended, in ticks.
    ticks: u64,
}

/// Returns the CPU time in seconds that all descendants of this process have used, without this
/// process itself, which is the client.
pub(super) fn of_servers() -> f64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for entry in entries {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(process) = parse(&stat) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut ticks = 0;
    let mut parents = vec![std::process::id()];
    while let Some(parent) = parents.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            ticks += process.ticks;
            parents.push(process.pid);
        }
    }
    ticks as f64 / TICKS
}

/// Returns the memory of the services whose environment has all of `variables`, in MiB.
pub(super) fn resident_mib(variables: &[String]) -> f64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let pages: u64 = entries
        .filter(|entry| {
            // Not the shells that supervise them, which have the same environment.
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let has = |variable: &String| {
                let mut held = environment.split(|byte| *byte == 0);
                held.any(|one| one == variable.as_bytes())
            };
            name == own && variables.iter().all(has)
        })
        .filter_map(|entry| {
            let statm = fs::read_to_string(entry.path().join("statm")).ok()?;
            statm.split(' ').nth(1)?.parse::<u64>().ok()
        })
        .sum();
    pages as f64 * 4096.0 / (1024.0 * 1024.0)
}

/// Reads `pid (name) state parent …`, in which the name may contain parentheses too.
fn parse(stat: &str) -> Option<Process> {
    let (head, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // utime, stime, cutime and cstime.
    let times = fields.get(11..15)?;
    Some(Process {
        pid: head.split(' ').next()?.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: times
            .iter()
            .filter_map(|time| time.parse::<u64>().ok())
            .sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_of_a_process_and_of_its_ended_children_are_added() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0";
        let process = parse(stat).expect("a line of the kernel's");
        assert_eq!((process.pid, process.parent, process.ticks), (7, 3, 100));
    }
}
