//! The state of the database and of the workers, and each single change to it.
//!
//! A change here is one statement of the engine or one event in a worker. [`super::protocol`]
//! decides which of them may happen.

use super::scope::{Mutant, Scope};

pub(crate) const STEPS: usize = 4;
pub(crate) const WORKERS: usize = 2;
/// Ticks without a heartbeat after which the database gives a worker's claims to others.
pub(crate) const LEASE: u8 = 2;

/// A step's row, with its row in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Step {
    pub(crate) phase: Phase,
    /// Dependencies that are not complete, as the database counts them.
    pub(crate) unfinished: u8,
    /// The number of the newest attempt. It never goes down, so that no two runs share a number.
    pub(crate) attempt: u8,
    /// Attempts that the step may use, lost leases not counted.
    pub(crate) allowed: u8,
    pub(crate) lost_leases: u8,
    /// Workers that it lost one after the other, without an end of an attempt in between.
    pub(crate) losses: u8,
    /// Counts the recorded ends of the step.
    pub(crate) ends: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Has no row in the queue, because a dependency is not complete.
    Waiting,
    Queued,
    Claimed(usize),
    /// Mutant only: the queue's row is deleted, and the result is not stored yet.
    Vanished,
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

/// A result on its way to the database, which may arrive after its sender died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Report {
    pub(crate) step: usize,
    pub(crate) attempt: u8,
    pub(crate) outcome: Outcome,
}

/// A completing transaction that locks its dependents' rows one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transaction {
    pub(crate) step: usize,
    /// Rows that it has locked, as bits.
    pub(crate) locked: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Worker {
    pub(crate) alive: bool,
    pub(crate) frozen: bool,
    /// Ticks since the worker sent its last heartbeat that was answered.
    pub(crate) age: u8,
    /// Ticks since the database saw a heartbeat of this worker.
    pub(crate) unseen: u8,
    /// Ticks since the heartbeat under way was sent, and whether the database has it.
    pub(crate) heartbeat: Option<(u8, bool)>,
    pub(crate) runs: [Run; STEPS],
    /// Step, attempt and age of a claim that the database made, whose answer is on its way.
    pub(crate) claiming: Option<(usize, u8, u8)>,
    /// An answer to a claim was lost: the database may count steps as claimed that do not run here.
    pub(crate) unsure: bool,
    pub(crate) report: Option<Report>,
    pub(crate) transaction: Option<Transaction>,
    /// Mutants only: the second transaction of a completion that has two.
    pub(crate) second_half: Option<Report>,
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

/// Faults and requests that may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) kills: u8,
    pub(crate) freezes: u8,
    pub(crate) lost_answers: u8,
    pub(crate) cancels: u8,
    pub(crate) operators: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) steps: [Step; STEPS],
    pub(crate) workers: [Worker; WORKERS],
    /// The task has a recorded end.
    pub(crate) ended: bool,
    pub(crate) cancelled: bool,
    pub(crate) budget: Budget,
    pub(crate) flaws: Flaws,
}

impl Step {
    /// The step is in the queue, or on its way out of it.
    pub(crate) fn is_active(&self) -> bool {
        matches!(
            self.phase,
            Phase::Queued | Phase::Claimed(_) | Phase::Vanished
        )
    }
}

impl Worker {
    pub(crate) const NEW: Self = Self {
        alive: true,
        frozen: false,
        age: 0,
        unseen: 0,
        heartbeat: None,
        runs: [Run::Idle; STEPS],
        claiming: None,
        unsure: false,
        report: None,
        transaction: None,
        second_half: None,
    };

    pub(crate) fn acts(&self) -> bool {
        self.alive && !self.frozen
    }

    fn is_running(&self, step: usize) -> bool {
        self.alive && matches!(self.runs[step], Run::Running(_))
    }
}

