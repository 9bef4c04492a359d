//! One process of the services: its directory, its tiers and what it has under way.

use super::database::{Database, Directory, MAX_COMMITS, OURS, Stamp};
use super::mutants::Mutant;
use super::scope::Scope;

/// A body, as a tier holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Body {
    /// Stands for its hash.
    pub(crate) content: u8,
    /// It is stored as the body of another name, which may have the same content.
    pub(crate) of_other_name: bool,
}

impl Body {
    pub(crate) const fn ours(content: u8) -> Self {
        Self {
            content,
            of_other_name: false,
        }
    }
}

/// A poll that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Poll {
    /// Ticks since it was sent.
    pub(crate) age: u8,
    /// It was sent before this process's last write.
    pub(crate) before_write: bool,
    /// The resolve that waits may use it.
    pub(crate) counts: bool,
    /// It found another history and reads everything.
    pub(crate) reload: bool,
    /// What the database answered.
    pub(crate) answer: Option<Directory>,
}

/// A load whose body was read but has not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Load {
    pub(crate) entry: Stamp,
    pub(crate) body: Body,
    pub(crate) from_database: bool,
}

/// A command that waits to be sent to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Command {
    Fill(Body),
    /// Deletes what this process filled for a pointer that is gone.
    Retire,
}

/// A registration by this process, from its commit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Registration {
    /// Redis was told before the commit. Mutant only.
    DeletedFirst,
    /// Committed, or found unchanged; the reply is on its way.
    Committed(Stamp),
    /// Polls sent before are useless from here on, and the delete is on its way to Redis.
    Deleting(Stamp),
}

/// A resolve that waits for a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reader {
    pub(crate) satisfied: bool,
    /// Contents that our name had since it arrived.
    pub(crate) seen: u8,
    /// What this process had registered when it arrived.
    pub(crate) own: Option<Stamp>,
}

pub(crate) const QUEUE: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) directory: Option<Directory>,
    /// Ticks since the last successful poll was sent.
    pub(crate) age: u8,
    /// This process has written, and no poll that was sent since has succeeded.
    pub(crate) write_unread: bool,
    pub(crate) poll: Option<Poll>,
    pub(crate) load: Option<Load>,
    /// Bodies by entry. A commit stands for the entry that it gave our name.
    pub(crate) local: [Option<Body>; MAX_COMMITS],
    /// This process has filled Redis for the entry that is current.
    pub(crate) filled: bool,
    pub(crate) queue: [Option<Command>; QUEUE],
    pub(crate) reader: Option<Reader>,
    pub(crate) registration: Option<Registration>,
    /// The newest version that a resolve of this process was answered with.
    pub(crate) served: Option<Stamp>,
    /// The last version that this process registered, once it was told so.
    pub(crate) own: Option<Stamp>,
}

impl Process {
    /// A process that has just started.
    pub(crate) fn started(scope: &Scope) -> Self {
        Self {
            directory: None,
            age: scope.too_old(),
            write_unread: false,
            poll: None,
            load: None,
            local: [None; MAX_COMMITS],
            filled: false,
            queue: [None; QUEUE],
            reader: None,
            registration: None,
            served: None,
            own: None,
        }
    }

    /// What our name points to, as far as this process knows.
    pub(crate) fn entry(&self) -> Option<Stamp> {
        self.directory.map(|directory| directory.pointers[OURS])
    }

    /// The body in the local tier that a resolve would be answered with.
    pub(crate) fn held(&self) -> Option<Body> {
        self.local[usize::from(self.entry()?)]
    }

    /// `Validity::holds_at`.
    pub(crate) fn is_fresh(&self, scope: &Scope) -> bool {
        self.directory.is_some() && !self.write_unread && self.age <= scope.bound
    }

    /// Whether nothing is under way in this process.
    pub(crate) fn is_idle(&self) -> bool {
        self.poll.is_none()
            && self.load.is_none()
            && self.queue[0].is_none()
            && self.registration.is_none()
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
            reload: self.directory.is_none(),
            answer: None,
        });
    }

    /// A resolve finds the directory too old and waits: `Directory::ensure_fresh`.
    pub(crate) fn arrive(&mut self, database: &Database, scope: &Scope) {
        let linearizable = scope.is_linearizable();
        self.reader = Some(Reader {
            satisfied: false,
            seen: if linearizable {
                1 << database.content(database.current(OURS))
            } else {
                0
            },
            own: self.own.filter(|_| linearizable),
        });
        if let Some(poll) = &mut self.poll {
            poll.counts = if linearizable {
                scope.is(Mutant::SharedEarlierPoll)
            } else {
                poll.age <= scope.bound && !poll.before_write
            };
        }
    }

    /// The reply of a poll arrives: `Poller::poll` and `Poller::report`.
    pub(crate) fn receive_poll(&mut self, poll: Poll, answer: Directory, scope: &Scope) {
        let before = self.entry();
        self.directory = Some(answer);
        if let Some(gone) = before.filter(|_| before != self.entry()) {
            self.local[usize::from(gone)] = None;
            if self.filled && !scope.is(Mutant::NoRetirement) {
                self.push(Command::Retire);
            }
            self.filled = false;
        }
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

    /// A load's body arrives: the end of `Load::run`.
    pub(crate) fn finish_load(&mut self, load: Load, scope: &Scope) {
        let is_current = self.entry() == Some(load.entry);
        if !is_current && !scope.is(Mutant::LateLoadIsKept) {
            return;
        }
        self.local[usize::from(load.entry)] = Some(load.body);
        let has_redis = scope.redis == super::scope::Redis::Faithful;
        // The queue is bounded; what does not fit is dropped. Room is kept for a retirement.
        if load.from_database && has_redis && self.queue[QUEUE - 2].is_none() {
            self.push(Command::Fill(load.body));
            self.filled |= is_current;
        }
    }

    /// A delete of this process wins over fills that it handed over before: `Fills::forget`.
    /// Commands that wait are dropped; what is being written at that moment is deleted after.
    pub(crate) fn forget(&mut self, head_is_being_written: bool) {
        let head = self.queue[0].filter(|_| head_is_being_written);
        self.queue = [None; QUEUE];
        if let Some(head) = head {
            self.push(head);
            self.push(Command::Retire);
        }
    }

    pub(crate) fn take_command(&mut self) -> Option<Command> {
        let head = self.queue[0].take();
        self.queue.rotate_left(1);
        head
    }

    fn push(&mut self, command: Command) {
        let place = self.queue.iter().position(Option::is_none);
        let last = place.map_or(QUEUE, |place| place).checked_sub(1);
        // Two deletes in a row are one.
        if last.is_some_and(|last| self.queue[last] == Some(command)) {
            return;
        }
        let place = place.expect("fills leave room for a delete");
        self.queue[place] = Some(command);
    }
}
