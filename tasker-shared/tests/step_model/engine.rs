//! The state of the database and of the workers, and each single change to it.
//!
//! A change here is one statement of the engine or one event in a worker. [`super::protocol`]
//! decides which of them may happen, and [`super::completion`] has the transaction that completes a step.

use super::scope::{Budget, Mutant, Scope};

pub(crate) const STEPS: usize = 4;
pub(crate) const WORKERS: usize = 3;
/// Ticks without a heartbeat after which the database gives a worker's claims to others.
pub(crate) const LEASE: u8 = 2;

/// A step, with its row in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Step {
    pub(crate) row: Row,
    pub(crate) end: Option<End>,
    /// Dependencies that are not complete, as the database counts them.
    pub(crate) unfinished: u8,
    /// The number of the attempt that runs or will run. It never goes down.
    pub(crate) attempt: u8,
    /// Earlier attempts that do not count against the limit.
    pub(crate) uncounted: u8,
    /// Workers that it lost one after the other, without an end of an attempt in between.
    pub(crate) losses: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    None,
    Queued,
    Claimed(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Complete,
    Failed,
    Cancelled,
}

/// A handler's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Done,
    Retryable,
    Permanent,
}

/// A worker's knowledge of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Run {
    Idle,
    Running(u8),
    Finished(u8, Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Report {
    pub(crate) step: usize,
    pub(crate) attempt: u8,
    pub(crate) outcome: Outcome,
}

/// A statement of a worker, and then its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    /// Past the look at the worker's row, so that it claims even if the worker is lost meanwhile.
    Claim,
    Complete(Report),
    Completing(Transaction),
    /// Mutants only: the second transaction of a completion that has two.
    SecondHalf(Report),
    Recover,
    Answer(Answer),
}

/// The transaction of a completion that takes its locks one by one. It has the step's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transaction {
    pub(crate) report: Report,
    /// It has locked the step, too, and read the counters of the dependents.
    pub(crate) read: Option<[u8; STEPS]>,
    /// Dependents that it has locked, as bits.
    pub(crate) locked: u8,
    /// It has locked the task; whether it ends it.
    pub(crate) settled: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Answer {
    pub(crate) is_lost: bool,
    /// The attempts to run; 0 is none.
    pub(crate) claims: [u8; STEPS],
    pub(crate) was_recovered: bool,
    /// The end that was recorded or refused.
    pub(crate) end: Option<Report>,
}

/// A heartbeat under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Heartbeat {
    /// Ticks since it was sent.
    pub(crate) age: u8,
    /// The worker's clock stood still since then.
    pub(crate) suspended: bool,
    /// The database's answer.
    pub(crate) renewed: Option<bool>,
}

/// A registration. Its process goes on under another one when this is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent fact"
)]
pub(crate) struct Worker {
    pub(crate) alive: bool,
    pub(crate) frozen: bool,
    /// Its clock stood still since it sent its last heartbeat that was answered.
    pub(crate) suspended: bool,
    /// Ticks since the worker sent its last heartbeat that was answered.
    pub(crate) age: u8,
    /// Ticks since the database saw a heartbeat of this worker.
    pub(crate) unseen: u8,
    /// The database found the lease expired. This never changes.
    pub(crate) lost: bool,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) runs: [Run; STEPS],
    /// The statement that the worker waits for, and one that it has given up.
    pub(crate) lines: [Option<Line>; 2],
}

/// A cancellation between its statements. Bits are rows of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cancel {
    /// Locks the rows that it saw.
    Locking(u8),
    /// Has these locks.
    Locked(u8),
    /// Has locks, and deletes the rows that it saw.
    Deleting(u8, u8),
    /// Has deleted these; no one else sees it yet.
    Deleted(u8),
}

/// Rules that were broken on the way to this state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent fact"
)]
pub(crate) struct Flaws {
    pub(crate) started_early: bool,
    pub(crate) ended_twice: bool,
    pub(crate) late_result_accepted: bool,
    pub(crate) overlapped: bool,
    pub(crate) deadlocked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) steps: [Step; STEPS],
    pub(crate) workers: [Worker; WORKERS],
    /// The task has a recorded end.
    pub(crate) ended: bool,
    pub(crate) cancelled: bool,
    pub(crate) cancel: Option<Cancel>,
    /// Steps that were ended because they had lost too many workers.
    pub(crate) given_up: u8,
    pub(crate) budget: Budget,
    pub(crate) flaws: Flaws,
}

impl Worker {
    pub(crate) const NEW: Self = Self {
        alive: true,
        frozen: false,
        suspended: false,
        age: 0,
        unseen: 0,
        lost: false,
        heartbeat: None,
        runs: [Run::Idle; STEPS],
        lines: [None; 2],
    };

    pub(crate) fn acts(&self) -> bool {
        self.alive && !self.frozen
    }

