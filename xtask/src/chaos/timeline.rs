//! What one template was, and what is known about when.

use super::history::{Change, Read, Write};

/// A template's content, in the order of commits.
///
/// A commit happened at an unknown moment between the writer's asking for it and the first sign
/// of it: the acknowledgement, a read that saw it, or a sign of a later commit.
#[derive(Debug)]
pub(super) struct Timeline {
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
    /// The timeline of the template that all of `changes` and `reads` are of. At first it is not
    /// there.
    pub(super) fn new(changes: &[Change], writes: &[Write], reads: &[Read]) -> Self {
        let mut states = vec![State {
            content: None,
            write: None,
            begin: 0,
            committed_by: 0,
        }];
        for change in changes {
            let write = &writes[change.write as usize];
            let last = states.last_mut().expect("there is one from the start");
            if last.write == Some(change.write) {
                // What a transaction does and undoes, nobody else sees.
                last.content = change.content;
                continue;
            }
            let begin = last.begin.max(write.start);
            states.push(State {
                content: change.content,
                write: Some(change.write),
                begin,
                committed_by: write.acknowledged.unwrap_or(u64::MAX),
            });
        }
        let mut timeline = Self { states };
        timeline.note_signs(reads);
        timeline
    }

    fn note_signs(&mut self, reads: &[Read]) {
        let mut first = std::collections::HashMap::new();
        for (place, state) in self.states.iter().enumerate() {
            if let Some(content) = state.content {
                first.entry(content).or_insert(place);
            }
        }
        for read in reads {
            if let Some(Some(content)) = read.answer.state()
                && let Some(&place) = first.get(&content)
            {
                let state = &mut self.states[place];
                state.committed_by = state.committed_by.min(read.end);
            }
        }
        let mut later = u64::MAX;
        for state in self.states.iter_mut().rev() {
            later = later.min(state.committed_by);
            state.committed_by = later;
        }
    }

    /// The last place at which the template was this content, of those that had begun at `moment`.
    pub(super) fn latest(&self, content: Option<u32>, moment: u64) -> Option<usize> {
        let begun = self.states.partition_point(|state| state.begin <= moment);
        self.states[..begun]
            .iter()
            .rposition(|state| state.content == content)
    }

    /// The first place, no later than `latest`, at which the template was this content and which
    /// may have been current at `moment` or later.
    pub(super) fn earliest(&self, content: Option<u32>, moment: u64, latest: usize) -> usize {
        let gone = self.states[1..].partition_point(|state| state.committed_by < moment);
        (gone..latest)
            .find(|place| self.states[*place].content == content)
            .unwrap_or(latest)
    }

    /// How long before `moment` the content at this place had been replaced for sure; zero if it
    /// may have been current.
    pub(super) fn outdated_for(&self, place: usize, moment: u64) -> u64 {
        self.states
            .get(place + 1)
            .map_or(0, |next| moment.saturating_sub(next.committed_by))
    }

    /// What replaced the content at this place.
    pub(super) fn successor(&self, place: usize) -> Option<u32> {
        self.states.get(place + 1)?.write
    }

    pub(super) fn knows(&self, content: Option<u32>) -> bool {
        self.states.iter().any(|state| state.content == content)
    }

    /// The place of each write.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, usize)> {
        self.states
            .iter()
            .enumerate()
            .filter_map(|(place, state)| Some((state.write?, place)))
    }
}
