//! The rules that must always hold.

use stateright::Property;

use super::engine::{End, State};
use super::protocol::Protocol;
use super::scope::Scope;

pub(crate) const ORDER: &str = "no step starts before its dependencies are complete";
pub(crate) const ONE_END: &str = "the end of a step is recorded once";
pub(crate) const FENCED: &str = "a late result is refused";
pub(crate) const OVERLAP: &str =
    "two attempts of a step overlap only if a process was frozen past its lease";
pub(crate) const LIMIT: &str = "attempts exceed their limit only by lost leases";
pub(crate) const LOSSES: &str =
    "a step that loses too many workers ends, or another one with it does";
pub(crate) const DEADLOCK: &str = "completing transactions do not wait for each other";
pub(crate) const CLEAN: &str = "a task that has ended has no active step, unless it was cancelled";
pub(crate) const REASON: &str =
    "a task that was not cancelled ends when each step has ended or waits for a failed one";
pub(crate) const ENDS: &str = "every task can end when faults stop";

/// Returns whether a step waits for one that has failed, directly or not.
fn is_blocked(scope: &Scope, state: &State, step: usize) -> bool {
    let blocks = |other: &usize| {
        state.steps[*other].end == Some(End::Failed) || is_blocked(scope, state, *other)
    };
    scope.dependencies[step].iter().any(blocks)
}

pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ORDER, |_, state: &State| !state.flaws.started_early),
        Property::always(ONE_END, |_, state: &State| !state.flaws.ended_twice),
        Property::always(FENCED, |_, state: &State| !state.flaws.late_result_accepted),
        Property::always(OVERLAP, |_, state: &State| !state.flaws.overlapped),
        Property::always(LIMIT, |model: &Protocol, state: &State| {
            let limit = model.scope.max_attempts;
            state
                .steps
                .iter()
                .all(|step| step.attempt - step.uncounted <= limit)
        }),
        Property::always(LOSSES, |model: &Protocol, state: &State| {
            let limit = model.scope.max_losses.saturating_add(state.given_up);
            state.steps.iter().all(|step| step.losses < limit)
        }),
        Property::always(DEADLOCK, |_, state: &State| !state.flaws.deadlocked),
        Property::always(CLEAN, |_, state: &State| {
            !state.ended || state.cancelled || !state.has_rows()
        }),
        Property::always(REASON, |model: &Protocol, state: &State| {
            let is_over = |(step, row): (usize, &super::engine::Step)| {
                row.end.is_some() || is_blocked(&model.scope, state, step)
            };
            !state.ended || state.cancelled || state.steps.iter().enumerate().all(is_over)
        }),
        Property::always(ENDS, Protocol::ends_without_faults),
    ]
}
