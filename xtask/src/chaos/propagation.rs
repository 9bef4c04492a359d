//! How long a change takes to be resolved in another process.

use super::history::{History, WriteKind};
use super::judge::changes_of;
use super::templates::WATCHED;
use super::timeline::Timeline;

/// For each write by hand to the watched template that was acknowledged within one of `windows`,
/// and each process of which `counts` says so: nanoseconds from the acknowledgement to the end of
/// the first read that saw it, or a later one. Ascending. The history must have been judged, which
/// sorts it.
pub(super) fn measure(
    history: &History,
    windows: &[(u64, u64)],
    counts: impl Fn(usize) -> bool,
) -> Vec<u64> {
    let reads = &history.reads[..history
        .reads
        .partition_point(|read| read.template == WATCHED)];
    let changes = changes_of(&history.changes, WATCHED);
    let timeline = Timeline::new(changes, &history.writes, reads);
    let mut delays = Vec::new();
    for reads in reads.chunk_by(|one, other| one.process == other.process) {
        if !counts(history.processes[usize::from(reads[0].process)].slot) {
            continue;
        }
        // The first moment at which this process was seen to be at this place or beyond.
        let seen: Vec<_> = reads
            .iter()
            .filter_map(|read| {
                let place = timeline.latest(read.answer.state()?, read.end)?;
                Some((read.start, read.end, place))
            })
            .collect();
        for (number, place) in timeline.places() {
            let write = &history.writes[number as usize];
            let by_hand = write.kind != WriteKind::Registered;
            let Some(acknowledged) = write.acknowledged.filter(|_| by_hand) else {
                continue;
            };
            let within = |(start, end): &(u64, u64)| (*start..*end).contains(&acknowledged);
            if !windows.iter().any(within) {
                continue;
            }
            let from = seen.partition_point(|(start, _, _)| *start < write.start);
            if from == 0 {
                // The process was started later.
                continue;
            }
            let first = seen[from..].iter().find(|(_, _, at)| *at >= place);
            delays.extend(first.map(|(_, end, _)| end.saturating_sub(acknowledged)));
        }
    }
    delays.sort_unstable();
    delays
}
