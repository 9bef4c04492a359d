//! The protocol by which steps run, as a model whose states are explored completely.
//!
//! | in the model | in the engine |
//! | --- | --- |
//! | a worker | a registration (`Session`). A process whose lease is over ends it, with its handlers, and goes on under another |
//! | `SendClaim`, `Take`, `Receive` | the look at `lost_at`, the read of the queue, and the answer in `Session::receive`, which looks at the lease |
//! | `Complete`, or `Begin`, `Advance` to the commit | `steps_complete`: a result is fenced by worker and attempt; locks on the queue row, the step, its dependents, the task; one dependent is claimed for the worker |
//! | `SendRecover`, `Recover` | `steps_recover` hands claims without a run out again, as the same attempts |
//! | `GiveUp` | a statement without an answer. It may take effect later, beside those that follow; so may those of a registration that is over |
//! | `SendHeartbeat`, `DeliverHeartbeat`, `AnswerHeartbeat` | the only sign of life; a lease counts from the sending, and none is renewed that was found expired |
//! | `RequeueLost` | `requeue_lost`: `lost_at` is for ever; rows that are locked are skipped; of the steps that lost too many workers one ends |
//! | `Cancel`, `CancelNext` | `task_cancel`: each statement sees only what was committed before it; steps that it misses are removed by whoever meets them |
//! | `Freeze`, `Kill`, `Drain`, `Reset`, `Resolve` | processes and operators |
//!
//! Ages count up to the lease, where nothing changes any more, so the model is finite without an end of
//! time. Each run is bounded by its [`scope::Scope`]: two processes, so many faults, so many attempts.
//!
//! Not in the model: backoff, priorities, dynamic steps, the bounds of reads of the queue, wake-ups,
//! several ends or claims of the queue in one statement; `complete_in`, which keeps the locks of a completion
//! for as long as the handler likes; the tokens that ask handlers to stop; handlers that block and so outlive
//! their session for a moment; a cancellation that has some of its locks on steps and waits for others
//! (PostgreSQL ends such a deadlock, and it is tried again); a step that is not given up because another
//! transaction keeps it locked. That tasks end is shown for one order of events from each state: that they
//! can end, not that nothing else can happen for ever.
//!
//! [`scope::Mutant`] lists the ways to break the protocol. Each must be caught.

mod completion;
mod engine;
#[path = "../model/explore.rs"]
mod explore;
mod properties;
mod protocol;
mod scope;
mod witnesses;

use stateright::Checker;
use strum::VariantArray;

use properties::{CLEAN, DEADLOCK, ENDS, FENCED, LIMIT, LOSSES, ONE_END, ORDER, OVERLAP, REASON};
use protocol::Protocol;
use scope::{Mutant, Scope};
use witnesses::Event;

/// Explores all states of `scope`. Expects no violation, at least so many states, and these events.
fn holds_everywhere(scope: Scope, at_least: usize, events: &[Event]) {
    let checker = explore::holds_everywhere(scope.name, Protocol::new(scope), at_least);
    for event in events {
        let count = checker.model().witnesses.count(*event);
        assert!(count > 0, "{}: {event:?} never happened", scope.name);
    }
}

#[test]
fn leases_hold_while_workers_freeze() {
    holds_everywhere(
        Scope::LEASES,
        25_000,
        &[Event::ClaimsPastLease, Event::Refused, Event::LateClaim],
    );
}

#[test]
fn leases_hold_while_clocks_stand_still() {
    holds_everywhere(Scope::SUSPENDED, 25_000, &[Event::DeclaredLost]);
}

#[test]
fn no_step_is_lost_while_workers_die_and_answers_are_lost() {
    let events = [Event::Recovered, Event::GivenUpTookEffect];
    holds_everywhere(Scope::LOSSES, 50_000, &events);
}

#[test]
fn attempts_are_limited_while_leases_are_lost() {
    let events = [Event::Recovered, Event::GivenUpTookEffect];
    holds_everywhere(Scope::FAILURES, 120_000, &events);
}

#[test]
fn one_of_two_steps_that_are_lost_together_is_given_up() {
    holds_everywhere(Scope::PAIRS, 110_000, &[Event::OneOfTwoGivenUp]);
}

#[test]
fn joins_are_released_by_completions_at_the_same_time() {
    holds_everywhere(Scope::JOINS, 12_000, &[Event::TwoComplete]);
}

#[test]
fn joins_are_released_while_workers_die_and_answers_are_lost() {
    holds_everywhere(
        Scope::JOIN_LOSSES,
        120_000,
        &[
            Event::TwoComplete,
            Event::LostWhileCompleting,
            Event::ReleasedToLostWorker,
            Event::RecoveredBesideRun,
            Event::GivenUpTookEffect,
        ],
    );
}

#[test]
fn a_cancellation_beside_completions_leaves_one_end_while_workers_die() {
    let events = [Event::TwoComplete, Event::LostWhileCompleting];
    holds_everywhere(Scope::CANCELS, 65_000, &events);
}

#[test]
fn steps_that_a_cancellation_missed_are_removed() {
    holds_everywhere(
        Scope::CANCEL_RETRIES,
        10_000,
        &[
            Event::LeftByCancel,
            Event::FailedByCancel,
            Event::LeftRowRemoved,
        ],
    );
}

#[test]
fn operators_and_cancellation_leave_one_end() {
    holds_everywhere(Scope::OPERATORS, 50_000, &[]);
}

#[test]
fn each_mutant_is_caught() {
    let expected = [
        (Mutant::NoFencing, Scope::LEASES, FENCED),
        (Mutant::FenceByWorker, Scope::FAILURES, FENCED),
        (Mutant::QueueRowKept, Scope::LEASES, ONE_END),
        (Mutant::LeaseFromAnswer, Scope::LEASES, OVERLAP),
        (Mutant::NoLeaseCheck, Scope::LEASES, OVERLAP),
        (Mutant::LostMayBeat, Scope::SUSPENDED, OVERLAP),
        (Mutant::NoLockOrder, Scope::JOINS, DEADLOCK),
        (Mutant::DependentsApart, Scope::LOSSES, REASON),
        (Mutant::NeverReleased, Scope::LOSSES, REASON),
        (Mutant::LostDecrement, Scope::JOINS, REASON),
        (Mutant::ReleaseTwice, Scope::JOINS, ORDER),
        (Mutant::QueueAtOnce, Scope::LEASES, ORDER),
        (Mutant::NoTaskLock, Scope::JOINS, ENDS),
        (Mutant::FailsFast, Scope::JOINS, CLEAN),
        (Mutant::NumbersTwice, Scope::CANCEL_RETRIES, ONE_END),
        (Mutant::QueueRowFirst, Scope::LOSSES, ENDS),
        (Mutant::NoReconciliation, Scope::LOSSES, ENDS),
        (Mutant::NoLimit, Scope::FAILURES, LIMIT),
        (Mutant::NoGivingUp, Scope::PAIRS, LOSSES),
    ];
    let checked = expected.map(|(mutant, scope, property)| {
        let model = Protocol::new(scope.with(mutant));
        (
            mutant,
            scope.name,
            property,
            explore::violates(model, property),
        )
    });
    explore::all_are_caught(Mutant::VARIANTS, &checked);
}
