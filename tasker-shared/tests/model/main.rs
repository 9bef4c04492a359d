//! The proof.

mod answers;
mod database;
mod mutants;
mod process;
mod properties;
mod scope;
mod steps;
mod system;
mod witnesses;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use mutants::Mutant;
use scope::Scope;
use system::Protocol;
use witnesses::Event;

fn exhaust(scope: Scope, at_least: usize, must_see: &[Event]) {
    let started = Instant::now();
    let checker = Protocol::new(scope).checker().spawn_bfs().join();
    println!(
        "{}: {} unique states, {} states, depth {}, {:.1} s",
        scope.name,
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f64()
    );
    for (name, path) in checker.discoveries() {
        let state = path.last_state().clone();
        panic!(
            "{}: \"{name}\" is violated by {:#?}\n{state:#?}",
            scope.name,
            path.into_actions()
        );
    }
    assert!(checker.is_done());
    for event in must_see {
        assert!(
            checker.model().witnesses.count(*event) > 0,
            "{event:?} never happened"
        );
    }
    assert!(checker.unique_state_count() >= at_least);
}

fn find(scope: Scope, mutant: Mutant, property: &'static str) {
    let started = Instant::now();
    let finish = HasDiscoveries::AllOf([property].into());
    let checker = Protocol::new(scope.with(mutant))
        .checker()
        .finish_when(finish)
        .spawn_bfs()
        .join();
    let path = checker
        .discovery(property)
        .unwrap_or_else(|| panic!("{mutant:?} not caught in {}", scope.name));
    println!(
        "{mutant:?} [{}] {property}: {:?} ({} states, {:.1}s)",
        scope.name,
        path.into_actions(),
        checker.unique_state_count(),
        started.elapsed().as_secs_f64()
    );
}

#[test]
fn freezing() {
    exhaust(Scope::FREEZING, 0, &[]);
}
#[test]
fn returning() {
    exhaust(Scope::RETURNING, 0, &[]);
}
#[test]
fn linearizable() {
    exhaust(Scope::LINEARIZABLE, 0, &[]);
}
#[test]
fn commits() {
    exhaust(Scope::COMMITS, 0, &[]);
}
#[test]
fn restores() {
    exhaust(Scope::RESTORES, 0, &[]);
}
#[test]
fn own_writes() {
    exhaust(Scope::OWN_WRITES, 0, &[]);
}
#[test]
fn redis() {
    exhaust(Scope::REDIS, 0, &[]);
}
#[test]
fn quiet() {
    exhaust(Scope::QUIET, 0, &[]);
}
#[test]
fn mutants() {
    use properties::*;
    find(Scope::FREEZING, Mutant::ReplyTimeValidity, BOUND);
    find(Scope::FREEZING, Mutant::NoHashCheck, BOUND);
    find(Scope::FREEZING, Mutant::NoHashCheck, FORWARD);
    find(Scope::FREEZING, Mutant::NoNameCheck, OWN_NAME);
    find(Scope::FREEZING, Mutant::NoCheckAfterWait, BOUND);
    find(Scope::COMMITS, Mutant::PlainSequence, PREFIX);
    find(Scope::COMMITS, Mutant::PlainSequence, BOUND);
    find(Scope::RESTORES, Mutant::NoReloadAfterRegression, BOUND);
    find(Scope::RESTORES, Mutant::NoReloadAfterRegression, PREFIX);
    find(Scope::OWN_WRITES, Mutant::NoWriteFloor, OWN_WRITES);
    find(Scope::OWN_WRITES, Mutant::TrustUnchanged, OWN_WRITES);
    find(Scope::LINEARIZABLE, Mutant::SharedEarlierPoll, LINEARIZABLE);
    find(Scope::QUIET, Mutant::InvalidateBeforeCommit, INVALIDATED);
    find(Scope::QUIET, Mutant::TrustUnchanged, INVALIDATED);
    find(Scope::QUIET, Mutant::NoRetirement, QUIET);
    find(Scope::QUIET, Mutant::LateLoadIsKept, QUIET);
}
