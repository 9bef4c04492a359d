//! The effect of each action.

use super::Mutant;
use super::database::{OURS, Stamp};
use super::process::{Load, Process, Registration};
use super::scope::PROCESSES;
use super::system::{Action, Protocol, State, Stored};
use super::witnesses::Event;

impl Protocol {
    /// Makes `state` the next one. Returns false if the action is not possible now.
    pub(crate) fn step(&self, state: &mut State, action: Action) -> bool {
        let scope = &self.scope;
        match action {
            Action::Tick => {
                state.database.tick(scope.too_old());
                for process in &mut state.processes {
                    process.tick(scope.too_old());
                }
            }
            Action::Write(name) => {
                state.database.write(name, scope);
                committed(state);
            }
            Action::Begin(writer, name) => return state.database.begin(writer, name, scope),
            Action::LockClock(writer) => return state.database.lock(writer),
            Action::Commit(writer) => {
                if !state.database.commit_open(writer, scope) {
                    return false;
                }
                committed(state);
            }
            Action::Rollback(writer) => state.database.open[writer] = None,
            Action::RestoreBackup(length) => {
                state.database.restore(length);
                committed(state);
            }
            Action::ExecuteStray(content) => {
                state.strays &= !(1 << content);
                store(state, content);
            }
            Action::FlushRedis => state.redis = None,
            Action::RestoreRedis(content) => store(state, content),
            process => return self.step_process(state, process),
        }
        true
    }

    fn step_process(&self, state: &mut State, action: Action) -> bool {
        let scope = &self.scope;
        match action {
            Action::SendPoll(p) => {
                state.processes[p].send_poll();
                if !scope.judged {
                    // The time of sending matters for answers only.
                    self.answer_poll(state, p);
                    return state.processes[p]
                        .poll
                        .is_some_and(|poll| poll.answer.is_some());
                }
            }
            Action::AnswerPoll(p) => self.answer_poll(state, p),
            Action::ReceivePoll(p) => return self.receive_poll(state, p),
            Action::LosePoll(p) => state.processes[p].poll = None,
            Action::Wait(p) => {
                let database = state.database;
                state.processes[p].arrive(&database, scope);
                self.witnesses.note(Event::Waits);
            }
            Action::Answer(p) => return self.answer(state, p),
            Action::ReadRedis(p, content) => return self.read_redis(state, p, content),
            Action::ReadDatabase(p) => return self.read_database(state, p),
            Action::ReceiveLoad(p) => return self.receive_load(state, p),
            Action::Evict(p) => {
                let Some(entry) = state.processes[p].entry() else {
                    return false;
                };
                state.processes[p].local[usize::from(entry)] = None;
            }
            Action::SendFill(p) => {
                let Some(content) = state.processes[p].take_fill() else {
                    return false;
                };
                store(state, content);
                if content != state.database.content(state.database.current(OURS)) {
                    self.witnesses.note(Event::LateFill);
                }
            }
            Action::TimeOutFill(p) => {
                let Some(content) = state.processes[p].take_fill() else {
                    return false;
                };
                state.strays |= 1 << content;
            }
            Action::Crash(p) => {
                if let Some(Registration::Committed(_) | Registration::Deleting(_)) =
                    state.processes[p].registration
                {
                    self.witnesses.note(Event::CrashBetweenCommitAndDelete);
                }
                state.processes[p] = Process::started(scope);
            }
            registration => return self.step_registration(state, registration),
        }
        true
    }

    fn answer_poll(&self, state: &mut State, p: usize) {
        let database = &state.database;
        let process = &mut state.processes[p];
        let Some(poll) = &mut process.poll else {
            return;
        };
        let known = process.index.filter(|_| !poll.reload);
        poll.answer = match known {
            None => Some(database.load()),
            Some(known) => database.poll(known, &self.scope),
        };
        if let Some(answer) = poll.answer {
            let commit = database.commit_of(answer.stamp);
            state.flaws.gap |=
                answer.stamp != database.latest() || answer.pointers != commit.pointers;
        } else {
            poll.reload = true;
            self.witnesses.note(Event::OtherHistory);
        }
    }

    fn receive_poll(&self, state: &mut State, p: usize) -> bool {
        let scope = &self.scope;
        let process = &mut state.processes[p];
        let Some(poll) = process.poll.take() else {
            return false;
        };
        let Some(answer) = poll.answer else {
            return false;
        };
        process.receive_poll(poll, answer, scope);
        if poll.age > scope.bound {
            self.witnesses.note(Event::ReplyPastBound);
        }
        if poll.before_write {
            self.witnesses.note(Event::PollOfBeforeWrite);
        }
        let Some(reader) = &mut process.reader else {
            return true;
        };
        reader.satisfied |= poll.counts;
        if !poll.counts && poll.age > scope.bound {
            self.witnesses.note(Event::WaitsAgain);
        }
        true
    }

    /// Answers, as `Resolver::resolve` does if `TemplateIndex::may_be_used` and the local tier has the
    /// document.
    fn answer(&self, state: &mut State, p: usize) -> bool {
        let process = &state.processes[p];
        let is_fresh = !self.scope.is_linearizable() && process.is_fresh(&self.scope);
        if !is_fresh && process.satisfied(&self.scope).is_none() {
            self.witnesses.note(Event::NotAllowed);
            return false;
        }
        self.judge(state, p);
        state.processes[p].reader = None;
        true
    }

