//! Runs of the checker, for this model and that of steps.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

/// Explores all states of a model. Expects no violation, and at least so many states.
#[expect(clippy::print_stdout, reason = "a run reports its size")]
pub(crate) fn holds_everywhere<M>(name: &str, model: M, at_least: usize) -> impl Checker<M>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let started = Instant::now();
    let checker = model.checker().spawn_bfs().join();
    let states = checker.unique_state_count();
    println!(
        "{name}: {states} states, {} transitions, depth {}, {:.1} s",
        checker.state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f64(),
    );
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        let end = path.last_state().clone();
        let steps = path.into_actions();
        panic!("{name}: not \"{property}\": {steps:?}\n{end:#?}");
    }
    // Nothing limits the checker, so that it is done means that it has seen every state.
    assert!(checker.is_done(), "{name}: the checker gave up");
    assert!(states >= at_least, "{name}: the model has shrunk");
    checker
}

/// Returns whether a model violates `property`.
#[expect(clippy::print_stdout, reason = "a counterexample is worth reading")]
pub(crate) fn violates<M>(model: M, property: &'static str) -> bool
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model
        .checker()
        .finish_when(HasDiscoveries::AllOf([property].into()))
        .spawn_bfs()
        .join();
    let path = checker.discovery(property);
    if let Some(path) = path.clone() {
        println!("not \"{property}\": {:?}", path.into_actions());
    }
    path.is_some()
}

/// Expects that each of `checked`, a mutant with its scope and a property, violates the property, and that none
/// of `mutants` is missing there.
pub(crate) fn all_are_caught<M: Debug + PartialEq>(
    mutants: &[M],
    checked: &[(M, &str, &str, bool)],
) {
    let kept: Vec<_> = checked.iter().filter(|(.., caught)| !caught).collect();
    assert!(kept.is_empty(), "mutants that keep properties: {kept:?}");
    let is_checked = |one: &&M| checked.iter().any(|(mutant, ..)| mutant == *one);
    let forgotten: Vec<_> = mutants.iter().filter(|one| !is_checked(one)).collect();
    assert!(
        forgotten.is_empty(),
        "mutants without a property: {forgotten:?}"
    );
}
