//! The state of the whole system, and what may happen in it next.

use stateright::{Model, Property};

use super::answers::Flaws;
use super::database::{Database, NEIGHBOUR, OURS};
use super::process::{Body, Process, Registration};
use super::scope::{PROCESSES, Redis, Scope, WRITERS};
use super::witnesses::Witnesses;
use super::{Mutant, properties};

/// What Redis holds under our name's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) body: Body,
    /// For each process: it was there, as another body, when that process's registration
    /// committed.
    pub(crate) outdated_by: [bool; PROCESSES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) database: Database,
    pub(crate) processes: [Process; PROCESSES],
    pub(crate) redis: Option<Stored>,
    /// Contents that a `SET` which timed out may still write, as bits.
    pub(crate) strays: u8,
    /// A process died, or a command to Redis was lost or is late, or Redis was restored.
    pub(crate) faulted: bool,
    pub(crate) flaws: Flaws,
}

/// What may happen. The first number is the process or the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Time passes. A process that does nothing meanwhile is frozen.
    Tick,
    /// An operator's `UPDATE`, or another language's worker.
    Write(usize),
    Begin(usize, usize),
    LockClock(usize),
    Commit(usize),
    Rollback(usize),
    /// To the backup that was made when the history had so many commits.
    RestoreBackup(u8),
    ExecuteStray(u8),
    FlushRedis,
    RestoreRedis(u8),
    ClashInRedis,
    SendPoll(usize),
    AnswerPoll(usize),
    ReceivePoll(usize),
    EndPoll(usize),
    LosePoll(usize),
    Wait(usize),
    Answer(usize),
    ReadRedis(usize, Body),
    ReadBody(usize),
    /// The next of its steps: hold, fill, and look whether the entry is still current.
    GoOnLoading(usize),
    Evict(usize),
    SendCommand(usize),
    TimeOutCommand(usize),
    /// A fill that is being written at that moment, if `true`, is deleted after it is written.
    BeginRetirement(usize, bool),
    Retire(usize),
    LoseRetirement(usize),
    /// Mutant only: the delete that should follow the commit.
    DeleteFirst(usize),
    Register(usize),
    /// The content is what the name points to already; another process may have written it.
    RegisterUnchanged(usize),
    /// The commit's reply is lost; the statement is executed again and finds its own work.
    RetryRegistration(usize),
    /// The reply of the commit arrives. A fill that is being written at that moment, if `true`,
    /// is deleted after it is written.
    BeginDelete(usize, bool),
    Delete(usize),
    LoseDelete(usize),
    Crash(usize),
}

/// The protocol, as far as `scope` goes.
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(crate) scope: Scope,
    pub(crate) witnesses: Witnesses,
}

