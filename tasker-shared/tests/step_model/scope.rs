//! The part of the engine that one run of the checker explores.

use super::engine::STEPS;
use super::protocol::Action;

/// One rule of the protocol, broken. Mutants exist in the model only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray)]
pub(crate) enum Mutant {
    /// A result is accepted if its step is in the queue, whoever has it.
    NoFencing,
    /// A result is accepted if the worker has the step, whatever the attempt.
    FenceByWorker,
    /// A completion leaves the step's row in the queue.
    QueueRowKept,
    /// A worker counts its lease from the answer to a heartbeat, not from its sending.
    LeaseFromAnswer,
    /// A worker starts what it claimed without a look at its lease.
    NoLeaseCheck,
    /// A heartbeat renews the lease of a worker that was declared lost.
    LostMayBeat,
    /// Completing transactions lock their dependents in any order.
    NoLockOrder,
    /// Dependents are released in a transaction after the one that stores the result and ends the task.
    DependentsApart,
    /// Dependents are not released.
    NeverReleased,
    /// A completion writes a dependent's counter as it was before the lock on it.
    LostDecrement,
    /// A completion decrements twice.
    ReleaseTwice,
    /// All steps are queued when the task is created.
    QueueAtOnce,
    /// A completion looks whether the task ends without a lock on the task.
    NoTaskLock,
    /// A step that fails ends the task at once.
    FailsFast,
    /// A result is recorded beside the transitions that a cancellation has recorded.
    NumbersTwice,
    /// The queue's row is deleted in a transaction before the one that stores the result.
    QueueRowFirst,
    /// A worker never asks for claims whose answers were lost.
    NoReconciliation,
    /// A step is retried without a look at its limit.
    NoLimit,
    /// A step runs again however many workers it has lost.
    NoGivingUp,
}

/// Faults and requests that may still come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) kills: u8,
    pub(crate) freezes: u8,
    pub(crate) lost_answers: u8,
    pub(crate) drains: u8,
    pub(crate) cancels: u8,
    pub(crate) operators: u8,
}

impl Budget {
    /// Takes what an action costs.
    pub(crate) fn spend(&mut self, action: Action) {
        match action {
            Action::Freeze(_) => self.freezes -= 1,
            Action::Kill(_) => self.kills -= 1,
            Action::LoseHeartbeat(_) | Action::GiveUp(_) => self.lost_answers -= 1,
            Action::Drain(_) => self.drains -= 1,
            Action::Cancel => self.cancels -= 1,
            Action::Reset(_) | Action::Resolve(_) => self.operators -= 1,
            _ => {}
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) name: &'static str,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) steps: usize,
    /// For each step, the steps that it waits for.
    pub(crate) dependencies: [&'static [usize]; STEPS],
    /// Registrations at a time, of two processes. A third one begins while claims of another are left.
    pub(crate) registrations: usize,
    pub(crate) max_attempts: u8,
    /// Workers that a step may lose one after the other.
    pub(crate) max_losses: u8,
    /// States in which a step has had more attempts are not explored.
    pub(crate) attempts: u8,
    pub(crate) failures: bool,
    /// So many workers age; the heartbeats of the others are always in time.
    pub(crate) aging: usize,
    /// The clock of a frozen worker stands still.
    pub(crate) clocks_stop: bool,
    /// Completions and cancellations take their locks one by one. Otherwise each is one change.
    pub(crate) single_locks: bool,
    pub(crate) budget: Budget,
}

const NO_FAULTS: Budget = Budget {
    kills: 0,
    freezes: 0,
    lost_answers: 0,
    drains: 0,
    cancels: 0,
    operators: 0,
};

impl Scope {
    /// Two steps in a line, workers that freeze, and time that passes.
    pub(crate) const LEASES: Self = Self {
        name: "leases",
        mutant: None,
        steps: 2,
        dependencies: [&[], &[0], &[], &[]],
        registrations: 3,
        max_attempts: 1,
        max_losses: u8::MAX,
        attempts: 2,
        failures: false,
        aging: 1,
        clocks_stop: false,
        single_locks: false,
        budget: Budget {
            freezes: 1,
            ..NO_FAULTS
        },
    };

    /// Machines whose clocks stand still while they are suspended.
    pub(crate) const SUSPENDED: Self = Self {
        name: "suspended machines",
        clocks_stop: true,
        ..Self::LEASES
    };

    /// Workers that die, and answers that are lost.
    pub(crate) const LOSSES: Self = Self {
        name: "deaths and lost answers",
        registrations: 2,
        budget: Budget {
            kills: 1,
            lost_answers: 1,
            ..NO_FAULTS
        },
        ..Self::LEASES
    };

    /// Handlers that fail, and leases that are lost between their attempts.
    pub(crate) const FAILURES: Self = Self {
        name: "failures and attempts",
        steps: 1,
        dependencies: [&[], &[], &[], &[]],
        registrations: 2,
        max_attempts: 2,
        max_losses: 2,
        attempts: 3,
        failures: true,
        budget: Budget {
            kills: 1,
            lost_answers: 1,
            ..NO_FAULTS
        },
        ..Self::LEASES
    };

    /// Two steps at a time, which are lost together.
    pub(crate) const PAIRS: Self = Self {
        name: "two steps of a worker",
        steps: 2,
        aging: 0,
        failures: false,
        budget: Budget {
            kills: 2,
            drains: 1,
            ..NO_FAULTS
        },
        ..Self::FAILURES
    };

    /// Two steps that two others wait for, completed at the same time.
    pub(crate) const JOINS: Self = Self {
        name: "joins",
        steps: 4,
        dependencies: [&[], &[], &[0, 1], &[0, 1]],
        registrations: 2,
        aging: 0,
        single_locks: true,
        failures: true,
        budget: NO_FAULTS,
        ..Self::LEASES
    };

    /// Two steps and one that waits for both, while workers die and answers are lost.
    pub(crate) const JOIN_LOSSES: Self = Self {
        name: "a join, deaths and lost answers",
        steps: 3,
        dependencies: [&[], &[], &[0, 1], &[]],
        failures: false,
        budget: Budget {
            kills: 1,
            lost_answers: 1,
            ..NO_FAULTS
        },
        ..Self::JOINS
    };

    /// A cancellation beside completions of a join, while workers die.
    pub(crate) const CANCELS: Self = Self {
        name: "a join and a cancellation",
        budget: Budget {
            cancels: 1,
            kills: 1,
            ..NO_FAULTS
        },
        ..Self::JOIN_LOSSES
    };

    /// A cancellation beside attempts that fail and are tried again in new rows, which it does not see.
    pub(crate) const CANCEL_RETRIES: Self = Self {
        name: "a cancellation and retries",
        steps: 2,
        dependencies: [&[], &[0], &[], &[]],
        max_attempts: 2,
        failures: true,
        budget: Budget {
            cancels: 1,
            ..NO_FAULTS
        },
        ..Self::CANCELS
    };

    /// Operators and a client that cancels, beside leases that are lost.
    pub(crate) const OPERATORS: Self = Self {
        name: "cancellation and operators",
        max_losses: 2,
        registrations: 2,
        failures: true,
        budget: Budget {
            cancels: 1,
            operators: 1,
            ..NO_FAULTS
        },
        ..Self::LEASES
    };

    pub(crate) const fn with(self, mutant: Mutant) -> Self {
        Self {
            mutant: Some(mutant),
            ..self
        }
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn dependents(&self, step: usize) -> impl Iterator<Item = usize> + use<> {
        let dependencies = self.dependencies;
        (0..self.steps).filter(move |other| dependencies[*other].contains(&step))
    }
}
