//! The state of the whole system, and its possible actions.

use stateright::{Model, Property};

use super::answers::Flaws;
use super::database::{Database, NEIGHBOUR, OURS};
use super::process::{Process, Registration};
use super::scope::{PROCESSES, Redis, Scope, WRITERS};
use super::witnesses::Witnesses;
use super::{Mutant, properties};

/// The value in Redis under our name's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) content: u8,
    /// For each process: it was there, with another content, when that process's registration
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
    pub(crate) flaws: Flaws,
}

/// An action. The first number is the process or the writer.
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
    SendPoll(usize),
    AnswerPoll(usize),
    ReceivePoll(usize),
    LosePoll(usize),
    Wait(usize),
    Answer(usize),
    ReadRedis(usize, u8),
    ReadDatabase(usize),
    ReceiveLoad(usize),
    Evict(usize),
    SendFill(usize),
    TimeOutFill(usize),
    /// Mutant only: the delete that should follow the commit.
    DeleteFirst(usize),
    Register(usize),
    /// The content is current already. Another process may have written it.
    RegisterUnchanged(usize),
    /// The commit's reply is lost; the statement is executed again and finds its own work.
    RetryRegistration(usize),
    /// The reply of the commit arrives.
    BeginDelete(usize),
    Delete(usize),
    LoseDelete(usize),
    Crash(usize),
}

/// The protocol within `scope`.
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
        }
    }

    fn index_actions(&self, state: &State, p: usize, actions: &mut Vec<Action>) {
        let process = &state.processes[p];
        match process.poll {
            None => actions.push(Action::SendPoll(p)),
            Some(poll) => {
                actions.push(match poll.answer {
                    None => Action::AnswerPoll(p),
                    Some(_) => Action::ReceivePoll(p),
                });
                actions.push(Action::LosePoll(p));
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
            actions.push(Action::ReceiveLoad(p));
        } else if process.entry().is_some() && process.held().is_none() {
            actions.push(Action::ReadDatabase(p));
            match self.scope.redis {
                Redis::Absent => {}
                Redis::Oracle => {
                    let contents = bits(state.database.contents());
                    actions.extend(contents.map(|content| Action::ReadRedis(p, content)));
                }
                Redis::Faithful => {
                    actions.extend(
                        state
                            .redis
                            .map(|stored| Action::ReadRedis(p, stored.content)),
                    );
                }
            }
        }
    }

    fn fill_actions(&self, state: &State, p: usize, actions: &mut Vec<Action>) {
        if state.processes[p].fills[0].is_some() {
            actions.push(Action::SendFill(p));
            if self.scope.redis_faults {
                actions.push(Action::TimeOutFill(p));
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
                actions.push(Action::BeginDelete(p));
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
            self.index_actions(state, p, actions);
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
