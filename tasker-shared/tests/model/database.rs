//! PostgreSQL: commits, the clock, transactions, restored backups, and what a poll reads.

use super::mutants::Mutant;
use super::scope::{Scope, WRITERS};

/// Identifies a commit in all histories, as the stamp in `template_commits` does. A name points
/// to the commit that wrote it last, so a stamp is a pointer too.
pub(crate) type Stamp = u8;

pub(crate) const MAX_COMMITS: usize = 5;

/// The name that the processes resolve, and one that shares nothing with it.
pub(crate) const OURS: usize = 0;
pub(crate) const NEIGHBOUR: usize = 1;
pub(crate) const NAMES: usize = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Commit {
    pub(crate) sequence: u8,
    /// The pointers right after this commit.
    pub(crate) pointers: [Stamp; NAMES],
    /// The content, which stands for its hash, if this commit wrote our name.
    pub(crate) content: Option<u8>,
    /// Ticks since our name pointed to this commit last.
    gone_for: u8,
}

/// A transaction that has executed its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transaction {
    pub(crate) name: usize,
    /// Its position, once it has one.
    pub(crate) sequence: Option<u8>,
}

/// A process's template index: a position in the history, and the pointers there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TemplateIndex {
    pub(crate) sequence: u8,
    pub(crate) stamp: Stamp,
    pub(crate) pointers: [Stamp; NAMES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    commits: [Commit; MAX_COMMITS],
    made: u8,
    history: [Stamp; MAX_COMMITS],
    length: u8,
    pub(crate) open: [Option<Transaction>; WRITERS],
    /// The last number that a plain sequence gave out.
    last_number: u8,
    pub(crate) restores: u8,
}

impl Database {
    /// Both names are registered, by the first commit.
    pub(crate) fn new() -> Self {
        let mut database = Self {
            commits: [Commit::default(); MAX_COMMITS],
            made: 1,
            history: [0; MAX_COMMITS],
            length: 1,
            open: [None; WRITERS],
            last_number: 0,
            restores: 0,
        };
        database.commits[0].content = Some(0);
        database
    }

    pub(crate) fn made(&self) -> u8 {
        self.made
    }

    pub(crate) fn commit_of(&self, stamp: Stamp) -> &Commit {
        &self.commits[usize::from(stamp)]
    }

    pub(crate) fn history(&self) -> &[Stamp] {
        &self.history[..usize::from(self.length)]
    }

    /// Returns the commit that became visible last.
    pub(crate) fn latest(&self) -> Stamp {
        self.history[usize::from(self.length) - 1]
    }

    /// Returns the pointer of `name`.
    pub(crate) fn current(&self, name: usize) -> Stamp {
        self.commit_of(self.latest()).pointers[name]
    }

    /// Returns the content of our name at a commit that wrote it.
    pub(crate) fn content(&self, stamp: Stamp) -> u8 {
        self.commit_of(stamp)
            .content
            .expect("our name points to commits that wrote it")
    }

    /// Returns all contents that our name ever had, as bits.
    pub(crate) fn contents(&self) -> u8 {
        self.commits[..usize::from(self.made)]
            .iter()
            .filter_map(|commit| commit.content)
            .fold(0, |mask, content| mask | 1 << content)
    }

    /// Returns the index of a commit in the present history.
    pub(crate) fn position(&self, stamp: Stamp) -> Option<usize> {
        self.history().iter().position(|known| *known == stamp)
    }

    /// Returns true if our name had this content at most `bound` ticks ago.
    pub(crate) fn was_current(&self, content: u8, bound: u8) -> bool {
        self.commits[..usize::from(self.made)]
            .iter()
            .any(|commit| commit.content == Some(content) && commit.gone_for <= bound)
    }

    pub(crate) fn tick(&mut self, too_old: u8) {
        let current = self.current(OURS);
        for (stamp, commit) in (0..self.made).zip(&mut self.commits) {
            if stamp != current && commit.content.is_some() {
                commit.gone_for = too_old.min(commit.gone_for + 1);
            }
        }
    }

