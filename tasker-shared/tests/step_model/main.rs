//! The protocol by which steps run, as a model whose states are explored completely.
//!
//! | in the model | in the engine |
//! | --- | --- |
//! | `Claim`, `AnswerClaim` | the statement that claims, and its answer in the worker |
//! | `Deliver`, or `Lock` and `Commit` | the statement that stores results, releases dependents and ends the task |
//! | `SendHeartbeat`, `DeliverHeartbeat`, `AnswerHeartbeat` | the heartbeat; a worker counts its lease from the sending |
//! | `RequeueLost` | any service, for workers that were not seen for a lease; it ends a step that lost too many |
//! | `Reconcile` | a worker after a statement without an answer: it names what it holds |
//! | `Freeze`, `Thaw`, `Kill`, `Restart` | the process |
//! | `Cancel`, `Reset`, `Resolve` | clients and operators |
//!
//! Ages count up to the lease, where nothing changes any more, so the model is finite without an
//! end of time. Not in the model: backoff, priorities, dynamic steps, several steps a statement.
//!
//! [`scope::Mutant`] lists the ways to break the protocol. Each must be caught.

mod engine;
mod protocol;
mod scope;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use protocol::{DEADLOCK, ENDS, FENCED, LIMIT, LOSSES, OVERLAP, Protocol};
use scope::{Mutant, Scope};

/// Explores all states of `scope`, and expects no violation and at least so many states.
#[expect(clippy::print_stdout, reason = "a run reports how much it explored")]
fn holds_everywhere(scope: Scope, at_least: usize) {
    let started = Instant::now();
    let checker = Protocol(scope).checker().spawn_bfs().join();
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
}

/// Expects that `mutant` violates `property` within `scope`.
#[expect(clippy::print_stdout, reason = "a counterexample is worth reading")]
fn is_caught(mutant: Mutant, scope: Scope, property: &'static str) {
    let checker = Protocol(scope.with(mutant))
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
    holds_everywhere(Scope::LEASES, 25_000);
}

#[test]
fn no_step_is_lost_while_workers_die_and_answers_are_lost() {
    holds_everywhere(Scope::LOSSES, 130_000);
}

#[test]
fn attempts_are_limited_while_leases_are_lost() {
    holds_everywhere(Scope::FAILURES, 220_000);
}

#[test]
fn joins_are_released_by_completions_at_the_same_time() {
    holds_everywhere(Scope::JOINS, 340);
}

#[test]
fn cancellation_and_operators_leave_one_end() {
    holds_everywhere(Scope::OPERATORS, 120_000);
}

#[test]
fn a_result_accepted_without_its_claim_is_caught() {
    is_caught(Mutant::NoFencing, Scope::LEASES, FENCED);
}

#[test]
fn a_lease_counted_from_the_answer_is_caught() {
    is_caught(Mutant::LeaseFromAnswer, Scope::LEASES, OVERLAP);
}

#[test]
fn a_claim_used_after_a_lease_is_caught() {
    is_caught(Mutant::LateClaim, Scope::LEASES, OVERLAP);
}

#[test]
fn locks_in_any_order_are_caught() {
    is_caught(Mutant::NoLockOrder, Scope::JOINS, DEADLOCK);
}

#[test]
fn dependents_in_a_transaction_of_their_own_are_caught() {
    is_caught(Mutant::DependentsApart, Scope::LOSSES, ENDS);
}

#[test]
fn a_queue_row_deleted_before_the_result_is_stored_is_caught() {
    is_caught(Mutant::QueueRowFirst, Scope::LOSSES, ENDS);
}

#[test]
fn a_lost_claim_that_nobody_reconciles_is_caught() {
    is_caught(Mutant::NoReconciliation, Scope::LOSSES, ENDS);
}

#[test]
fn retries_without_a_limit_are_caught() {
    is_caught(Mutant::NoLimit, Scope::FAILURES, LIMIT);
}

#[test]
fn a_step_that_stops_every_worker_and_runs_again_is_caught() {
    let scope = Scope {
        max_losses: 1,
        ..Scope::FAILURES
    };
    is_caught(Mutant::NoGivingUp, scope, LOSSES);
}
