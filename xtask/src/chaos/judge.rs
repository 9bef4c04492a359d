//! The judge: a pure function over a history, which knows nothing of how Tasker works.
//!
//! A read that answered some content is right if the content may have been current at a moment
//! that is no earlier than the bound before the read began, and no later than its end. An answer
//! may be late: what was current when the reader asked may be replaced while the answer is on its
//! way. So the slack that a reader sees beyond the bound is the duration of its own read, and
//! nothing else; a process that is frozen in the middle of a read is covered by that as well.
//! "Not found" has no bound: it has to be true at some moment during the read.
//!
//! Beyond that, what one process answers never goes back, and it is not older than what the
//! process itself has written. Wherever the history leaves open when a commit happened, the judge
//! decides for the reader.

use super::history::{Answer, Change, History, Read, Write};
use super::timeline::Timeline;

/// What a read can do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// The content was replaced longer ago than the bound.
    Stale,
    /// "Not found" of a template that was there all the time.
    FalselyAbsent,
    /// The content was never committed under this name.
    NeverWritten,
    /// The content was read before anybody had asked for its commit.
    NotYetWritten,
    /// The process had answered a newer content before.
    WentBack,
    /// The process had written a newer content before.
    OwnWriteMissed,
}

impl Rule {
    pub(super) const ALL: [Self; 6] = [
        Self::Stale,
        Self::FalselyAbsent,
        Self::NeverWritten,
        Self::NotYetWritten,
        Self::WentBack,
        Self::OwnWriteMissed,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Stale => "older than the bound",
            Self::FalselyAbsent => "not found, but there",
            Self::NeverWritten => "content never written under this name",
            Self::NotYetWritten => "content of a write not yet begun",
            Self::WentBack => "went back within a process",
            Self::OwnWriteMissed => "own write not seen",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Violation {
    pub(super) rule: Rule,
    pub(super) read: Read,
    /// What replaced the answered content, as far as it is known.
    pub(super) successor: Option<u32>,
    /// How long that had been so when the read began, in nanoseconds.
    pub(super) outdated_for: u64,
}

#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) violations: Vec<Violation>,
    /// For each read that was answered, in nanoseconds: how long the answer had been outdated when
    /// the read began. Ascending.
    pub(super) staleness: Vec<u64>,
    /// The same when the answer came. Ascending.
    pub(super) staleness_at_end: Vec<u64>,
}

/// Judges a history by a bound in nanoseconds. Sorts it by template.
pub(super) fn judge(history: &mut History, bound: u64) -> Verdict {
    history
        .reads
        .sort_by_key(|read| (read.template, read.process, read.start));
    history.changes.sort_by_key(|change| change.template);
    let mut verdict = Verdict::default();
    for reads in history
        .reads
        .chunk_by(|one, other| one.template == other.template)
    {
        let changes = changes_of(&history.changes, reads[0].template);
        let timeline = Timeline::new(changes, &history.writes, reads);
        for reads in reads.chunk_by(|one, other| one.process == other.process) {
            let process = reads[0].process;
            let court = Court {
                timeline: &timeline,
                bound,
                absence_is_newer: history.processes[usize::from(process)].absence_is_newer,
                own: own_writes(&timeline, &history.writes, process),
            };
            court.hear(reads, &mut verdict);
        }
    }
    verdict.staleness.sort_unstable();
    verdict.staleness_at_end.sort_unstable();
    verdict
}

/// The part of `changes`, sorted by template, that is about this one.
pub(super) fn changes_of(changes: &[Change], template: u16) -> &[Change] {
    let start = changes.partition_point(|change| change.template < template);
    let end = changes.partition_point(|change| change.template <= template);
    &changes[start..end]
}

/// When this process was told that its writes are committed, and where they are, by time.
fn own_writes(timeline: &Timeline, writes: &[Write], process: u16) -> Vec<(u64, usize)> {
    let mut own: Vec<_> = timeline
        .places()
        .filter_map(|(number, place)| {
            let write = &writes[number as usize];
            let own = write.process == Some(process);
            Some((write.acknowledged.filter(|_| own)?, place))
        })
        .collect();
    own.sort_unstable();
    own
}

/// One template in one process.
struct Court<'a> {
    timeline: &'a Timeline,
    bound: u64,
    absence_is_newer: bool,
    own: Vec<(u64, usize)>,
}

impl Court<'_> {
    /// `reads` are in the order in which they began.
    fn hear(&self, reads: &[Read], verdict: &mut Verdict) {
        let mut ended = self.ended(reads).into_iter().peekable();
        let mut written = self.own.iter().peekable();
        let (mut answered, mut own) = (0, 0);
        for read in reads {
            while let Some((_, place)) = ended.next_if(|(end, _)| *end < read.start) {
                answered = answered.max(place);
            }
            while let Some((_, place)) = written.next_if(|(end, _)| *end < read.start) {
                own = own.max(*place);
            }
            let Some(content) = read.answer.state() else {
                continue;
            };
            let Some(place) = self.timeline.latest(content, read.end) else {
                let rule = if self.timeline.knows(content) {
                    Rule::NotYetWritten
                } else {
                    Rule::NeverWritten
                };
                verdict.violations.push(Violation {
                    rule,
                    read: *read,
                    successor: None,
                    outdated_for: 0,
                });
                continue;
            };
            let outdated_for = self.timeline.outdated_for(place, read.start);
            verdict.staleness.push(outdated_for);
            let at_end = self.timeline.outdated_for(place, read.end);
            verdict.staleness_at_end.push(at_end);
            let broken = [
                (Rule::FalselyAbsent, content.is_none() && outdated_for > 0),
                (Rule::Stale, content.is_some() && outdated_for > self.bound),
                (Rule::WentBack, place < answered),
                (Rule::OwnWriteMissed, place < own),
            ];
            for (rule, _) in broken.into_iter().filter(|(_, broken)| *broken) {
                verdict.violations.push(Violation {
                    rule,
                    read: *read,
                    successor: self.timeline.successor(place),
                    outdated_for,
                });
            }
        }
    }

    /// When reads ended, and the earliest place that their answers can have been from, by time.
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

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
