//! The transaction that stores a result, releases dependents, ends the task and claims for the worker.

use super::engine::{Answer, Cancel, End, Line, Outcome, Report, Row, STEPS, State, Transaction};
use super::scope::{Mutant, Scope};

/// The next act of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Locks and writes the step's own row, and reads the counters of its dependents.
    Write,
    /// Locks one of these dependents.
    Lock(Vec<usize>),
    /// Locks the task, and looks whether it ends.
    Settle,
    Commit,
}

impl State {
    /// Returns whether a result is of the attempt that the worker has.
    pub(crate) fn is_current(&self, worker: usize, report: Report) -> bool {
        let step = &self.steps[report.step];
        step.row == Row::Claimed(worker) && step.attempt == report.attempt
    }

    /// The statement arrives: it is refused, or has the step's row from now on.
    pub(crate) fn begin(&mut self, scope: &Scope, worker: usize, line: usize, report: Report) {
        let row = self.steps[report.step].row;
        let is_current = match scope.mutant {
            Some(Mutant::NoFencing) => row != Row::None,
            Some(Mutant::FenceByWorker) => row == Row::Claimed(worker),
            _ => self.is_current(worker, report),
        };
        if is_current && !self.ended {
            let transaction = Transaction {
                report,
                read: None,
                locked: 0,
                settled: None,
            };
            self.workers[worker].lines[line] = Some(Line::Completing(transaction));
            return;
        }
        if self.ended && self.is_current(worker, report) {
            // A cancellation left it behind.
            self.steps[report.step].row = Row::None;
        }
        let refused = Answer {
            end: Some(report),
            ..Answer::default()
        };
        self.answer(worker, line, refused);
    }

    pub(crate) fn next(&self, scope: &Scope, transaction: &Transaction) -> Next {
        let Some(read) = transaction.read else {
            return Next::Write;
        };
        let step = transaction.report.step;
        let is_done = transaction.report.outcome == Outcome::Done;
        let waits = |other: &usize| is_done && self.steps[*other].end.is_none() && read[*other] > 1;
        let open = |other: &usize| transaction.locked & (1 << other) == 0;
        let mut missing: Vec<usize> = scope.dependents(step).filter(waits).filter(open).collect();
        if !missing.is_empty() {
            if !scope.is(Mutant::NoLockOrder) {
                missing.truncate(1);
            }
            return Next::Lock(missing);
        }
        let ready = |other: usize| {
            self.steps[other].end.is_none() && self.unfinished(scope, transaction, other) <= 1
        };
        let releases = !scope.is(Mutant::NeverReleased) && !scope.is(Mutant::DependentsApart);
        let queues = match transaction.report.outcome {
            Outcome::Done => releases && scope.dependents(step).any(ready),
            outcome => self.is_retried(scope, step, outcome),
        };
        if queues || transaction.settled.is_some() {
            Next::Commit
        } else {
            Next::Settle
        }
    }

    /// The counter that a transaction decrements. It was read again when its row was locked.
    fn unfinished(&self, scope: &Scope, transaction: &Transaction, step: usize) -> u8 {
        match transaction.read {
            Some(read) if scope.is(Mutant::LostDecrement) => read[step],
            _ => self.steps[step].unfinished,
        }
    }

    fn is_retried(&self, scope: &Scope, step: usize, outcome: Outcome) -> bool {
        let counted = self.steps[step].attempt - self.steps[step].uncounted;
        let may_retry = counted < scope.max_attempts || scope.is(Mutant::NoLimit);
        outcome == Outcome::Retryable && may_retry
    }

    /// Returns whether the transaction waits for another.
    pub(crate) fn is_blocked(&self, transaction: &Transaction, next: &Next, scope: &Scope) -> bool {
        let others = || self.transactions().filter(|other| *other != transaction);
        match next {
            Next::Lock(rows) => rows
                .iter()
                .all(|row| others().any(|t| t.locked & (1 << row) != 0)),
            Next::Settle => !scope.is(Mutant::NoTaskLock) && others().any(|t| t.settled.is_some()),
            Next::Write | Next::Commit => false,
        }
    }

    pub(crate) fn is_deadlocked(&self, scope: &Scope) -> bool {
        let waits = |t: &Transaction| {
            let next = self.next(scope, t);
            matches!(next, Next::Lock(_)) && self.is_blocked(t, &next, scope)
        };
        self.transactions().count() > 1 && self.transactions().all(waits)
    }

