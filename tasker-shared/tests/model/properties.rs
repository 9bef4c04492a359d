//! What must always hold.

use stateright::Property;

use super::database::OURS;
use super::process::Body;
use super::scope::{PROCESSES, Redis};
use super::system::{Protocol, State};
use super::witnesses::Event;

pub(crate) const BOUND: &str = "what is served was current no longer ago than the bound";
pub(crate) const LINEARIZABLE: &str =
    "with a bound of zero, what is served was current after the resolve arrived";
pub(crate) const FORWARD: &str = "versions never go back in a process";
pub(crate) const OWN_WRITES: &str = "a process sees its own writes";
pub(crate) const PREFIX: &str = "a poll sees a prefix of the commits, up to the latest";
pub(crate) const INVALIDATED: &str =
    "a registration whose commands arrive leaves no body in Redis that it has replaced";
pub(crate) const QUIET: &str = "when all is quiet, caches are empty or equal to the database";
pub(crate) const OWN_NAME: &str = "no body is served under another's name";

pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(BOUND, |_, state: &State| !state.flaws.stale),
        Property::always(LINEARIZABLE, |_, state: &State| !state.flaws.before_arrival),
        Property::always(FORWARD, |_, state: &State| !state.flaws.went_back),
        Property::always(OWN_WRITES, |_, state: &State| !state.flaws.own_write_unseen),
        Property::always(PREFIX, |_, state: &State| {
            !state.flaws.gap
                && state.processes.iter().all(|process| {
                    process.directory.is_none_or(|directory| {
                        state.database.commit_of(directory.stamp).pointers == directory.pointers
                    })
                })
        }),
        Property::always(INVALIDATED, |_, state: &State| !state.flaws.left_in_redis),
        Property::always(QUIET, |protocol: &Protocol, state: &State| {
            if !is_quiet(protocol, state) {
                return true;
            }
            if state.redis.is_some() {
                protocol.witnesses.note(Event::QuietWithABodyInRedis);
            }
            caches_agree(state)
        }),
        Property::always(OWN_NAME, |_, state: &State| !state.flaws.other_name),
    ]
}

/// Nothing is under way, all processes know the latest commit, and nothing was ever lost.
fn is_quiet(protocol: &Protocol, state: &State) -> bool {
    let latest = state.database.latest();
    protocol.scope.redis == Redis::Faithful
        && !state.faulted
        && state.strays == 0
        && state.database.open.iter().all(Option::is_none)
        && state.processes[..protocol.scope.processes.min(PROCESSES)]
            .iter()
            .all(|process| {
                process.is_idle()
                    && process
                        .directory
                        .is_some_and(|directory| directory.stamp == latest)
            })
}

fn caches_agree(state: &State) -> bool {
    let database = &state.database;
    let current = database.current(OURS);
    let body = Body::ours(database.content(current));
    let redis_agrees = state.redis.is_none_or(|stored| stored.body == body);
    redis_agrees
        && state.processes.iter().all(|process| {
            (0..)
                .zip(&process.local)
                .all(|(entry, held)| held.is_none_or(|held| entry == current && held == body))
        })
}