    /// Ends the registration, with its handlers. A statement under way may still take effect.
    pub(crate) fn end(&mut self) {
        let under_way = |line: &Line| !matches!(line, Line::Answer(_) | Line::SecondHalf(_));
        *self = Self {
            alive: false,
            unseen: self.unseen,
            lost: self.lost,
            lines: self.lines.map(|line| line.filter(under_way)),
            ..Self::NEW
        };
    }
}

impl State {
    pub(crate) fn new(scope: &Scope) -> Self {
        let step = |index: usize| {
            let is_ready = scope.dependencies[index].is_empty() || scope.is(Mutant::QueueAtOnce);
            let is_used = index < scope.steps;
            Step {
                row: if is_used && is_ready {
                    Row::Queued
                } else {
                    Row::None
                },
                end: (!is_used).then_some(End::Complete),
                unfinished: u8::try_from(scope.dependencies[index].len()).expect("few steps"),
                attempt: 1,
                uncounted: 0,
                losses: 0,
            }
        };
        let mut workers = [Worker::NEW; WORKERS];
        workers[2] = Worker {
            alive: false,
            unseen: LEASE,
            ..Worker::NEW
        };
        Self {
            steps: std::array::from_fn(step),
            workers,
            ended: false,
            cancelled: false,
            cancel: None,
            given_up: 0,
            budget: scope.budget,
            flaws: Flaws::default(),
        }
    }

    pub(crate) fn has_claims(&self, worker: usize) -> bool {
        self.steps
            .iter()
            .any(|step| step.row == Row::Claimed(worker))
    }

    pub(crate) fn has_rows(&self) -> bool {
        self.steps.iter().any(|step| step.row != Row::None)
    }

    /// Returns whether another transaction keeps a step's row locked.
    pub(crate) fn is_row_locked(&self, step: usize) -> bool {
        let cancelled = match self.cancel {
            Some(Cancel::Locked(rows) | Cancel::Deleting(rows, _) | Cancel::Deleted(rows)) => rows,
            Some(Cancel::Locking(_)) | None => 0,
        };
        cancelled & (1 << step) != 0 || self.transactions().any(|t| t.report.step == step)
    }