    /// Returns the number in `template_clock`, and the stamp of its commit.
    fn clock(&self) -> (u8, Stamp) {
        self.history()
            .iter()
            .map(|stamp| (self.commit_of(*stamp).sequence, *stamp))
            .max()
            .expect("the first commit is never restored away")
    }

    /// Executes the statement of a transaction. Returns false if it has to wait for the row.
    pub(crate) fn begin(&mut self, writer: usize, name: usize, scope: &Scope) -> bool {
        let waits = self.open.iter().flatten().any(|open| open.name == name);
        // Numbers that were rolled back are not used again, and the model has to end.
        if waits || usize::from(self.last_number) == MAX_COMMITS {
            return false;
        }
        let sequence = scope.is(Mutant::PlainSequence).then(|| {
            self.last_number = self.last_number.max(self.clock().0) + 1;
            self.last_number
        });
        self.open[writer] = Some(Transaction { name, sequence });
        true
    }

    /// Runs the deferred triggers, which lock the clock until the commit is visible. Returns false if
    /// another transaction holds it.
    pub(crate) fn lock(&mut self, writer: usize) -> bool {
        let held = self
            .open
            .iter()
            .flatten()
            .any(|open| open.sequence.is_some());
        let next = self.clock().0 + 1;
        match &mut self.open[writer] {
            Some(open) if !held => {
                open.sequence = Some(next);
                true
            }
            _ => false,
        }
    }

    /// Commits a transaction that has its number.
    pub(crate) fn commit_open(&mut self, writer: usize, scope: &Scope) -> bool {
        let Some(Transaction {
            name,
            sequence: Some(sequence),
        }) = self.open[writer]
        else {
            return false;
        };
        self.open[writer] = None;
        self.make_visible(name, sequence, scope);
        true
    }

    /// Runs a whole transaction.
    pub(crate) fn write(&mut self, name: usize, scope: &Scope) -> Stamp {
        let sequence = self.clock().0 + 1;
        self.make_visible(name, sequence, scope)
    }

    fn make_visible(&mut self, name: usize, sequence: u8, scope: &Scope) -> Stamp {
        let stamp = self.made;
        let mut pointers = self.commit_of(self.latest()).pointers;
        pointers[name] = stamp;
        self.commits[usize::from(stamp)] = Commit {
            sequence,
            pointers,
            content: (name == OURS).then_some(stamp % scope.contents),
            gone_for: 0,
        };
        self.made += 1;
        self.history[usize::from(self.length)] = stamp;
        self.length += 1;
        stamp
    }

    /// Restores a backup that was made when the history had `length` commits.
    pub(crate) fn restore(&mut self, length: u8) {
        self.history[usize::from(length)..].fill(0);
        self.length = length;
        self.restores += 1;
        let current = self.current(OURS);
        self.commits[usize::from(current)].gone_for = 0;
    }

    /// Reads everything, as `queries::load` does.
    pub(crate) fn load(&self) -> TemplateIndex {
        let (sequence, stamp) = self.clock();
        TemplateIndex {
            sequence,
            stamp,
            pointers: self.commit_of(self.latest()).pointers,
        }
    }

    /// Reads the changes since `known`, as `queries::poll` does; `None` for another history.
    pub(crate) fn poll(&self, known: TemplateIndex, scope: &Scope) -> Option<TemplateIndex> {
        let here = self
            .history()
            .iter()
            .find(|stamp| self.commit_of(**stamp).sequence == known.sequence);
        if here != Some(&known.stamp) && !scope.is(Mutant::NoReloadAfterRegression) {
            return None;
        }
        let now = self.load();
        let mut pointers = known.pointers;
        for (held, stored) in pointers.iter_mut().zip(now.pointers) {
            if self.commit_of(stored).sequence > known.sequence {
                *held = stored;
            }
        }
        Some(TemplateIndex { pointers, ..now })
    }
}