    /// Does what comes next, with `row` if there is a choice. Returns whether the transaction goes on.
    pub(crate) fn advance(
        &mut self,
        scope: &Scope,
        worker: usize,
        line: usize,
        row: usize,
    ) -> bool {
        let Some(Line::Completing(mut transaction)) = self.workers[worker].lines[line] else {
            return false;
        };
        match self.next(scope, &transaction) {
            // The number of a transition is unique, so what a cancellation has recorded makes this fail.
            Next::Write
                if self.steps[transaction.report.step].end == Some(End::Cancelled)
                    && !scope.is(Mutant::NumbersTwice) =>
            {
                self.workers[worker].lines[line] = Some(Line::Complete(transaction.report));
                return false;
            }
            Next::Write => transaction.read = Some(self.steps.map(|step| step.unfinished)),
            Next::Lock(_) => transaction.locked |= 1 << row,
            Next::Settle => {
                let own = transaction.report.step;
                let has_row = |index: usize| index != own && self.steps[index].row != Row::None;
                let fails_fast =
                    scope.is(Mutant::FailsFast) && transaction.report.outcome != Outcome::Done;
                transaction.settled = Some(!(0..STEPS).any(has_row) || fails_fast);
            }
            Next::Commit => {
                self.commit(scope, worker, line, transaction);
                return false;
            }
        }
        self.workers[worker].lines[line] = Some(Line::Completing(transaction));
        true
    }

    fn commit(&mut self, scope: &Scope, worker: usize, line: usize, transaction: Transaction) {
        let report = transaction.report;
        self.flaws.late_result_accepted |= !self.is_current(worker, report);
        if !scope.is(Mutant::QueueRowKept) {
            self.steps[report.step].row = Row::None;
        }
        if let Some(Cancel::Locking(seen) | Cancel::Deleting(_, seen)) = &mut self.cancel {
            // A row that is there again is another one, which a statement under way does not see.
            *seen &= !(1 << report.step);
        }
        if scope.is(Mutant::QueueRowFirst) {
            self.workers[worker].lines[line] = Some(Line::SecondHalf(report));
            return;
        }
        self.store(scope, report);
        let mut claims = [0; STEPS];
        if report.outcome == Outcome::Done && !scope.is(Mutant::NeverReleased) {
            if scope.is(Mutant::DependentsApart) {
                self.ended |= transaction.settled == Some(true);
                self.workers[worker].lines[line] = Some(Line::SecondHalf(report));
                return;
            }
            for step in scope.dependents(report.step) {
                self.steps[step].unfinished = self.unfinished(scope, &transaction, step);
            }
            if let Some(step) = self.release(scope, report.step, Some(worker)) {
                claims[step] = self.steps[step].attempt;
            }
        }
        self.ended |= transaction.settled == Some(true);
        let answer = Answer {
            claims,
            end: Some(report),
            ..Answer::default()
        };
        self.answer(worker, line, answer);
    }

    /// Mutants only: the rest of a completion.
    pub(crate) fn second_half(
        &mut self,
        scope: &Scope,
        worker: usize,
        line: usize,
        report: Report,
    ) {
        if scope.is(Mutant::QueueRowFirst) {
            self.store(scope, report);
        }
        self.release(scope, report.step, None);
        self.ended |= !self.has_rows();
        let answer = Answer {
            end: Some(report),
            ..Answer::default()
        };
        self.answer(worker, line, answer);
    }

    fn store(&mut self, scope: &Scope, report: Report) {
        let is_retried = self.is_retried(scope, report.step, report.outcome);
        self.steps[report.step].losses = 0;
        match report.outcome {
            Outcome::Done => self.finish(report.step, End::Complete),
            _ if is_retried => {
                self.steps[report.step].row = Row::Queued;
                self.steps[report.step].attempt += 1;
            }
            Outcome::Retryable | Outcome::Permanent => self.finish(report.step, End::Failed),
        }
    }

    /// Decrements the dependents of a complete step, and queues those that reach zero. The first of them
    /// is claimed for `worker`, and returned.
    pub(crate) fn release(
        &mut self,
        scope: &Scope,
        step: usize,
        worker: Option<usize>,
    ) -> Option<usize> {
        let times = 1 + u8::from(scope.is(Mutant::ReleaseTwice));
        let mut claimed = None;
        for index in scope.dependents(step) {
            let dependent = &mut self.steps[index];
            if dependent.end.is_some() {
                continue;
            }
            dependent.unfinished = dependent.unfinished.saturating_sub(times);
            if dependent.unfinished == 0 && dependent.row == Row::None {
                dependent.row = match worker {
                    Some(worker) if claimed.is_none() => Row::Claimed(worker),
                    _ => Row::Queued,
                };
                claimed = claimed.or(Some(index));
            }
        }
        claimed.filter(|_| worker.is_some())
    }
}
