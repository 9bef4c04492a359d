//! The properties that must always hold.

use stateright::Property;

use super::system::{Protocol, State};

pub(crate) const BOUND: &str = "an answer was current no longer ago than the bound";
pub(crate) const LINEARIZABLE: &str =
    "an answer was current after the resolve arrived, if the bound is zero or did not hold";
pub(crate) const FORWARD: &str = "versions never go back in a process";
pub(crate) const OWN_WRITES: &str = "a process sees its own writes";
pub(crate) const PREFIX: &str = "a poll sees a prefix of the commits, up to the latest";
pub(crate) const INVALIDATED: &str =
    "a registration whose commands arrive leaves no document in Redis that it has replaced";

pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(BOUND, |_, state: &State| !state.flaws.stale),
        Property::always(LINEARIZABLE, |_, state: &State| !state.flaws.before_arrival),
        Property::always(FORWARD, |_, state: &State| !state.flaws.went_back),
        Property::always(OWN_WRITES, |_, state: &State| !state.flaws.own_write_unseen),
        Property::always(PREFIX, |_, state: &State| {
            !state.flaws.gap
                && state.processes.iter().all(|process| {
                    process.index.is_none_or(|index| {
                        state.database.commit_of(index.stamp).pointers == index.pointers
                    })
                })
        }),
        Property::always(INVALIDATED, |_, state: &State| !state.flaws.left_in_redis),
    ]
}