impl Protocol {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            scope,
            witnesses: Witnesses::default(),
        }
    }

    fn database_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let scope = &self.scope;
        let database = &state.database;
        let open = database.open.iter().flatten().count();
        if usize::from(database.made()) + open <= usize::from(scope.commits) {
            if scope.plain_writes {
                actions.push(Action::Write(OURS));
            }
            if scope.transactions {
                for writer in (0..WRITERS).filter(|writer| database.open[*writer].is_none()) {
                    actions.push(Action::Begin(writer, OURS));
                    actions.push(Action::Begin(writer, NEIGHBOUR));
                }
            }
        }
        for writer in (0..WRITERS).filter(|writer| database.open[*writer].is_some()) {
            actions.extend([
                Action::LockClock(writer),
                Action::Commit(writer),
                Action::Rollback(writer),
            ]);
        }
        if database.restores < scope.restores {
            let lengths = 1..database.history().len();
            actions.extend(lengths.map(|length| {
                Action::RestoreBackup(u8::try_from(length).expect("histories are short"))
            }));
        }
    }

    fn redis_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if self.scope.redis != Redis::Faithful {
            return;
        }
        if state.redis.is_some() {
            actions.push(Action::FlushRedis);
        }
        if self.scope.redis_faults {
            actions.extend(bits(state.strays).map(Action::ExecuteStray));
            actions.extend(bits(state.database.contents()).map(Action::RestoreRedis));
            actions.push(Action::ClashInRedis);
        }
    }

    fn directory_actions(&self, state: &State, p: usize, actions: &mut Vec<Action>) {
        let process = &state.processes[p];
        match process.poll {
            None => actions.push(Action::SendPoll(p)),
            Some(poll) => {
                if poll.half_done {
                    actions.push(Action::EndPoll(p));
                } else {
                    actions.push(match poll.answer {
                        None => Action::AnswerPoll(p),
                        Some(_) => Action::ReceivePoll(p),
                    });
                    actions.push(Action::LosePoll(p));
                }
            }
        }
        let must_wait = self.scope.is_linearizable() || !process.is_fresh(&self.scope);
        if self.scope.waiting && process.reader.is_none() && must_wait {
            actions.push(Action::Wait(p));
        }
    }

    fn tier_actions(&self, state: &State, p: usize, actions: &mut Vec<Action>) {
        let process = &state.processes[p];
        if process.held().is_some() {
            if self.scope.judged {
                actions.push(Action::Answer(p));
            }
            if self.scope.evictions {
                actions.push(Action::Evict(p));
            }
        }
        if process.load.is_some() {
            actions.push(Action::GoOnLoading(p));
        } else if process.entry().is_some() && process.held().is_none() {
            actions.push(Action::ReadBody(p));
            match self.scope.redis {
                Redis::Absent => {}
                Redis::Oracle => {
                    for content in bits(state.database.contents()) {
                        for of_other_name in [false, true] {
                            let body = Body {
                                content,
                                of_other_name,
                            };
                            actions.push(Action::ReadRedis(p, body));
                        }
                    }
                }
                Redis::Faithful => {
                    actions.extend(state.redis.map(|stored| Action::ReadRedis(p, stored.body)));
                }
            }
        }
    }

    fn fill_actions(&self, state: &State, p: usize, actions: &mut Vec<Action>) {
        let process = &state.processes[p];
        let writing = process.queue[0].is_some();
        if writing {
            actions.push(Action::SendCommand(p));
            if self.scope.redis_faults {
                actions.push(Action::TimeOutCommand(p));
            }
        }
        if process.retirement.deleting {
            actions.push(Action::Retire(p));
            if self.scope.redis_faults {
                actions.push(Action::LoseRetirement(p));
            }
        } else if process.retirement.queued {
            actions.push(Action::BeginRetirement(p, false));
            if writing {
                actions.push(Action::BeginRetirement(p, true));
            }
        }
    }

    fn registration_actions(&self, state: &State, p: usize, actions: &mut Vec<Action>) {
        let scope = &self.scope;
        let may_write = state.database.made() <= scope.commits;
        let early = scope.is(Mutant::InvalidateBeforeCommit);
        match state.processes[p].registration {
            None if may_write && early => actions.push(Action::DeleteFirst(p)),
            None => {
                if may_write {
                    actions.push(Action::Register(p));
                }
                actions.push(Action::RegisterUnchanged(p));
            }
            Some(Registration::DeletedFirst) if may_write => actions.push(Action::Register(p)),
            Some(Registration::DeletedFirst) => {}
            Some(Registration::Committed(_)) => {
                actions.push(Action::RetryRegistration(p));
                actions.push(Action::BeginDelete(p, false));
                if state.processes[p].queue[0].is_some() {
                    actions.push(Action::BeginDelete(p, true));
                }
            }
            Some(Registration::Deleting(_)) => {
                actions.push(Action::Delete(p));
                if scope.redis_faults {
                    actions.push(Action::LoseDelete(p));
                }
            }
        }
    }
}

fn bits(mask: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |bit| mask & 1 << bit != 0)
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            database: Database::new(),
            processes: [Process::started(&self.scope); PROCESSES],
            redis: None,
            strays: 0,
            faulted: false,
            flaws: Flaws::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.flaws.of_answers() != Flaws::default() {
            // The counterexample is complete.
            return;
        }
        if self.scope.time {
            actions.push(Action::Tick);
        }
        self.database_actions(state, actions);
        self.redis_actions(state, actions);
        for p in 0..self.scope.processes {
            self.directory_actions(state, p, actions);
            self.tier_actions(state, p, actions);
            self.fill_actions(state, p, actions);
            if p < self.scope.registrars {
                self.registration_actions(state, p, actions);
            }
            if self.scope.crashes {
                actions.push(Action::Crash(p));
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        self.step(&mut next, action).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
