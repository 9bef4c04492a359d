//! The time until another process resolves a change.

use super::changes_of;
use super::history::{History, REGISTERED};
use super::timeline::Timeline;

/// Returns nanoseconds from the acknowledgement of a write to the end of the first read that saw it
/// or a later one, ascending: for each SQL write to `template` that was acknowledged within one of
/// `windows`, and each process of a member that `counts`. The history must have been judged,
/// because that sorts it.
pub(crate) fn measure(
    history: &History,
    template: u16,
    windows: &[(u64, u64)],
    counts: impl Fn(usize) -> bool,
) -> Vec<u64> {
    let start = history
        .reads
        .partition_point(|read| read.template < template);
    let end = history
        .reads
        .partition_point(|read| read.template <= template);
    let reads = &history.reads[start..end];
    let changes = changes_of(&history.changes, template);
    let timeline = Timeline::new(changes, &history.writes, reads);
    let mut delays = Vec::new();
    for reads in reads.chunk_by(|one, other| one.process == other.process) {
        if !counts(history.processes[usize::from(reads[0].process)].member) {
            continue;
        }
        // The positions at which this process was seen, by time.
        let seen: Vec<_> = reads
            .iter()
            .filter_map(|read| {
                let position = timeline.latest(read.answer.state()?, read.end)?;
                Some((read.start, read.end, position))
            })
            .collect();
        for (number, position) in timeline.positions() {
            let write = history.writes.get(&number);
            let sql = write.filter(|write| write.kind != REGISTERED);
            let Some((start, acknowledged)) =
                sql.and_then(|write| Some((write.start, write.acknowledged?)))
            else {
                continue;
            };
            let within = |(from, to): &(u64, u64)| (*from..*to).contains(&acknowledged);
            if !windows.iter().any(within) {
                continue;
            }
            let from = seen.partition_point(|(began, _, _)| *began < start);
            if from == 0 {
                // The process was started later.
                continue;
            }
            let first = seen[from..].iter().find(|(_, _, at)| *at >= position);
            delays.extend(first.map(|(_, end, _)| end.saturating_sub(acknowledged)));
        }
    }
    delays.sort_unstable();
    delays
}
