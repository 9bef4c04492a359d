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
mod properties;
mod protocol;
mod scope;
mod witnesses;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use properties::{CLEAN, DEADLOCK, ENDS, FENCED, LIMIT, LOSSES, ONE_END, ORDER, OVERLAP, REASON};
use protocol::Protocol;
use scope::{Mutant, Scope};
use witnesses::Event;

/// Explores all states of `scope`. Expects no violation, at least so many states, and these events.
#[expect(clippy::print_stdout, reason = "a run reports how much it explored")]
fn holds_everywhere(scope: Scope, at_least: usize, events: &[Event]) {
    let started = Instant::now();
    let checker = Protocol::new(scope).checker().spawn_bfs().join();
    let states = checker.unique_state_count();
    println!(
        "{}: {states} states, depth {}, {:.1} s",
        scope.name,
        checker.max_depth(),
        started.elapsed().as_secs_f64()
    );
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        let end = *path.last_state();
        let actions = path.into_actions();
        panic!("{}: not \"{property}\": {actions:?}\n{end:#?}", scope.name);
    }
    assert!(checker.is_done(), "{}: the checker gave up", scope.name);
    assert!(states >= at_least, "{}: the model has shrunk", scope.name);
    for event in events {
        let count = checker.model().witnesses.count(*event);
        assert!(count > 0, "{}: {event:?} never happened", scope.name);
    }
}

/// Expects that `mutant` violates `property` within `scope`.
#[expect(clippy::print_stdout, reason = "a counterexample is worth reading")]
fn is_caught(mutant: Mutant, scope: Scope, property: &'static str) {
    let checker = Protocol::new(scope.with(mutant))
        .checker()
        .finish_when(HasDiscoveries::AllOf([property].into()))
        .spawn_bfs()
        .join();
    let Some(path) = checker.discovery(property) else {
        panic!("{}: {mutant:?} keeps \"{property}\"", scope.name);
    };
    println!("{mutant:?}: not \"{property}\": {:?}", path.into_actions());
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
fn a_result_of_anyone_is_caught() {
    is_caught(Mutant::NoFencing, Scope::LEASES, FENCED);
}

#[test]
fn a_result_of_an_earlier_attempt_is_caught() {
    is_caught(Mutant::FenceByWorker, Scope::FAILURES, FENCED);
}

#[test]
fn a_queue_row_that_outlives_its_step_is_caught() {
    is_caught(Mutant::QueueRowKept, Scope::LEASES, ONE_END);
}

#[test]
fn a_lease_counted_from_the_answer_is_caught() {
    is_caught(Mutant::LeaseFromAnswer, Scope::LEASES, OVERLAP);
}

#[test]
fn claims_started_after_the_lease_are_caught() {
    is_caught(Mutant::NoLeaseCheck, Scope::LEASES, OVERLAP);
}

#[test]
fn a_lost_worker_that_renews_its_lease_is_caught() {
    is_caught(Mutant::LostMayBeat, Scope::SUSPENDED, OVERLAP);
}

#[test]
fn locks_in_any_order_are_caught() {
    is_caught(Mutant::NoLockOrder, Scope::JOINS, DEADLOCK);
}

#[test]
fn dependents_in_a_transaction_of_their_own_are_caught() {
    is_caught(Mutant::DependentsApart, Scope::LOSSES, REASON);
}

#[test]
fn dependents_that_are_never_released_are_caught() {
    is_caught(Mutant::NeverReleased, Scope::LOSSES, REASON);
}

#[test]
fn a_lost_decrement_is_caught() {
    is_caught(Mutant::LostDecrement, Scope::JOINS, REASON);
}

#[test]
fn a_double_decrement_is_caught() {
    is_caught(Mutant::ReleaseTwice, Scope::JOINS, ORDER);
}

#[test]
fn steps_that_are_queued_at_once_are_caught() {
    is_caught(Mutant::QueueAtOnce, Scope::LEASES, ORDER);
}

#[test]
fn a_task_that_ends_without_a_lock_is_caught() {
    is_caught(Mutant::NoTaskLock, Scope::JOINS, ENDS);
}

#[test]
fn a_failure_that_ends_the_task_at_once_is_caught() {
    is_caught(Mutant::FailsFast, Scope::JOINS, CLEAN);
}

#[test]
fn a_result_beside_a_recorded_cancellation_is_caught() {
    is_caught(Mutant::NumbersTwice, Scope::CANCEL_RETRIES, ONE_END);
}

#[test]
fn a_queue_row_deleted_before_the_result_is_stored_is_caught() {
    is_caught(Mutant::QueueRowFirst, Scope::LOSSES, ENDS);
}

#[test]
fn a_lost_claim_that_nobody_asks_for_is_caught() {
    is_caught(Mutant::NoReconciliation, Scope::LOSSES, ENDS);
}

#[test]
fn retries_without_a_limit_are_caught() {
    is_caught(Mutant::NoLimit, Scope::FAILURES, LIMIT);
}

#[test]
fn a_step_that_stops_every_worker_and_runs_again_is_caught() {
    is_caught(Mutant::NoGivingUp, Scope::PAIRS, LOSSES);
}
