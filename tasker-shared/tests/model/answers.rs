//! Judges the answers of resolves.

use super::database::{OURS, Stamp};
use super::scope::Scope;
use super::system::{Protocol, State};
use super::witnesses::Event;

/// The violations so far. Each flaw violates one property.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property's own")]
pub(crate) struct Flaws {
    pub(crate) stale: bool,
    pub(crate) before_arrival: bool,
    pub(crate) went_back: bool,
    pub(crate) own_write_unseen: bool,
    pub(crate) gap: bool,
    pub(crate) left_in_redis: bool,
}

impl Flaws {
    /// Without the flaw of a poll, which is only the beginning of a wrong answer.
    pub(crate) fn of_answers(self) -> Self {
        Self { gap: false, ..self }
    }
}

impl Protocol {
    /// Judges a resolve of `p` that is answered now with the document in the local tier.
    pub(crate) fn judge(&self, state: &mut State, p: usize) {
        let scope: &Scope = &self.scope;
        let process = &state.processes[p];
        let (Some(entry), Some(content)) = (process.entry(), process.held()) else {
            return;
        };
        let database = &state.database;
        let version = version_of(state, entry, content);
        let position = database.position(version);
        let position_of = |stamp: Option<Stamp>| stamp.and_then(|stamp| database.position(stamp));
        let mut flaws = state.flaws;
        let waited = process.satisfied(scope);
        match waited {
            Some(reader) => flaws.before_arrival |= reader.seen & 1 << content == 0,
            None => flaws.stale |= !database.was_current(content, scope.bound),
        }
        // A restored backup removes versions, and there is no order between those and newer ones.
        flaws.went_back |= position.is_some() && position < position_of(process.served);
        // A resolve that arrived before the registration returned may answer the version before it.
        let own = waited.map_or(process.own, |reader| reader.own);
        // A version of another history, which has no position, is before all of this one.
        flaws.own_write_unseen |= position < position_of(own);
        if process.served.is_some_and(|served| served != version) {
            self.witnesses.note(Event::NewVersionServed);
        }
        self.witnesses.note(Event::Served);
        state.flaws = flaws;
        if position.is_some() {
            state.processes[p].served = Some(version);
        }
    }
}

// Returns the version of an answer: the entry's if it has this content, else the newest that had it.
fn version_of(state: &State, entry: Stamp, content: u8) -> Stamp {
    let database = &state.database;
    if database.content(entry) == content {
        return entry;
    }
    let with_content = |stamp: &&Stamp| database.commit_of(**stamp).content == Some(content);
    let mut history = database.history().iter().rev();
    debug_assert!(database.commit_of(entry).pointers[OURS] == entry);
    history.find(with_content).copied().unwrap_or(entry)
}