    pub(crate) fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        let lines = self
            .workers
            .iter()
            .flat_map(|worker| worker.lines.iter().flatten());
        lines.filter_map(|line| match line {
            Line::Completing(transaction) => Some(transaction),
            _ => None,
        })
    }

    /// A claim takes a queued step, or removes its row if the task has ended.
    pub(crate) fn take(&mut self, worker: usize, line: usize, step: usize) {
        let mut answer = Answer::default();
        if self.ended {
            self.steps[step].row = Row::None;
        } else {
            self.steps[step].row = Row::Claimed(worker);
            answer.claims[step] = self.steps[step].attempt;
        }
        self.answer(worker, line, answer);
    }

    /// Hands the claims out again that a worker does not know of.
    pub(crate) fn recover(&mut self, worker: usize, line: usize) {
        let mut answer = Answer {
            was_recovered: true,
            ..Answer::default()
        };
        for index in 0..STEPS {
            let step = &mut self.steps[index];
            if step.row != Row::Claimed(worker) || self.workers[worker].runs[index] != Run::Idle {
                continue;
            }
            if self.ended {
                step.row = Row::None;
            } else {
                answer.claims[index] = step.attempt;
            }
        }
        self.answer(worker, line, answer);
    }

    /// Nobody waits for the answer of a statement that was given up.
    pub(crate) fn answer(&mut self, worker: usize, line: usize, answer: Answer) {
        let is_awaited = line == 0 && self.workers[worker].alive;
        self.workers[worker].lines[line] = is_awaited.then_some(Line::Answer(answer));
    }

    /// A worker reads an answer and starts the handlers of what it claims.
    pub(crate) fn receive(&mut self, scope: &Scope, worker: usize) {
        let Some(Line::Answer(answer)) = self.workers[worker].lines[0].take() else {
            return;
        };
        if answer.is_lost || (self.workers[worker].age >= LEASE && !scope.is(Mutant::NoLeaseCheck))
        {
            self.workers[worker].end();
            return;
        }
        if let Some(Report {
            step,
            attempt,
            outcome,
        }) = answer.end
            && self.workers[worker].runs[step] == Run::Finished(attempt, outcome)
        {
            self.workers[worker].runs[step] = Run::Idle;
        }
        for (step, attempt) in answer
            .claims
            .into_iter()
            .enumerate()
            .filter(|(_, n)| *n > 0)
        {
            let complete = |step: &usize| self.steps[*step].end == Some(End::Complete);
            self.flaws.started_early |= !scope.dependencies[step].iter().all(complete);
            // The only excuses are a process that was frozen past its lease, and stopped clocks.
            let beside = |other: &Worker| {
                let is_running = matches!(other.runs[step], Run::Running(_));
                is_running && other.acts() && other.age < LEASE && !other.suspended
            };
            let overlaps = self.workers.iter().any(beside) && !self.workers[worker].suspended;
            self.flaws.overlapped |= overlaps;
            self.workers[worker].runs[step] = Run::Running(attempt);
        }
    }

    /// Time passes. A worker that is not frozen ends when its lease does.
    pub(crate) fn tick(&mut self, scope: &Scope) {
        // A worker that does not age is always in time, but not after its death.
        let aging = |(index, worker): &(usize, &mut Worker)| *index < scope.aging || !worker.alive;
        for (_, worker) in self.workers.iter_mut().enumerate().filter(aging) {
            worker.unseen = (worker.unseen + 1).min(LEASE);
            if worker.frozen && scope.clocks_stop {
                worker.suspended = true;
                if let Some(heartbeat) = &mut worker.heartbeat {
                    heartbeat.suspended = true;
                }
                continue;
            }
            worker.age = (worker.age + 1).min(LEASE);
            if let Some(heartbeat) = &mut worker.heartbeat {
                heartbeat.age = (heartbeat.age + 1).min(LEASE);
            }
            if worker.acts() && worker.age >= LEASE {
                worker.end();
            }
        }
    }

    /// The steps of a worker of which one is given up when it is lost: with the most losses, if these are
    /// enough.
    pub(crate) fn hopeless(&self, scope: &Scope, worker: usize) -> Vec<usize> {
        let lost = |index: &usize| self.steps[*index].row == Row::Claimed(worker);
        let losses = |index: usize| self.steps[index].losses + 1;
        let most = (0..STEPS).filter(lost).map(losses).max().unwrap_or(0);
        if most < scope.max_losses || self.ended || scope.is(Mutant::NoGivingUp) {
            return Vec::new();
        }
        (0..STEPS)
            .filter(lost)
            .filter(|index| losses(*index) == most)
            .collect()
    }

    /// The database declares a worker lost, ends `hopeless`, and returns its other claims to the queue.
    pub(crate) fn requeue_lost(&mut self, worker: usize, hopeless: Option<usize>) {
        self.workers[worker].lost = true;
        if let Some(step) = hopeless {
            self.steps[step].row = Row::None;
            self.given_up += 1;
            self.finish(step, End::Failed);
            self.ended |= !self.has_rows();
        }
        for index in self.return_claims(worker) {
            self.steps[index].losses += 1;
        }
    }

    /// Returns claims as new attempts that do not count. Skips rows that are locked.
    pub(crate) fn return_claims(&mut self, worker: usize) -> Vec<usize> {
        let mine = |index: &usize| self.steps[*index].row == Row::Claimed(worker);
        let free = |index: &usize| !self.is_row_locked(*index);
        let claims: Vec<usize> = (0..STEPS).filter(mine).filter(free).collect();
        for index in &claims {
            let step = &mut self.steps[*index];
            if self.ended {
                step.row = Row::None;
                continue;
            }
            step.row = Row::Queued;
            step.attempt += 1;
            step.uncounted += 1;
        }
        claims
    }

    pub(crate) fn finish(&mut self, step: usize, end: End) {
        self.flaws.ended_twice |= self.steps[step].end.is_some();
        self.steps[step].end = Some(end);
    }

    /// A cancellation deletes `rows` and ends what has not ended.
    pub(crate) fn cancel(&mut self, rows: u8) {
        self.cancel = None;
        if self.ended {
            return;
        }
        for (index, step) in self.steps.iter_mut().enumerate() {
            if rows & (1 << index) != 0 {
                step.row = Row::None;
            }
            step.end = step.end.or(Some(End::Cancelled));
        }
        self.cancelled = true;
        self.ended = true;
    }

    /// The steps that have a row, as bits.
    pub(crate) fn rows(&self) -> u8 {
        let bit = |(index, step): (usize, &Step)| u8::from(step.row != Row::None) << index;
        self.steps.iter().enumerate().map(bit).sum()
    }

    /// An operator lets a failed step run again, with all its attempts.
    pub(crate) fn reset_for_retry(&mut self, step: usize) {
        let reset = &mut self.steps[step];
        reset.row = Row::Queued;
        reset.end = None;
        reset.losses = 0;
        reset.uncounted = reset.attempt;
        reset.attempt += 1;
        self.ended = false;
    }

    /// An operator declares an unfinished step complete.
    pub(crate) fn resolve_manually(&mut self, scope: &Scope, step: usize) {
        self.steps[step].row = Row::None;
        self.steps[step].end = Some(End::Complete);
        self.release(scope, step, None);
        self.ended = !self.has_rows();
    }
}