    /// Reads Redis, as `RedisTier::get` does, which accepts a document by its hash.
    fn read_redis(&self, state: &mut State, p: usize, content: u8) -> bool {
        let Some(entry) = state.processes[p].entry() else {
            return false;
        };
        if content != state.database.content(entry) && !self.scope.is(Mutant::NoHashCheck) {
            self.witnesses.note(Event::OtherHashRefused);
            return false;
        }
        self.witnesses.note(Event::RedisHit);
        state.processes[p].load = Some(Load {
            entry,
            content,
            from_database: false,
        });
        true
    }

    /// Reads document and pointer from one snapshot, as `database_tier::load` does. Another pointer is an
    /// outdated load, which only causes a poll; polls may be sent at any time.
    fn read_database(&self, state: &mut State, p: usize) -> bool {
        let current = state.database.current(OURS);
        if state.processes[p].entry() != Some(current) {
            self.witnesses.note(Event::OutdatedLoad);
            return false;
        }
        state.processes[p].load = Some(Load {
            entry: current,
            content: state.database.content(current),
            from_database: true,
        });
        true
    }

    fn receive_load(&self, state: &mut State, p: usize) -> bool {
        let process = &mut state.processes[p];
        let Some(load) = process.load else {
            return false;
        };
        if process.entry() != Some(load.entry) {
            self.witnesses.note(Event::LateLoad);
        }
        process.receive_load(load, &self.scope);
        true
    }

    fn step_registration(&self, state: &mut State, action: Action) -> bool {
        match action {
            Action::DeleteFirst(p) => {
                state.redis = None;
                state.processes[p].registration = Some(Registration::DeletedFirst);
            }
            Action::Register(p) => {
                let stamp = state.database.write(OURS, &self.scope);
                let content = state.database.content(stamp);
                if let Some(stored) = &mut state.redis {
                    stored.outdated_by[p] = stored.content != content;
                }
                state.processes[p].registration = Some(Registration::Committed(stamp));
                committed(state);
            }
            Action::RegisterUnchanged(p) => {
                let current = state.database.current(OURS);
                state.processes[p].registration = Some(Registration::Committed(current));
                self.trust_unchanged(state, p, current);
            }
            Action::RetryRegistration(p) => {
                let Some(Registration::Committed(stamp)) = state.processes[p].registration else {
                    return false;
                };
                let current = state.database.current(OURS);
                if state.database.content(current) != state.database.content(stamp) {
                    // It would write again, like a registration that begins now.
                    return false;
                }
                self.witnesses.note(Event::RetryFindsOwnWork);
                state.processes[p].registration = Some(Registration::Committed(current));
                self.trust_unchanged(state, p, current);
            }
            Action::BeginDelete(p) => {
                let process = &mut state.processes[p];
                let Some(Registration::Committed(stamp)) = process.registration else {
                    return false;
                };
                process.registration = Some(Registration::Deleting(stamp));
                if self.scope.judged && !self.scope.is(Mutant::NoWriteFloor) {
                    process.write_unread = true;
                    if let Some(poll) = &mut process.poll {
                        poll.before_write = true;
                    }
                }
                if self.scope.is(Mutant::InvalidateBeforeCommit) {
                    self.returned(state, p, stamp, false);
                }
            }
            Action::Delete(p) | Action::LoseDelete(p) => {
                let Some(Registration::Deleting(stamp)) = state.processes[p].registration else {
                    return false;
                };
                let lost = matches!(action, Action::LoseDelete(_));
                if !lost {
                    state.redis = None;
                }
                self.returned(state, p, stamp, lost);
            }
            other => unreachable!("{other:?} is no step of a registration"),
        }
        true
    }

    fn trust_unchanged(&self, state: &mut State, p: usize, current: Stamp) {
        if self.scope.is(Mutant::TrustUnchanged) {
            self.returned(state, p, current, false);
        }
    }

    /// Returns from the registration to its caller.
    fn returned(&self, state: &mut State, p: usize, stamp: Stamp, lost: bool) {
        let process = &mut state.processes[p];
        process.registration = None;
        process.own = Some(stamp).filter(|_| self.scope.judged);
        let outdated = state.redis.as_mut();
        let remains = outdated.is_some_and(|stored| std::mem::take(&mut stored.outdated_by[p]));
        state.flaws.left_in_redis |= remains && !lost;
        self.witnesses.note(Event::Registered);
    }
}

fn store(state: &mut State, content: u8) {
    state.redis = Some(Stored {
        content,
        outdated_by: [false; PROCESSES],
    });
}

/// Notes that a commit has become visible, or a backup is in place.
fn committed(state: &mut State) {
    let current = state.database.current(OURS);
    let content = state.database.content(current);
    for process in &mut state.processes {
        if let Some(reader) = process.reader.as_mut().filter(|reader| reader.seen != 0) {
            reader.seen |= 1 << content;
        }
    }
}
