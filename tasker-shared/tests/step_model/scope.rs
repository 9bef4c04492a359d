//! The part of the engine that one run of the checker explores.

use super::engine::{Budget, STEPS};

/// One rule of the protocol, broken. Mutants exist in the model only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A result is accepted although its claim was given to another worker.
    NoFencing,
    /// A worker counts its lease from the answer to a heartbeat, not from its sending.
    LeaseFromAnswer,
    /// A handler starts although the answer to its claim took longer than a lease.
    LateClaim,
    /// Completing transactions lock their dependents in any order.
    NoLockOrder,
    /// Dependents are released in a transaction after the one that stores the result.
    DependentsApart,
    /// The queue's row is deleted in a transaction before the one that stores the result.
    QueueRowFirst,
    /// A worker whose claim's answer was lost does not tell the database what it holds.
    NoReconciliation,
    /// A step is retried without a look at its limit.
    NoLimit,
    /// A step runs again however many workers it has lost.
    NoGivingUp,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) name: &'static str,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) steps: usize,
    /// For each step, the steps that it waits for.
    pub(crate) dependencies: [&'static [usize]; STEPS],
    pub(crate) max_attempts: u8,
    /// Workers that a step may lose one after the other.
    pub(crate) max_losses: u8,
    /// States in which a step has had more attempts are not explored.
    pub(crate) attempts: u8,
    pub(crate) failures: bool,
    /// So many workers age; the heartbeats of the others are always in time.
    pub(crate) aging: usize,
    /// A completion takes its locks one by one. Otherwise it is one indivisible change.
    pub(crate) single_locks: bool,
    pub(crate) budget: Budget,
}

const NO_FAULTS: Budget = Budget {
    kills: 0,
    freezes: 0,
    lost_answers: 0,
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
        max_attempts: 1,
        max_losses: u8::MAX,
        attempts: 2,
        failures: false,
        aging: 1,
        single_locks: false,
        budget: Budget {
            freezes: 1,
            ..NO_FAULTS
        },
    };

    /// Workers that die, and answers that are lost.
    pub(crate) const LOSSES: Self = Self {
        name: "deaths and lost answers",
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
        max_attempts: 2,
        max_losses: 2,
        attempts: 3,
        failures: true,
        budget: Budget {
            kills: 1,
            freezes: 1,
            ..NO_FAULTS
        },
        ..Self::LEASES
    };

    /// Two steps that two others wait for, completed at the same time.
    pub(crate) const JOINS: Self = Self {
        name: "joins",
        steps: 4,
        dependencies: [&[], &[], &[0, 1], &[0, 1]],
        aging: 0,
        single_locks: true,
        budget: NO_FAULTS,
        ..Self::LEASES
    };

    /// A client that cancels and an operator who acts, beside leases that are lost.
    pub(crate) const OPERATORS: Self = Self {
        name: "cancellation and operators",
        max_losses: 2,
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
