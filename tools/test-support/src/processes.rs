//! The processes that a process has started.

use rustix::process::Pid;

/// Returns the children of a process. Returns none where there is no `/proc`.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| {
        let pid = parse(entry.file_name().to_str()?)?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // `pid (name) state parent`, in which the name may contain parentheses too.
        let (_, rest) = stat.rsplit_once(')')?;
        Some((pid, parse(rest.split_whitespace().nth(1)?)?))
    });
    processes
        .filter(|(_, of)| *of == parent)
        .map(|(pid, _)| pid)
        .collect()
}

fn parse(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}
