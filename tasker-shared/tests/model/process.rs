//! One process of the services: its directory, its tiers and what it has under way.

use super::database::{Database, MAX_COMMITS, OURS, Stamp, TemplateIndex};
use super::mutants::Mutant;
use super::scope::{Redis, Scope};

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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent fact"
)]
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
    pub(crate) answer: Option<TemplateIndex>,
    /// The answer has arrived, and one of two is done: the directory has the new picture, or
    /// what was held for the entry that is gone is dropped.
    pub(crate) half_done: bool,
    /// The entry that is gone.
    pub(crate) gone: Option<Stamp>,
}

/// How far a load is whose body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LoadStage {
    /// The reply is on its way.
    Arriving,
    /// The local tier holds the body, and a fill that follows is noted in the entry.
    Held,
    /// A fill is queued.
    Filled,
}

/// A load of one entry's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Load {
    pub(crate) entry: Stamp,
    pub(crate) body: Body,
    pub(crate) from_database: bool,
    pub(crate) stage: LoadStage,
}

/// What the task that writes fills does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Command {
    Fill(Body),
    /// Deletes a fill that was being written when its key was deleted.
    Undo,
}

/// The retirement of what this process has filled for an entry that is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Retirement {
    pub(crate) queued: bool,
    /// Waiting fills are forgotten, and the delete is on its way.
    pub(crate) deleting: bool,
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

pub(crate) const QUEUE: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) directory: Option<TemplateIndex>,
    /// Ticks since the last successful poll was sent.
    pub(crate) age: u8,
    /// This process has written, and no poll that was sent since has succeeded.
    pub(crate) write_unread: bool,
    pub(crate) poll: Option<Poll>,
    pub(crate) load: Option<Load>,
    /// Bodies by entry. A commit stands for the entry that it gave our name.
    pub(crate) local: [Option<Body>; MAX_COMMITS],
    /// Entries for which this process has filled Redis, as bits.
    pub(crate) filled: u8,
    pub(crate) queue: [Option<Command>; QUEUE],
    pub(crate) retirement: Retirement,
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
            filled: 0,
            queue: [None; QUEUE],
            retirement: Retirement::default(),
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
            && self.retirement == Retirement::default()
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
            half_done: false,
            gone: None,
        });
    }

    /// A resolve finds the directory too old and waits: `TemplateIndex::ensure_fresh`.
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

    /// The reply of a poll arrives, and the directory has the new picture: `Poller::publish`.
    fn publish(&mut self, answer: TemplateIndex) {
        self.directory = Some(answer);
    }

    /// Drops what was held and filled for an entry that is gone: the directory's `on_gone`.
    fn drop_entry(&mut self, gone: Stamp, scope: &Scope) {
        self.local[usize::from(gone)] = None;
        if !scope.is(Mutant::NoRetirement) {
            self.retire(gone);
        }
    }

    /// The first half of what a poll's answer changes.
    pub(crate) fn begin_receiving(&mut self, answer: TemplateIndex, scope: &Scope) {
        let before = self.entry();
        let gone = before.filter(|entry| *entry != answer.pointers[OURS]);
        if scope.is(Mutant::DropBeforePublish) {
            if let Some(gone) = gone {
                self.drop_entry(gone, scope);
            }
        } else {
            self.publish(answer);
        }
        if let Some(poll) = &mut self.poll {
            poll.half_done = true;
            poll.gone = gone;
        }
    }

    /// The other half, and the validity: `Poller::report`.
    pub(crate) fn end_receiving(&mut self, poll: Poll, answer: TemplateIndex, scope: &Scope) {
        if scope.is(Mutant::DropBeforePublish) {
            self.publish(answer);
        } else if let Some(gone) = poll.gone {
            self.drop_entry(gone, scope);
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

    /// The next step of a load whose body was read: the end of `Tiers::load`.
    pub(crate) fn go_on_loading(&mut self, load: Load, scope: &Scope) {
        let fills = load.from_database && scope.redis == Redis::Faithful;
        let stage = match load.stage {
            LoadStage::Arriving => {
                self.local[usize::from(load.entry)] = Some(load.body);
                if fills {
                    self.filled |= 1 << load.entry;
                }
                LoadStage::Held
            }
            LoadStage::Held if fills => {
                // The queue is bounded; what does not fit is dropped.
                if self.queue[QUEUE - 1].is_none() {
                    self.push(Command::Fill(load.body));
                }
                LoadStage::Filled
            }
            LoadStage::Held | LoadStage::Filled => {
                self.end_load(load.entry, scope);
                return;
            }
        };
        self.load = Some(Load { stage, ..load });
    }

    /// Either the directory still has the entry here, and tells of its end later, or it has not,
    /// and this is where it is noticed.
    fn end_load(&mut self, entry: Stamp, scope: &Scope) {
        self.load = None;
        if self.entry() == Some(entry) {
            return;
        }
        if !scope.is(Mutant::LateBodyStays) {
            self.local[usize::from(entry)] = None;
        }
        if !scope.is(Mutant::LateFillStays) {
            self.retire(entry);
        }
    }

    fn retire(&mut self, entry: Stamp) {
        let bit = 1 << entry;
        self.retirement.queued |= self.filled & bit != 0;
        // The note stays with the entry as long as a load of it goes on.
        if self.load.is_none_or(|load| load.entry != entry) {
            self.filled &= !bit;
        }
    }

    /// A delete of this process wins over fills that it handed over before: `Fills::forget`.
    /// Fills that wait are dropped; what is being written at that moment is deleted after.
    pub(crate) fn forget(&mut self, head_is_being_written: bool) {
        let head = self.queue[0].filter(|_| head_is_being_written);
        self.queue = [None; QUEUE];
        if let Some(head) = head {
            self.push(head);
            if head != Command::Undo {
                self.push(Command::Undo);
            }
        }
    }

    pub(crate) fn take_command(&mut self) -> Option<Command> {
        let head = self.queue[0].take();
        self.queue.rotate_left(1);
        head
    }

    fn push(&mut self, command: Command) {
        let free = self.queue.iter_mut().find(|place| place.is_none());
        *free.expect("there is room for what is pushed") = Some(command);
    }
}
