//! One process of the services: its template index, its tiers, and its work under way.

use super::database::{Database, MAX_COMMITS, OURS, Stamp, TemplateIndex};
use super::mutants::Mutant;
use super::scope::{Redis, Scope};

/// A poll that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Poll {
    /// Ticks since it was sent.
    pub(crate) age: u8,
    /// It was sent before this process's last write.
    pub(crate) before_write: bool,
    /// It was sent after the resolve arrived that waits, which may therefore use it.
    pub(crate) counts: bool,
    /// It found another history and reads everything.
    pub(crate) reload: bool,
    /// The answer of the database.
    pub(crate) answer: Option<TemplateIndex>,
}

/// A load of the document of one entry, whose reply is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Load {
    pub(crate) entry: Stamp,
    pub(crate) content: u8,
    pub(crate) from_database: bool,
}

/// A registration by this process, from its commit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Registration {
    /// Redis has deleted before the commit. Mutant only.
    DeletedFirst,
    /// Committed, or found unchanged; the reply is on its way.
    Committed(Stamp),
    /// Polls sent before do not count any more, and the delete is on its way to Redis.
    Deleting(Stamp),
}

/// A resolve that waits for a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reader {
    pub(crate) satisfied: bool,
    /// Contents that our name had since it arrived.
    pub(crate) seen: u8,
    /// The last registration of this process when it arrived.
    pub(crate) own: Option<Stamp>,
}

pub(crate) const FILLS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) index: Option<TemplateIndex>,
    /// Ticks since the last successful poll was sent.
    pub(crate) age: u8,
    /// This process has written, and no poll that was sent since has succeeded.
    pub(crate) write_unread: bool,
    pub(crate) poll: Option<Poll>,
    pub(crate) load: Option<Load>,
    /// Contents of the local tier, by entry. A commit stands for the entry that it gave our name.
    pub(crate) local: [Option<u8>; MAX_COMMITS],
    /// Contents that wait to be written to Redis.
    pub(crate) fills: [Option<u8>; FILLS],
    pub(crate) reader: Option<Reader>,
    pub(crate) registration: Option<Registration>,
    /// The newest version that a resolve of this process was answered with.
    pub(crate) served: Option<Stamp>,
    /// The last version that this process registered, once the registration has returned.
    pub(crate) own: Option<Stamp>,
}

impl Process {
    /// Returns a process that has just started.
    pub(crate) fn started(scope: &Scope) -> Self {
        Self {
            index: None,
            age: scope.too_old(),
            write_unread: false,
            poll: None,
            load: None,
            local: [None; MAX_COMMITS],
            fills: [None; FILLS],
            reader: None,
            registration: None,
            served: None,
            own: None,
        }
    }

    /// Returns the entry of our name in the index.
    pub(crate) fn entry(&self) -> Option<Stamp> {
        self.index.map(|index| index.pointers[OURS])
    }

    /// Returns the content in the local tier that a resolve would be answered with.
    pub(crate) fn held(&self) -> Option<u8> {
        self.local[usize::from(self.entry()?)]
    }

    /// `Validity::holds_at`.
    pub(crate) fn is_fresh(&self, scope: &Scope) -> bool {
        self.index.is_some() && !self.write_unread && self.age <= scope.bound
    }

    pub(crate) fn tick(&mut self, too_old: u8) {
        self.age = too_old.min(self.age + 1);
        if let Some(poll) = &mut self.poll {
            poll.age = too_old.min(poll.age + 1);
        }
    }

    pub(crate) fn send_poll(&mut self) {
        self.poll = Some(Poll {
            age: 0,
            before_write: false,
            counts: self.reader.is_some(),
            reload: self.index.is_none(),
            answer: None,
        });
    }

    /// Begins to wait, as a resolve does that finds the index too old: `TemplateIndex::ensure_fresh`.
    pub(crate) fn arrive(&mut self, database: &Database, scope: &Scope) {
        self.reader = Some(Reader {
            satisfied: false,
            seen: 1 << database.content(database.current(OURS)),
            own: self.own,
        });
        if let Some(poll) = &mut self.poll {
            poll.counts = scope.is(Mutant::SharedEarlierPoll);
        }
    }

    /// Returns the resolve that waits if its poll alone allows an answer.
    pub(crate) fn satisfied(&self, scope: &Scope) -> Option<Reader> {
        let may_skip_the_poll = !scope.is_linearizable() && self.is_fresh(scope);
        self.reader
            .filter(|reader| reader.satisfied && !may_skip_the_poll)
    }

    /// Receives the reply of a poll: `Poller::publish`, then `Poller::report`.
    pub(crate) fn receive_poll(&mut self, poll: Poll, answer: TemplateIndex, scope: &Scope) {
        self.index = Some(answer);
        let age = if scope.is(Mutant::ReplyTimeValidity) {
            0
        } else {
            poll.age
        };
        self.age = self.age.min(age);
        if !poll.before_write {
            self.write_unread = false;
        }
    }

    /// Receives the reply of a load: `Loader::load_from_tiers` holds the document, and fills Redis.
    pub(crate) fn receive_load(&mut self, load: Load, scope: &Scope) {
        self.load = None;
        self.local[usize::from(load.entry)] = Some(load.content);
        if load.from_database && scope.redis == Redis::Faithful {
            // The fills under way are bounded, so that the model is finite.
            if let Some(free) = self.fills.iter_mut().find(|fill| fill.is_none()) {
                *free = Some(load.content);
            }
        }
    }

    pub(crate) fn take_fill(&mut self) -> Option<u8> {
        let first = self.fills[0].take();
        self.fills.rotate_left(1);
        first
    }
}
