//! What each action does.

use super::Mutant;
use super::database::{OURS, Stamp};
use super::process::{Body, Command, Load, LoadStage, Process, Registration};
use super::scope::PROCESSES;
use super::system::{Action, Protocol, State, Stored};
use super::witnesses::Event;

impl Protocol {
    /// Makes `state` the next one; `false` if the action is not possible now.
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
                store(state, Body::ours(content));
            }
            Action::FlushRedis => state.redis = None,
            Action::RestoreRedis(content) => {
                state.faulted = true;
                store(state, Body::ours(content));
            }
            Action::ClashInRedis => {
                state.faulted = true;
                let content = state.database.content(state.database.current(OURS));
                let of_other_name = true;
                store(
                    state,
                    Body {
                        content,
                        of_other_name,
                    },
                );
            }
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
                    // When the poll was sent matters for answers only.
                    self.answer_poll(state, p);
                    return state.processes[p]
                        .poll
                        .is_some_and(|poll| poll.answer.is_some());
                }
            }
            Action::AnswerPoll(p) => self.answer_poll(state, p),
            Action::ReceivePoll(p) => return self.receive_poll(state, p),
            Action::EndPoll(p) => return self.end_poll(state, p),
            Action::LosePoll(p) => state.processes[p].poll = None,
            Action::Wait(p) => {
                let database = state.database;
                state.processes[p].arrive(&database, scope);
                self.witnesses.note(Event::Waits);
            }
            Action::Answer(p) => return self.answer(state, p),
            Action::ReadRedis(p, body) => return self.read_redis(state, p, body),
            Action::ReadBody(p) => return self.read_body(state, p),
            Action::GoOnLoading(p) => return self.go_on_loading(state, p),
            Action::Evict(p) => {
                let Some(entry) = state.processes[p].entry() else {
                    return false;
                };
                state.processes[p].local[usize::from(entry)] = None;
            }
            Action::SendCommand(p) => match state.processes[p].take_command() {
                Some(Command::Fill(body)) => {
                    store(state, body);
                    if body.content != state.database.content(state.database.current(OURS)) {
                        self.witnesses.note(Event::LateFill);
                    }
                }
                Some(Command::Undo) => state.redis = None,
                None => return false,
            },
            Action::TimeOutCommand(p) => {
                state.faulted = true;
                if let Some(Command::Fill(body)) = state.processes[p].take_command() {
                    state.strays |= 1 << body.content;
                }
            }
            Action::BeginRetirement(p, head_is_being_written) => {
                let process = &mut state.processes[p];
                process.retirement.queued = false;
                process.retirement.deleting = true;
                process.forget(head_is_being_written);
            }
            Action::Retire(p) => {
                state.processes[p].retirement.deleting = false;
                state.redis = None;
                self.witnesses.note(Event::Retired);
            }
            Action::LoseRetirement(p) => {
                state.processes[p].retirement.deleting = false;
                state.faulted = true;
            }
            Action::Crash(p) => {
                if let Some(Registration::Committed(_) | Registration::Deleting(_)) =
                    state.processes[p].registration
                {
                    self.witnesses.note(Event::CrashBetweenCommitAndDelete);
                }
                state.faulted = true;
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
        let known = process.directory.filter(|_| !poll.reload);
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
        let process = &mut state.processes[p];
        let Some(answer) = process.poll.and_then(|poll| poll.answer) else {
            return false;
        };
        process.begin_receiving(answer, &self.scope);
        self.scope.small_steps || self.end_poll(state, p)
    }

    fn end_poll(&self, state: &mut State, p: usize) -> bool {
        let scope = &self.scope;
        let process = &mut state.processes[p];
        let Some(poll) = process.poll.take() else {
            return false;
        };
        let Some(answer) = poll.answer else {
            return false;
        };
        process.end_receiving(poll, answer, scope);
        if poll.age > scope.bound {
            self.witnesses.note(Event::ReplyPastBound);
        }
        if poll.before_write {
            self.witnesses.note(Event::PollOfBeforeWrite);
        }
        let Some(reader) = &mut process.reader else {
            return true;
        };
        if scope.is_linearizable() {
            reader.satisfied |= poll.counts;
        } else if process.is_fresh(scope) {
            process.reader = None;
        } else if poll.counts {
            self.witnesses.note(Event::WaitsAgain);
            if scope.is(Mutant::NoCheckAfterWait) && process.held().is_some() {
                process.reader = None;
                self.judge(state, p);
            }
        }
        true
    }

    /// `Resolver::resolve`: the directory may be used, and the local tier holds its body.
    fn answer(&self, state: &mut State, p: usize) -> bool {
        let process = &state.processes[p];
        let allowed = if self.scope.is_linearizable() {
            process.reader.is_some_and(|reader| reader.satisfied)
        } else {
            process.is_fresh(&self.scope)
        };
        if !allowed {
            self.witnesses.note(Event::NotAllowed);
            return false;
        }
        self.judge(state, p);
        state.processes[p].reader = None;
        true
    }

    /// `DistributedTier::get`: the one place that decides whether what Redis holds is a hit.
    fn read_redis(&self, state: &mut State, p: usize, body: Body) -> bool {
        let scope = &self.scope;
        let Some(entry) = state.processes[p].entry() else {
            return false;
        };
        if body.of_other_name && !scope.is(Mutant::NoNameCheck) {
            self.witnesses.note(Event::OtherNameRefused);
            return false;
        }
        let wanted = state.database.content(entry);
        if body.content != wanted && !scope.is(Mutant::NoHashCheck) {
            self.witnesses.note(Event::OtherHashRefused);
            return false;
        }
        self.witnesses.note(Event::RedisHit);
        state.processes[p].load = Some(Load {
            entry,
            body,
            from_database: false,
            stage: LoadStage::Arriving,
        });
        true
    }

    /// `body::load`: body and pointer in one snapshot. Another pointer is an outdated load, which
    /// only asks for a poll; polls may be sent at any time.
    fn read_body(&self, state: &mut State, p: usize) -> bool {
        let current = state.database.current(OURS);
        if state.processes[p].entry() != Some(current) {
            self.witnesses.note(Event::OutdatedLoad);
            return false;
        }
        state.processes[p].load = Some(Load {
            entry: current,
            body: Body::ours(state.database.content(current)),
            from_database: true,
            stage: LoadStage::Arriving,
        });
        true
    }

    fn go_on_loading(&self, state: &mut State, p: usize) -> bool {
        let process = &mut state.processes[p];
        let Some(load) = process.load else {
            return false;
        };
        if process.entry() != Some(load.entry) {
            self.witnesses.note(Event::LateLoad);
        }
        process.go_on_loading(load, &self.scope);
        if !self.scope.small_steps {
            while let Some(load) = process.load {
                process.go_on_loading(load, &self.scope);
            }
        }
        true
    }

    fn step_registration(&self, state: &mut State, action: Action) -> bool {
        match action {
            Action::DeleteFirst(p) => {
                state.processes[p].forget(false);
                state.redis = None;
                state.processes[p].registration = Some(Registration::DeletedFirst);
            }
            Action::Register(p) => {
                let stamp = state.database.write(OURS, &self.scope);
                let content = state.database.content(stamp);
                if let Some(stored) = &mut state.redis {
                    stored.outdated_by[p] = stored.body.content != content;
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
                    // It would be written again, as a registration that begins now.
                    return false;
                }
                self.witnesses.note(Event::RetryFindsOwnWork);
                state.processes[p].registration = Some(Registration::Committed(current));
                self.trust_unchanged(state, p, current);
            }
            Action::BeginDelete(p, head_is_being_written) => {
                let process = &mut state.processes[p];
                let Some(Registration::Committed(stamp)) = process.registration else {
                    return false;
                };
                process.registration = Some(Registration::Deleting(stamp));
                if self.scope.judged && !self.scope.is(Mutant::NoWriteFloor) {
                    process.write_unread = true;
                    if let Some(poll) = &mut process.poll {
                        poll.before_write = true;
                        poll.counts &= self.scope.is_linearizable();
                    }
                }
                if self.scope.is(Mutant::InvalidateBeforeCommit) {
                    self.returned(state, p, stamp, false);
                } else {
                    process.forget(head_is_being_written);
                }
            }
            Action::Delete(p) | Action::LoseDelete(p) => {
                let Some(Registration::Deleting(stamp)) = state.processes[p].registration else {
                    return false;
                };
                let lost = matches!(action, Action::LoseDelete(_));
                if lost {
                    state.faulted = true;
                } else {
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

    /// The registration tells its caller that it is done.
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

fn store(state: &mut State, body: Body) {
    state.redis = Some(Stored {
        body,
        outdated_by: [false; PROCESSES],
    });
}

/// A commit has become visible, or a backup is in place.
fn committed(state: &mut State) {
    let current = state.database.current(OURS);
    let content = state.database.content(current);
    for process in &mut state.processes {
        if let Some(reader) = process.reader.as_mut().filter(|reader| reader.seen != 0) {
            reader.seen |= 1 << content;
        }
    }
}
