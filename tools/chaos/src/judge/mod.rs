//! The judge: a pure function over a history. It shares no code with the registry.
//!
//! A read is right if its content may have been current at a moment that is no earlier than the
//! bound before the read began, and no later than its end. An answer may be late, because content
//! can be replaced while the answer is on its way. The only slack beyond the bound is therefore
//! the duration of the read, which also covers a process that is frozen in the middle of it. "Not
//! found" has no bound: it must be true at some moment during the read.
//!
//! The answers of one process never go back, and they are never older than its own writes. If the
//! history leaves open when a commit happened, the judge decides for the reader.

pub(crate) mod history;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::HashMap;

use history::{Answer, Change, History, Read, Write};
use strum::{Display, VariantArray};
use timeline::Timeline;

/// A way in which a read is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Display, VariantArray)]
pub(crate) enum Rule {
    #[strum(to_string = "older than the bound")]
    Stale,
    #[strum(to_string = "not found, but there")]
    FalselyAbsent,
    #[strum(to_string = "never written under this name")]
    NeverWritten,
    #[strum(to_string = "of a write not yet begun")]
    NotYetWritten,
    #[strum(to_string = "went back within a process")]
    WentBack,
    #[strum(to_string = "own write not seen")]
    OwnWriteMissed,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) read: Read,
    /// The write that replaced the content, if it is known.
    pub(crate) successor: Option<u32>,
    /// For how many nanoseconds the content had been replaced when the read began.
    pub(crate) outdated_for: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    /// For each answered read: nanoseconds for which the answer had been outdated when the read
    /// began. Ascending.
    pub(crate) staleness: Vec<u64>,
    /// The same when the read ended. Ascending.
    pub(crate) staleness_at_end: Vec<u64>,
}

/// Judges a history by a bound in nanoseconds. Sorts it by template.
pub(crate) fn judge(history: &mut History, bound: u64) -> Verdict {
    history
        .reads
        .sort_by_key(|read| (read.template, read.process, read.start));
    history.changes.sort_by_key(|change| change.template);
    let mut verdict = Verdict::default();
    for reads in history.reads.chunk_by(|a, b| a.template == b.template) {
        let changes = changes_of(&history.changes, reads[0].template);
        let timeline = Timeline::new(changes, &history.writes, reads);
        for reads in reads.chunk_by(|a, b| a.process == b.process) {
            let process = reads[0].process;
            let reader = Reader {
                timeline: &timeline,
                bound,
                absence_is_newer: history.processes[usize::from(process)].absence_is_newer,
                own: own_writes(&timeline, &history.writes, process),
            };
            reader.judge(reads, &mut verdict);
        }
    }
    verdict.staleness.sort_unstable();
    verdict.staleness_at_end.sort_unstable();
    verdict
}

/// Returns the part of `changes`, sorted by template, that is about this one.
fn changes_of(changes: &[Change], template: u16) -> &[Change] {
    let start = changes.partition_point(|change| change.template < template);
    let end = changes.partition_point(|change| change.template <= template);
    &changes[start..end]
}

/// Returns when each write of this process was acknowledged, and its position, by time.
fn own_writes(
    timeline: &Timeline,
    writes: &HashMap<u32, Write>,
    process: u16,
) -> Vec<(u64, usize)> {
    let mut own: Vec<_> = timeline
        .positions()
        .filter_map(|(number, position)| {
            let write = writes.get(&number)?;
            let own = write.process == Some(process);
            Some((write.acknowledged.filter(|_| own)?, position))
        })
        .collect();
    own.sort_unstable();
    own
}

/// The reads of one template in one process.
struct Reader<'a> {
    timeline: &'a Timeline,
    bound: u64,
    absence_is_newer: bool,
    own: Vec<(u64, usize)>,
}

impl Reader<'_> {
    /// Judges `reads`, which are in the order in which they began.
    fn judge(&self, reads: &[Read], verdict: &mut Verdict) {
        let mut ended = self.ended(reads).into_iter().peekable();
        let mut written = self.own.iter().peekable();
        let (mut answered, mut own) = (0, 0);
        for read in reads {
            while let Some((_, position)) = ended.next_if(|(end, _)| *end < read.start) {
                answered = answered.max(position);
            }
            while let Some((_, position)) = written.next_if(|(end, _)| *end < read.start) {
                own = own.max(*position);
            }
            let Some(content) = read.answer.state() else {
                continue;
            };
            let mut violate = |rule, successor, outdated_for| {
                verdict.violations.push(Violation {
                    rule,
                    read: *read,
                    successor,
                    outdated_for,
                });
            };
            let Some(position) = self.timeline.latest(content, read.end) else {
                let known = self.timeline.knows(content);
                let rule = if known {
                    Rule::NotYetWritten
                } else {
                    Rule::NeverWritten
                };
                violate(rule, None, 0);
                continue;
            };
            let outdated_for = self.timeline.outdated_for(position, read.start);
            for (rule, broken) in [
                (Rule::FalselyAbsent, content.is_none() && outdated_for > 0),
                (Rule::Stale, content.is_some() && outdated_for > self.bound),
                (Rule::WentBack, position < answered),
                (Rule::OwnWriteMissed, position < own),
            ] {
                if broken {
                    violate(rule, self.timeline.successor(position), outdated_for);
                }
            }
            verdict.staleness.push(outdated_for);
            let at_end = self.timeline.outdated_for(position, read.end);
            verdict.staleness_at_end.push(at_end);
        }
    }

    /// Returns when reads ended, and the earliest position of their answers, by time.
    fn ended(&self, reads: &[Read]) -> Vec<(u64, usize)> {
        let mut ended: Vec<_> = reads
            .iter()
            .filter(|read| !(self.absence_is_newer && read.answer == Answer::Absent))
            .filter_map(|read| {
                let content = read.answer.state()?;
                let latest = self.timeline.latest(content, read.end)?;
                let bound = if content.is_none() { 0 } else { self.bound };
                let since = read.start.saturating_sub(bound);
                Some((read.end, self.timeline.earliest(content, since, latest)))
            })
            .collect();
        ended.sort_unstable();
        ended
    }
}
