//! Processes of this machine, as `/proc` shows them. There are none where there is no `/proc`.

use std::fs;

use rustix::process::{Pid, getpid};

/// The clock of `/proc` on Linux, in ticks a second.
const TICKS: f64 = 100.0;

/// One line of `/proc/PID/stat`.
struct Process {
    pid: Pid,
    parent: Option<Pid>,
    /// Its own time and that of its children that have ended, in ticks.
    ticks: u64,
}

/// Returns the children of a process.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let children = all().filter(|process| process.parent == Some(parent));
    children.map(|process| process.pid).collect()
}

/// Returns the CPU time in seconds that all descendants of this process have used, without this
/// process itself.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "ticks of years fit")]
pub fn cpu_seconds_of_descendants() -> f64 {
    let processes: Vec<_> = all().collect();
    let (mut ticks, mut parents) = (0, vec![getpid()]);
    while let Some(parent) = parents.pop() {
        for child in processes.iter().filter(|it| it.parent == Some(parent)) {
            ticks += child.ticks;
            parents.push(child.pid);
        }
    }
    ticks as f64 / TICKS
}

/// Returns the resident memory in KiB of the process with this folder below `/proc`.
#[must_use]
pub fn resident_kib(folder: &str) -> Option<usize> {
    let status = fs::read_to_string(format!("{folder}/status")).ok()?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    resident?.parse().ok()
}

fn all() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| parse(&fs::read_to_string(entry.path().join("stat")).ok()?))
}

/// Reads `pid (name) state parent …`, in which the name may contain parentheses too.
fn parse(stat: &str) -> Option<Process> {
    let (head, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // utime, stime, cutime and cstime.
    let times = fields.get(11..15)?.iter();
    Some(Process {
        pid: Pid::from_raw(head.split(' ').next()?.parse().ok()?)?,
        parent: Pid::from_raw(fields.get(1)?.parse().ok()?),
        ticks: times.filter_map(|time| time.parse::<u64>().ok()).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_of_a_process_and_of_its_ended_children_are_added() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0";
        let process = parse(stat).expect("a line of the kernel's");
        let parent = process.parent.map(|pid| pid.as_raw_nonzero().get());
        let pid = process.pid.as_raw_nonzero().get();
        assert_eq!((pid, parent, process.ticks), (7, Some(3), 100));
    }
}
