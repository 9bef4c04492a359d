//! The actions of workers, database and operators.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Mutex;

use stateright::{Model, Property};

use super::completion::Next;
use super::engine::{
    Answer, Cancel, End, Flaws, Heartbeat, LEASE, Line, Outcome, Report, Row, Run, State, WORKERS,
    Worker,
};
use super::properties;
use super::scope::{Budget, Mutant, Scope};
use super::witnesses::Witnesses;

/// The first number is the worker, the second the line that a statement has, the last a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Register(usize),
    Thaw(usize),
    /// A thawed worker sees that its lease is over.
    Expire(usize),
    AnswerHeartbeat(usize),
    DeliverHeartbeat(usize),
    Receive(usize),
    SecondHalf(usize, usize),
    /// A completion arrives, and has the step's row.
    Begin(usize, usize),
    Advance(usize, usize, usize),
    /// A completion from its arrival to its commit.
    Complete(usize, usize),
    Finish(usize, Outcome, usize),
    SendComplete(usize, usize),
    SendRecover(usize),
    Recover(usize, usize),
    /// With the step that is given up.
    RequeueLost(usize, Option<usize>),
    CancelNext,
    SendHeartbeat(usize),
    SendClaim(usize),
    Take(usize, usize, usize),
    /// A claim finds nothing.
    TakeNothing(usize, usize),
    Tick,
    // From here on: faults, and requests from outside.
    Freeze(usize),
    Kill(usize),
    LoseHeartbeat(usize),
    /// An answer is lost, or a worker does not wait for it any more.
    GiveUp(usize),
    Drain(usize),
    Cancel,
    Reset(usize),
    Resolve(usize),
}

/// The engine, as far as `scope` goes.
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(crate) scope: Scope,
    pub(crate) witnesses: Witnesses,
    /// The hashes of states from which the task is known to end.
    ending: Mutex<HashSet<u64>>,
}

