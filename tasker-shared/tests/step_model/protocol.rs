//! The actions of workers, database and operators, and the rules that must always hold.

use stateright::{Model, Property};

use super::engine::{
    LEASE, Outcome, Phase, Report, Run, State, Step, Transaction, WORKERS, Worker,
};
use super::scope::{Mutant, Scope};

pub(crate) const ORDER: &str = "no step starts before its dependencies are complete";
pub(crate) const ONE_END: &str = "the end of a step is recorded once";
pub(crate) const FENCED: &str = "a late result is refused";
pub(crate) const OVERLAP: &str =
    "two attempts of a step overlap only if a process was frozen past its lease";
pub(crate) const LIMIT: &str = "attempts exceed their limit only by lost leases";
pub(crate) const LOSSES: &str = "a step that loses too many workers ends";
pub(crate) const DEADLOCK: &str = "completing transactions do not wait for each other";
pub(crate) const CLEAN: &str = "a task that has ended has no active step";
pub(crate) const ENDS: &str = "every task ends when faults stop";

/// The first number is the worker, unless the comment says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Restart(usize),
    Thaw(usize),
    AnswerHeartbeat(usize),
    DeliverHeartbeat(usize),
    AnswerClaim(usize),
    SecondHalf(usize),
    /// Worker and dependent step.
    Lock(usize, usize),
    Commit(usize),
    Deliver(usize),
    Send(usize, usize),
    Finish(usize, usize, Outcome),
    Reconcile(usize),
    RequeueLost(usize),
    SendHeartbeat(usize),
    Claim(usize, usize),
    Tick,
    // From here on: faults, and requests from outside.
    Freeze(usize),
    Kill(usize),
    LoseHeartbeat(usize),
    LoseClaimAnswer(usize),
    /// The result is stored, and its answer is lost.
    LoseReportAnswer(usize),
    Cancel,
    /// The number is a step.
    Reset(usize),
    /// The number is a step.
    Resolve(usize),
}

/// The engine, as far as `scope` goes.
#[derive(Debug)]
pub(crate) struct Protocol(pub(crate) Scope);