impl State {
    pub(crate) fn new(scope: &Scope) -> Self {
        let step = |index: usize| Step {
            phase: match scope.dependencies[index] {
                _ if index >= scope.steps => Phase::Complete,
                [] => Phase::Queued,
                _ => Phase::Waiting,
            },
            unfinished: u8::try_from(scope.dependencies[index].len()).expect("few steps"),
            attempt: 0,
            allowed: scope.max_attempts,
            lost_leases: 0,
            losses: 0,
            ends: 0,
        };
        Self {
            steps: std::array::from_fn(step),
            workers: [Worker::NEW; WORKERS],
            ended: false,
            cancelled: false,
            budget: scope.budget,
            flaws: Flaws::default(),
        }
    }

    /// The database gives a queued step to a worker, whose claim also counts as a sign of life.
    pub(crate) fn claim(&mut self, worker: usize, step: usize) {
        self.steps[step].attempt += 1;
        self.steps[step].phase = Phase::Claimed(worker);
        self.workers[worker].claiming = Some((step, self.steps[step].attempt, 0));
        self.workers[worker].unseen = 0;
    }

    /// The answer to a claim arrives, and the handler starts.
    pub(crate) fn start(&mut self, scope: &Scope, worker: usize) {
        let Some((step, attempt, age)) = self.workers[worker].claiming.take() else {
            return;
        };
        // A claim whose answer took a lease may be another's by now, even if a heartbeat came since.
        let is_late = age >= LEASE && !scope.is(Mutant::LateClaim);
        if is_late || self.workers[worker].age >= LEASE {
            self.workers[worker].unsure = true;
            return;
        }
        let complete = |dependency: &usize| self.steps[*dependency].phase == Phase::Complete;
        if !scope.dependencies[step].iter().all(complete) {
            self.flaws.started_early = true;
        }
        let others = (0..WORKERS).filter(|other| *other != worker);
        for other in others {
            let other = &self.workers[other];
            // The only excuse is a process that was frozen past its lease.
            self.flaws.overlapped |= other.is_running(step) && !other.frozen;
        }
        self.workers[worker].runs[step] = Run::Running(attempt);
    }

    /// Time passes. A worker that is not frozen cancels its handlers when its lease ends.
    pub(crate) fn tick(&mut self, scope: &Scope) {
        // A worker that does not age is always in time, but not after its death.
        let aging = |(index, worker): &(usize, &mut Worker)| *index < scope.aging || !worker.alive;
        for (_, worker) in self.workers.iter_mut().enumerate().filter(aging) {
            worker.age = (worker.age + 1).min(LEASE);
            worker.unseen = (worker.unseen + 1).min(LEASE);
            if let Some((_, _, age)) = &mut worker.claiming {
                *age = (*age + 1).min(LEASE);
            }
            if let Some((sent, _)) = &mut worker.heartbeat {
                *sent = (*sent + 1).min(LEASE);
            }
            worker.fence_itself();
        }
    }

    /// The database gives the claims of a lost worker back to the queue. It ends one of those that have
    /// lost too many workers.
    pub(crate) fn requeue_lost(&mut self, scope: &Scope, worker: usize) {
        let mut may_give_up = !scope.is(Mutant::NoGivingUp);
        for index in 0..STEPS {
            let step = &mut self.steps[index];
            if step.phase != Phase::Claimed(worker) {
                continue;
            }
            step.losses += 1;
            if may_give_up && step.losses >= scope.max_losses {
                may_give_up = false;
                step.phase = Phase::Failed;
                self.record_end(index);
            } else {
                step.phase = Phase::Queued;
                step.lost_leases += 1;
            }
        }
        self.end_task_if_done();
    }

    /// A worker that is unsure names the steps that it holds; the database requeues its others.
    pub(crate) fn reconcile(&mut self, worker: usize) {
        for index in 0..STEPS {
            let held = self.workers[worker].runs[index] != Run::Idle;
            let step = &mut self.steps[index];
            if step.phase == Phase::Claimed(worker) && !held {
                step.phase = Phase::Queued;
                step.lost_leases += 1;
            }
        }
        self.workers[worker].unsure = false;
    }