impl Protocol {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            scope,
            witnesses: Witnesses::default(),
            ending: Mutex::default(),
        }
    }

    fn worker_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let worker = &state.workers[index];
        for line in 0..worker.lines.len() {
            self.line_actions(state, index, line, actions);
        }
        let unlocked = |step: usize| !state.is_row_locked(step);
        let mine = |step: &usize| state.steps[*step].row == Row::Claimed(index);
        let returns = (0..self.scope.steps).filter(mine).any(unlocked);
        if worker.unseen >= LEASE && (returns || worker.alive && !worker.lost) {
            let hopeless = state.hopeless(&self.scope, index);
            let choices = hopeless
                .iter()
                .map(|step| Action::RequeueLost(index, Some(*step)));
            actions.extend(choices);
            if hopeless.is_empty() {
                actions.push(Action::RequeueLost(index, None));
            }
        }
        if !worker.alive {
            let running = state.workers.iter().filter(|worker| worker.alive).count();
            let is_free = !state.has_claims(index) && worker.lines == [None; 2];
            if running < 2 && is_free && index < self.scope.registrations {
                actions.push(Action::Register(index));
            }
            return;
        }
        match worker.heartbeat {
            Some(heartbeat) if heartbeat.renewed.is_none() => {
                actions.push(Action::DeliverHeartbeat(index));
            }
            Some(_) if worker.acts() => actions.push(Action::AnswerHeartbeat(index)),
            None if worker.acts() && worker.age > 0 => actions.push(Action::SendHeartbeat(index)),
            _ => {}
        }
        if worker.frozen {
            actions.push(Action::Thaw(index));
            return;
        }
        if worker.age >= LEASE {
            actions.push(Action::Expire(index));
        }
        self.session_actions(state, index, actions);
    }

    /// The actions of a worker that is not frozen. It waits for one statement at a time.
    fn session_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let worker = &state.workers[index];
        let in_time = worker.age < LEASE;
        let (mut unrecorded, mut unknown) = (false, false);
        for step in 0..self.scope.steps {
            match worker.runs[step] {
                Run::Running(_) if in_time => {
                    actions.push(Action::Finish(index, Outcome::Done, step));
                    if self.scope.failures {
                        actions.push(Action::Finish(index, Outcome::Permanent, step));
                    }
                    if self.scope.failures && self.scope.max_attempts > 1 {
                        actions.push(Action::Finish(index, Outcome::Retryable, step));
                    }
                }
                Run::Finished(..) => {
                    unrecorded = true;
                    if worker.lines[0].is_none() {
                        actions.push(Action::SendComplete(index, step));
                    }
                }
                Run::Idle => unknown |= state.steps[step].row == Row::Claimed(index),
                Run::Running(_) => {}
            }
        }
        if worker.lines[0].is_some() {
            if let Some(Line::Answer(_)) = worker.lines[0] {
                actions.push(Action::Receive(index));
            }
            return;
        }
        let has_queued = state.steps.iter().any(|step| step.row == Row::Queued);
        if has_queued && !unrecorded && in_time {
            actions.push(Action::SendClaim(index));
        }
        // It does so again and again; here only when that changes something.
        if unknown && in_time && !self.scope.is(Mutant::NoReconciliation) {
            actions.push(Action::SendRecover(index));
        }
    }

    fn line_actions(&self, state: &State, index: usize, line: usize, actions: &mut Vec<Action>) {
        match state.workers[index].lines[line] {
            Some(Line::Claim) => {
                let is_queued = |step: &usize| state.steps[*step].row == Row::Queued;
                let mut queued: Vec<usize> = (0..self.scope.steps).filter(is_queued).collect();
                queued.retain(|step| !state.is_row_locked(*step));
                actions.extend(queued.iter().map(|step| Action::Take(index, line, *step)));
                if queued.is_empty() {
                    actions.push(Action::TakeNothing(index, line));
                }
            }
            Some(Line::Complete(report)) if !state.is_row_locked(report.step) => {
                actions.push(if self.scope.single_locks {
                    Action::Begin(index, line)
                } else {
                    Action::Complete(index, line)
                });
            }
            Some(Line::Completing(transaction)) => {
                let next = state.next(&self.scope, &transaction);
                if state.is_blocked(&transaction, &next, &self.scope) {
                    return;
                }
                let rows = match next {
                    Next::Lock(rows) => rows,
                    _ => vec![0],
                };
                let is_locked =
                    |row: &usize| state.transactions().any(|t| t.locked & (1 << row) != 0);
                let is_lock = matches!(state.next(&self.scope, &transaction), Next::Lock(_));
                let free = rows.into_iter().filter(|row| !is_lock || !is_locked(row));
                actions.extend(free.map(|row| Action::Advance(index, line, row)));
            }
            Some(Line::Recover) => actions.push(Action::Recover(index, line)),
            Some(Line::SecondHalf(_)) => actions.push(Action::SecondHalf(index, line)),
            Some(Line::Complete(_) | Line::Answer(_)) | None => {}
        }
    }

    fn fault_actions(state: &State, index: usize, actions: &mut Vec<Action>) {
        let (worker, budget) = (&state.workers[index], &state.budget);
        if worker.acts() && budget.freezes > 0 {
            actions.push(Action::Freeze(index));
        }
        if worker.alive && budget.kills > 0 {
            actions.push(Action::Kill(index));
        }
        if worker.acts() && budget.drains > 0 && worker.lines[0].is_none() {
            actions.push(Action::Drain(index));
        }
        if budget.lost_answers > 0 && worker.alive {
            if worker.heartbeat.is_some() {
                actions.push(Action::LoseHeartbeat(index));
            }
            if worker.lines[0].is_some() && worker.lines[1].is_none() {
                actions.push(Action::GiveUp(index));
            }
        }
    }

    /// The next statement of a cancellation, unless it waits for rows that completions have locked.
    fn cancel_actions(state: &State, actions: &mut Vec<Action>) {
        let is_free = match state.cancel {
            None => return,
            Some(Cancel::Locking(rows) | Cancel::Deleting(_, rows)) => state
                .transactions()
                .all(|t| rows & (1 << t.report.step) == 0),
            Some(Cancel::Locked(_)) => true,
            // Only transactions that have locked steps.
            Some(Cancel::Deleted(_)) => state.transactions().all(|t| t.read.is_none()),
        };
        if is_free {
            actions.push(Action::CancelNext);
        }
    }

    fn operator_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.budget.cancels > 0 && !state.ended {
            actions.push(Action::Cancel);
        }
        if state.budget.operators == 0 || state.cancelled {
            return;
        }
        for step in 0..self.scope.steps {
            if state.steps[step].end == Some(End::Failed) {
                actions.push(Action::Reset(step));
            }
            if state.steps[step].end != Some(End::Complete) {
                actions.push(Action::Resolve(step));
            }
        }
    }

    fn act(&self, state: &mut State, action: Action) {
        let scope = &self.scope;
        match action {
            Action::Register(index) => state.workers[index] = Worker::NEW,
            Action::Thaw(index) => state.workers[index].frozen = false,
            Action::Freeze(index) => state.workers[index].frozen = true,
            Action::Expire(index) | Action::Kill(index) => state.workers[index].end(),
            Action::SendHeartbeat(index)
            | Action::LoseHeartbeat(index)
            | Action::DeliverHeartbeat(index)
            | Action::AnswerHeartbeat(index) => self.beat(&mut state.workers[index], action),
            Action::SendClaim(index) => {
                let worker = &mut state.workers[index];
                let lost = Answer {
                    is_lost: true,
                    ..Answer::default()
                };
                let claims = !worker.lost;
                worker.lines[0] = Some(if claims {
                    Line::Claim
                } else {
                    Line::Answer(lost)
                });
            }
            Action::Take(index, line, step) => state.take(index, line, step),
            Action::TakeNothing(index, line) => state.answer(index, line, Answer::default()),
            Action::SendRecover(index) => state.workers[index].lines[0] = Some(Line::Recover),
            Action::Recover(index, line) => state.recover(index, line),
            Action::Receive(index) => state.receive(scope, index),
            Action::Finish(index, outcome, step) => {
                if let Run::Running(attempt) = state.workers[index].runs[step] {
                    state.workers[index].runs[step] = Run::Finished(attempt, outcome);
                }
            }
            Action::SendComplete(index, step) => {
                if let Run::Finished(attempt, outcome) = state.workers[index].runs[step] {
                    let report = Report {
                        step,
                        attempt,
                        outcome,
                    };
                    state.workers[index].lines[0] = Some(Line::Complete(report));
                }
            }
            Action::Begin(index, line) | Action::Complete(index, line) => {
                if let Some(Line::Complete(report)) = state.workers[index].lines[line] {
                    state.begin(scope, index, line, report);
                }
                while !scope.single_locks && self.lock_any(state, index, line) {}
            }
            Action::Advance(index, line, row) => {
                state.advance(scope, index, line, row);
                state.flaws.deadlocked |= state.is_deadlocked(scope);
            }
            Action::SecondHalf(index, line) => {
                if let Some(Line::SecondHalf(report)) = state.workers[index].lines[line] {
                    state.second_half(scope, index, line, report);
                }
            }
            Action::RequeueLost(index, hopeless) => state.requeue_lost(index, hopeless),
            Action::Tick => state.tick(scope),
            Action::GiveUp(index) => {
                let lines = &mut state.workers[index].lines;
                let under_way =
                    |line: &Line| !matches!(line, Line::Answer(_) | Line::SecondHalf(_));
                lines[1] = lines[0].take().filter(under_way);
            }
            Action::Drain(index) => {
                state.workers[index].end();
                state.workers[index].lost = true;
                state.workers[index].unseen = LEASE;
                state.return_claims(index);
            }
            Action::Cancel | Action::CancelNext => self.cancel(state),
            Action::Reset(step) => state.reset_for_retry(step),
            Action::Resolve(step) => state.resolve_manually(scope, step),
        }
    }

    fn beat(&self, worker: &mut Worker, action: Action) {
        match action {
            Action::SendHeartbeat(_) => worker.heartbeat = Some(Heartbeat::default()),
            Action::DeliverHeartbeat(_) => {
                worker.lost &= !self.scope.is(Mutant::LostMayBeat);
                if !worker.lost {
                    worker.unseen = 0;
                }
                if let Some(heartbeat) = &mut worker.heartbeat {
                    heartbeat.renewed = Some(!worker.lost);
                }
            }
            Action::AnswerHeartbeat(_) => match worker.heartbeat.take() {
                Some(heartbeat) if heartbeat.renewed == Some(true) => {
                    let from_answer = self.scope.is(Mutant::LeaseFromAnswer);
                    let age = if from_answer { 0 } else { heartbeat.age };
                    worker.age = worker.age.min(age);
                    worker.suspended = heartbeat.suspended;
                }
                _ => worker.end(),
            },
            _ => worker.heartbeat = None,
        }
    }

    /// Carries out a cancellation, or the next of its statements.
    fn cancel(&self, state: &mut State) {
        let next = match state.cancel {
            None if self.scope.single_locks => Cancel::Locking(state.rows()),
            Some(Cancel::Locking(rows)) => Cancel::Locked(rows),
            Some(Cancel::Locked(rows)) => Cancel::Deleting(rows, state.rows()),
            Some(Cancel::Deleting(_, rows)) => Cancel::Deleted(rows),
            None => return state.cancel(state.rows()),
            Some(Cancel::Deleted(rows)) => return state.cancel(rows),
        };
        state.cancel = Some(next);
    }

    /// Advances a transaction that nothing holds up.
    fn lock_any(&self, state: &mut State, index: usize, line: usize) -> bool {
        let Some(Line::Completing(transaction)) = state.workers[index].lines[line] else {
            return false;
        };
        let row = match state.next(&self.scope, &transaction) {
            Next::Lock(rows) => rows[0],
            _ => 0,
        };
        state.advance(&self.scope, index, line, row)
    }

    /// Lets only useful actions happen, always the first that can, and waits for the task's end.
    pub(crate) fn ends_without_faults(&self, state: &State) -> bool {
        let mut state = State {
            budget: Budget::default(),
            flaws: Flaws::default(),
            ..*state
        };
        let mut passed = Vec::new();
        for _ in 0..120 {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(state);
            let mut ending = self.ending.lock().expect("no holder panics");
            if state.ended && !state.has_rows() || ending.contains(&hash) {
                ending.extend(passed);
                return true;
            }
            drop(ending);
            passed.push(hash);
            let mut actions = Vec::new();
            for index in 0..WORKERS {
                self.worker_actions(&state, index, &mut actions);
            }
            Self::cancel_actions(&state, &mut actions);
            actions.retain(|action| {
                !matches!(action, Action::Finish(_, outcome, _) if *outcome != Outcome::Done)
            });
            let next = actions.into_iter().min_by_key(usefulness);
            self.act(&mut state, next.unwrap_or(Action::Tick));
        }
        false
    }
}

/// Work on what has begun comes before new work, and time passes when there is nothing to do.
fn usefulness(action: &Action) -> u8 {
    match action {
        Action::Register(_) | Action::Thaw(_) | Action::Expire(_) => 0,
        Action::DeliverHeartbeat(_) | Action::AnswerHeartbeat(_) | Action::SendHeartbeat(_) => 1,
        Action::SendClaim(_) => 3,
        _ => 2,
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.scope)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for index in 0..WORKERS {
            self.worker_actions(state, index, actions);
            Self::fault_actions(state, index, actions);
        }
        Self::cancel_actions(state, actions);
        self.operator_actions(state, actions);
        actions.push(Action::Tick);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        state.budget.spend(action);
        self.act(&mut state, action);
        self.witnesses.note(&self.scope, last, action, &state);
        (state != *last).then_some(state)
    }

    /// Leases can be lost without end; what happens after so many attempts has happened before.
    fn within_boundary(&self, state: &State) -> bool {
        state
            .steps
            .iter()
            .all(|step| step.attempt <= self.scope.attempts)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