impl Protocol {
    fn worker_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let worker = &state.workers[index];
        match worker.heartbeat {
            Some((_, false)) => actions.push(Action::DeliverHeartbeat(index)),
            Some((_, true)) if worker.acts() => actions.push(Action::AnswerHeartbeat(index)),
            None if worker.acts() && worker.age > 0 => actions.push(Action::SendHeartbeat(index)),
            _ => {}
        }
        match (worker.report, worker.transaction) {
            (Some(_), None) => actions.push(Action::Deliver(index)),
            (_, Some(transaction)) => self.transaction_actions(state, index, transaction, actions),
            (None, None) => {}
        }
        if worker.unseen >= LEASE && state.has_claims(index) {
            actions.push(Action::RequeueLost(index));
        }
        if !worker.alive {
            if !state.has_claims(index) && worker.report.is_none() {
                actions.push(Action::Restart(index));
            }
            return;
        }
        if worker.frozen {
            actions.push(Action::Thaw(index));
            return;
        }
        if worker.claiming.is_some() {
            actions.push(Action::AnswerClaim(index));
        }
        if worker.second_half.is_some() {
            actions.push(Action::SecondHalf(index));
        }
        for step in 0..self.0.steps {
            match worker.runs[step] {
                Run::Running(_) => {
                    actions.push(Action::Finish(index, step, Outcome::Done));
                    if self.0.failures {
                        actions.push(Action::Finish(index, step, Outcome::Retryable));
                        actions.push(Action::Finish(index, step, Outcome::Permanent));
                    }
                }
                Run::Finished(..) if worker.report.is_none() && worker.second_half.is_none() => {
                    actions.push(Action::Send(index, step));
                }
                Run::Idle
                    if state.steps[step].phase == Phase::Queued
                        && worker.claiming.is_none()
                        && worker.age < LEASE =>
                {
                    actions.push(Action::Claim(index, step));
                }
                _ => {}
            }
        }
        let reconciles = worker.unsure && worker.claiming.is_none() && worker.report.is_none();
        if reconciles && !self.0.is(Mutant::NoReconciliation) {
            actions.push(Action::Reconcile(index));
        }
    }

    fn transaction_actions(
        &self,
        state: &State,
        index: usize,
        transaction: Transaction,
        actions: &mut Vec<Action>,
    ) {
        let wanted = self.wanted(transaction);
        if wanted.is_empty() {
            actions.push(Action::Commit(index));
        }
        let free = wanted
            .into_iter()
            .filter(|row| !is_locked(state, index, *row));
        actions.extend(free.map(|row| Action::Lock(index, row)));
    }

    /// The rows that a transaction may lock next.
    fn wanted(&self, transaction: Transaction) -> Vec<usize> {
        let missing = self
            .0
            .dependents(transaction.step)
            .filter(|row| transaction.locked & (1 << row) == 0);
        let any = self.0.is(Mutant::NoLockOrder);
        missing.take(if any { usize::MAX } else { 1 }).collect()
    }

    fn is_deadlocked(&self, state: &State) -> bool {
        (0..WORKERS).all(|index| {
            let wanted = state.workers[index].transaction.map(|t| self.wanted(t));
            wanted.is_some_and(|rows| {
                !rows.is_empty() && rows.iter().all(|row| is_locked(state, index, *row))
            })
        })
    }

    fn fault_actions(state: &State, index: usize, actions: &mut Vec<Action>) {
        let (worker, budget) = (&state.workers[index], &state.budget);
        if worker.acts() && budget.freezes > 0 {
            actions.push(Action::Freeze(index));
        }
        if worker.alive && budget.kills > 0 {
            actions.push(Action::Kill(index));
        }
        if budget.lost_answers > 0 && worker.alive {
            if worker.heartbeat.is_some() {
                actions.push(Action::LoseHeartbeat(index));
            }
            if worker.claiming.is_some() {
                actions.push(Action::LoseClaimAnswer(index));
            }
            if worker.report.is_some() {
                actions.push(Action::LoseReportAnswer(index));
            }
        }
    }

    fn operator_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.budget.cancels > 0 && !state.ended {
            actions.push(Action::Cancel);
        }
        if state.budget.operators > 0 && !state.cancelled {
            for step in (0..self.0.steps).filter(|step| state.steps[*step].phase == Phase::Failed) {
                actions.extend([Action::Reset(step), Action::Resolve(step)]);
            }
        }
    }

    /// The database takes a result; `answered` lets the worker forget it.
    fn deliver(&self, state: &mut State, index: usize, answered: bool) {
        let scope = &self.0;
        let Some(report) = state.workers[index].report.take() else {
            return;
        };
        let accepted = state.verify(scope, index, report).is_some();
        if accepted && scope.single_locks {
            state.workers[index].report = Some(report);
            state.workers[index].transaction = Some(Transaction {
                step: report.step,
                locked: 0,
            });
            return;
        }
        if answered {
            forget(&mut state.workers[index], report);
        }
        if !accepted {
            return;
        }
        if scope.is(Mutant::QueueRowFirst) {
            state.steps[report.step].phase = Phase::Vanished;
            state.workers[index].second_half = Some(report);
        } else if scope.is(Mutant::DependentsApart) {
            state.store(scope, report);
            state.workers[index].second_half = Some(report);
        } else {
            self.complete(state, report);
        }
    }

    /// The completing transaction as one change.
    fn complete(&self, state: &mut State, report: Report) {
        state.store(&self.0, report);
        state.release_dependents(&self.0, report.step);
        state.end_task_if_done();
    }

    fn act(&self, state: &mut State, action: Action) {
        let scope = &self.0;
        match action {
            Action::Restart(index) => state.workers[index] = Worker::NEW,
            Action::Thaw(index) => {
                state.workers[index].frozen = false;
                state.workers[index].fence_itself();
            }
            Action::SendHeartbeat(index) => state.workers[index].heartbeat = Some((0, false)),
            Action::DeliverHeartbeat(index) => {
                let worker = &mut state.workers[index];
                worker.unseen = 0;
                worker.heartbeat = worker.heartbeat.map(|(sent, _)| (sent, true));
            }
            Action::AnswerHeartbeat(index) => {
                let worker = &mut state.workers[index];
                let sent = worker.heartbeat.take().map_or(LEASE, |(sent, _)| sent);
                let answered = scope.is(Mutant::LeaseFromAnswer);
                worker.age = if answered { 0 } else { worker.age.min(sent) };
            }
            Action::AnswerClaim(index) => state.start(scope, index),
            Action::SecondHalf(index) => {
                let Some(report) = state.workers[index].second_half.take() else {
                    return;
                };
                if scope.is(Mutant::QueueRowFirst) {
                    state.store(scope, report);
                }
                state.release_dependents(scope, report.step);
                state.end_task_if_done();
            }
            Action::Lock(index, row) => {
                if let Some(transaction) = &mut state.workers[index].transaction {
                    transaction.locked |= 1 << row;
                }
                state.flaws.deadlocked |= self.is_deadlocked(state);
            }
            Action::Commit(index) => {
                state.workers[index].transaction = None;
                if let Some(report) = state.workers[index].report.take() {
                    forget(&mut state.workers[index], report);
                    self.complete(state, report);
                }
            }
            Action::Deliver(index) => self.deliver(state, index, true),
            Action::LoseReportAnswer(index) => self.deliver(state, index, false),
            Action::Send(index, step) => {
                if let Run::Finished(attempt, outcome) = state.workers[index].runs[step] {
                    state.workers[index].report = Some(Report {
                        step,
                        attempt,
                        outcome,
                    });
                }
            }
            Action::Finish(index, step, outcome) => {
                if let Run::Running(attempt) = state.workers[index].runs[step] {
                    state.workers[index].runs[step] = Run::Finished(attempt, outcome);
                }
            }
            Action::Reconcile(index) => state.reconcile(index),
            Action::RequeueLost(index) => state.requeue_lost(scope, index),
            Action::Claim(index, step) => state.claim(index, step),
            Action::Tick => state.tick(scope),
            Action::Freeze(index) => state.workers[index].frozen = true,
            Action::Kill(index) => {
                let worker = &mut state.workers[index];
                // A report under way may still arrive.
                *worker = Worker {
                    alive: false,
                    unseen: worker.unseen,
                    report: worker.report,
                    ..Worker::NEW
                };
            }
            Action::LoseHeartbeat(index) => state.workers[index].heartbeat = None,
            Action::LoseClaimAnswer(index) => {
                state.workers[index].claiming = None;
                state.workers[index].unsure = true;
            }
            Action::Cancel => state.cancel(),
            Action::Reset(step) => state.reset_for_retry(scope, step),
            Action::Resolve(step) => state.resolve_manually(scope, step),
        }
    }

    /// Spends what the action costs.
    fn spend(state: &mut State, action: Action) {
        let budget = &mut state.budget;
        match action {
            Action::Freeze(_) => budget.freezes -= 1,
            Action::Kill(_) => budget.kills -= 1,
            Action::LoseHeartbeat(_) | Action::LoseClaimAnswer(_) | Action::LoseReportAnswer(_) => {
                budget.lost_answers -= 1;
            }
            Action::Cancel => budget.cancels -= 1,
            Action::Reset(_) | Action::Resolve(_) => budget.operators -= 1,
            _ => {}
        }
    }

    /// Lets only useful actions happen, always the first that can, and waits for the task's end.
    fn ends_without_faults(&self, state: &State) -> bool {
        let mut state = *state;
        for _ in 0..80 {
            if state.ended {
                return true;
            }
            let mut actions = Vec::new();
            for index in 0..WORKERS {
                self.worker_actions(&state, index, &mut actions);
            }
            actions.retain(|action| {
                !matches!(action, Action::Finish(_, _, outcome) if *outcome != Outcome::Done)
            });
            let next = actions.into_iter().min_by_key(usefulness);
            self.act(&mut state, next.unwrap_or(Action::Tick));
        }
        state.ended
    }
}

