//! The contents of one template, and the moments at which they may have been current.

use std::collections::HashMap;

use super::history::{Change, Read, Write};

/// A template's content, in the order of commits.
///
/// A commit happened at an unknown moment between its request and the first sign of it: the
/// acknowledgement, a read that saw it, or a sign of a later commit.
#[derive(Debug)]
pub(crate) struct Timeline {
    states: Vec<State>,
}

#[derive(Debug)]
struct State {
    content: Option<u32>,
    write: Option<u32>,
    /// It was not current before this moment.
    begin: u64,
    /// It, or what came after it, was current at this moment.
    committed_by: u64,
}

impl Timeline {
    /// Returns the timeline of the one template that `changes` and `reads` are about. It starts
    /// absent.
    pub(crate) fn new(changes: &[Change], writes: &HashMap<u32, Write>, reads: &[Read]) -> Self {
        let mut states = vec![State {
            content: None,
            write: None,
            begin: 0,
            committed_by: 0,
        }];
        for change in changes {
            let write = writes.get(&change.write);
            let last = states.last_mut().expect("there is one from the start");
            if last.write == Some(change.write) {
                // Nobody else sees a state that a transaction itself undoes.
                last.content = change.content;
                continue;
            }
            let begin = last.begin.max(write.map_or(0, |write| write.start));
            states.push(State {
                content: change.content,
                write: Some(change.write),
                begin,
                committed_by: write
                    .and_then(|write| write.acknowledged)
                    .unwrap_or(u64::MAX),
            });
        }
        let mut timeline = Self { states };
        timeline.note_signs(reads);
        timeline
    }

    fn note_signs(&mut self, reads: &[Read]) {
        let mut first = HashMap::new();
        for (position, state) in self.states.iter().enumerate() {
            if let Some(content) = state.content {
                first.entry(content).or_insert(position);
            }
        }
        for read in reads {
            if let Some(Some(content)) = read.answer.state()
                && let Some(&position) = first.get(&content)
            {
                let state = &mut self.states[position];
                state.committed_by = state.committed_by.min(read.end);
            }
        }
        let mut later = u64::MAX;
        for state in self.states.iter_mut().rev() {
            later = later.min(state.committed_by);
            state.committed_by = later;
        }
    }

    /// Returns the last position with this content, of those that had begun at `moment`.
    pub(crate) fn latest(&self, content: Option<u32>, moment: u64) -> Option<usize> {
        let begun = self.states.partition_point(|state| state.begin <= moment);
        self.states[..begun]
            .iter()
            .rposition(|state| state.content == content)
    }

    /// Returns the first position, no later than `latest`, that has this content and may have been
    /// current at `moment` or later.
    pub(crate) fn earliest(&self, content: Option<u32>, moment: u64, latest: usize) -> usize {
        let gone = self.states[1..].partition_point(|state| state.committed_by < moment);
        (gone..latest)
            .find(|position| self.states[*position].content == content)
            .unwrap_or(latest)
    }

    /// Returns for how long the content at this position had certainly been replaced at `moment`;
    /// zero if it may have been current.
    pub(crate) fn outdated_for(&self, position: usize, moment: u64) -> u64 {
        self.states
            .get(position + 1)
            .map_or(0, |next| moment.saturating_sub(next.committed_by))
    }

    /// Returns the write that replaced the content at this position.
    pub(crate) fn successor(&self, position: usize) -> Option<u32> {
        self.states.get(position + 1)?.write
    }

    pub(crate) fn knows(&self, content: Option<u32>) -> bool {
        self.states.iter().any(|state| state.content == content)
    }

    /// Returns each write with its position.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (u32, usize)> {
        self.states
            .iter()
            .enumerate()
            .filter_map(|(position, state)| Some((state.write?, position)))
    }
}