    /// The first part of the completing transaction: verifies claim and attempt. `None` refuses
    /// the result because it is late.
    pub(crate) fn verify(&mut self, scope: &Scope, worker: usize, report: Report) -> Option<()> {
        let step = &self.steps[report.step];
        let current = step.phase == Phase::Claimed(worker) && step.attempt == report.attempt;
        if current {
            return Some(());
        }
        let open = matches!(step.phase, Phase::Claimed(_) | Phase::Queued);
        if scope.is(Mutant::NoFencing) && open {
            self.flaws.late_result_accepted = true;
            return Some(());
        }
        None
    }

    /// Stores a result, and its effect on the step.
    pub(crate) fn store(&mut self, scope: &Scope, report: Report) {
        let step = &mut self.steps[report.step];
        let used = step.attempt - step.lost_leases;
        step.losses = 0;
        step.phase = match report.outcome {
            Outcome::Done => Phase::Complete,
            Outcome::Retryable if used < step.allowed || scope.is(Mutant::NoLimit) => Phase::Queued,
            Outcome::Retryable | Outcome::Permanent => Phase::Failed,
        };
        if step.phase != Phase::Queued {
            self.record_end(report.step);
        }
    }

    pub(crate) fn has_claims(&self, worker: usize) -> bool {
        let claimed = Phase::Claimed(worker);
        self.steps.iter().any(|step| step.phase == claimed)
    }

    /// Decrements the dependents of a complete step, and queues those that reach zero.
    pub(crate) fn release_dependents(&mut self, scope: &Scope, step: usize) {
        if self.steps[step].phase != Phase::Complete {
            return;
        }
        for index in scope.dependents(step) {
            let dependent = &mut self.steps[index];
            dependent.unfinished = dependent.unfinished.saturating_sub(1);
            if dependent.unfinished == 0 && dependent.phase == Phase::Waiting {
                dependent.phase = Phase::Queued;
            }
        }
    }

    /// Ends the task if nothing of it is queued or claimed.
    pub(crate) fn end_task_if_done(&mut self) {
        self.ended |= !self.steps.iter().any(Step::is_active);
    }

    /// An operator or a client cancels the task; running handlers lose their claims.
    pub(crate) fn cancel(&mut self) {
        for index in 0..STEPS {
            if matches!(
                self.steps[index].phase,
                Phase::Waiting | Phase::Queued | Phase::Claimed(_)
            ) {
                self.steps[index].phase = Phase::Cancelled;
                self.record_end(index);
            }
        }
        self.cancelled = true;
        self.ended = true;
    }

    /// An operator lets a failed step run again.
    pub(crate) fn reset_for_retry(&mut self, scope: &Scope, step: usize) {
        let reset = &mut self.steps[step];
        reset.phase = Phase::Queued;
        reset.ends -= 1;
        reset.losses = 0;
        reset.allowed = reset.attempt - reset.lost_leases + scope.max_attempts;
        self.ended = false;
    }

    /// An operator declares a failed step complete.
    pub(crate) fn resolve_manually(&mut self, scope: &Scope, step: usize) {
        self.steps[step].phase = Phase::Complete;
        self.ended = false;
        self.release_dependents(scope, step);
        self.end_task_if_done();
    }

    fn record_end(&mut self, step: usize) {
        let step = &mut self.steps[step];
        step.ends += 1;
        self.flaws.ended_twice |= step.ends > 1;
    }
}

impl Worker {
    /// Cancels all handlers if the lease may have ended. A frozen worker does so when it thaws.
    pub(crate) fn fence_itself(&mut self) {
        if self.age >= LEASE && self.acts() {
            for run in &mut self.runs {
                if matches!(run, Run::Running(_)) {
                    *run = Run::Idle;
                    self.unsure = true;
                }
            }
        }
    }
}