/// Work on what has begun comes before new work, and time passes when there is nothing to do.
fn usefulness(action: &Action) -> u8 {
    match action {
        Action::Restart(_) | Action::Thaw(_) => 0,
        Action::DeliverHeartbeat(_) | Action::AnswerHeartbeat(_) | Action::SendHeartbeat(_) => 1,
        Action::Claim(..) => 3,
        _ => 2,
    }
}

fn is_locked(state: &State, index: usize, row: usize) -> bool {
    let others = (0..WORKERS).filter(|other| *other != index);
    let mut locked = others.filter_map(|other| state.workers[other].transaction);
    locked.any(|transaction| transaction.locked & (1 << row) != 0)
}

fn forget(worker: &mut Worker, report: Report) {
    if worker.alive && worker.runs[report.step] == Run::Finished(report.attempt, report.outcome) {
        worker.runs[report.step] = Run::Idle;
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for index in 0..WORKERS {
            self.worker_actions(state, index, actions);
            Self::fault_actions(state, index, actions);
        }
        self.operator_actions(state, actions);
        if self.0.aging > 0 {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        Self::spend(&mut state, action);
        self.act(&mut state, action);
        (state != *last).then_some(state)
    }

    /// Leases can be lost without end; what happens after so many attempts has happened before.
    fn within_boundary(&self, state: &State) -> bool {
        let within = |step: &Step| step.attempt <= self.0.attempts;
        state.steps.iter().all(within)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ORDER, |_, state: &State| !state.flaws.started_early),
            Property::always(ONE_END, |_, state: &State| !state.flaws.ended_twice),
            Property::always(FENCED, |_, state: &State| !state.flaws.late_result_accepted),
            Property::always(OVERLAP, |_, state: &State| !state.flaws.overlapped),
            Property::always(LIMIT, |_, state: &State| {
                let within = |step: &Step| step.attempt <= step.allowed + step.lost_leases;
                state.steps.iter().all(within)
            }),
            Property::always(LOSSES, |model: &Self, state: &State| {
                let within = |step: &Step| step.losses <= model.0.max_losses;
                state.steps.iter().all(within)
            }),
            Property::always(DEADLOCK, |_, state: &State| !state.flaws.deadlocked),
            Property::always(CLEAN, |_, state: &State| {
                !state.ended || !state.steps.iter().any(Step::is_active)
            }),
            Property::always(ENDS, Self::ends_without_faults),
        ]
    }
}
