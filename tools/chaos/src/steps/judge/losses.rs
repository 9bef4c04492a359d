//! Rules about attempts that were lost with their workers: why, when, and what runs beside them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::attempts::Case;
use super::{Rule, Verdict};
use crate::clock::SECOND;
use crate::fault::{Fault, Happened};
use crate::steps::history::{History, Run, Transition};
use crate::steps::members::LEASE_SECONDS;

const LEASE: u64 = LEASE_SECONDS * SECOND;
/// A worker renews its lease each third of it.
const BEAT: u64 = LEASE / 3;
/// The time by which a loaded machine may delay a heartbeat, or others' look at lost workers.
const SLACK: u64 = 3 * SECOND;
/// Others look for lost workers so often.
const LOOK: u64 = 2 * SECOND;
/// The time that a thawed process may take to notice that its lease is over.
const THAW_LIMIT: u64 = 2 * SECOND;
/// The time from the note of a fault to its effect.
const AT_ONCE: u64 = SECOND / 3;
/// From this loss on, steps wait for a random time before they run again.
const LOSSES_WITHOUT_PAUSE: usize = 2;

/// The members of workers that ran something, by the ids under which they claimed it.
pub(super) type Workers = BTreeMap<Uuid, usize>;

pub(super) fn workers(
    history: &History,
    of: impl Fn(Uuid, Option<i32>) -> Option<usize>,
) -> Workers {
    let transitions = history.steps.iter().flat_map(|(id, step)| {
        let of_step = step.transitions.iter();
        of_step.filter_map(|it| Some((it.worker?, of(*id, it.attempt)?)))
    });
    transitions.collect()
}

impl Case<'_> {
    pub(super) fn judge_losses(&self, workers: &Workers, verdict: &mut Verdict) {
        for loss in self.losses() {
            let member = loss.worker.and_then(|worker| workers.get(&worker)).copied();
            if !is_explained(self.history, loss, member) {
                let details = format!("{loss:?} of member {member:?}");
                self.violate(verdict, Rule::NoCause, details);
            }
        }
        for pair in self.runs.windows(2) {
            self.overlap(pair[0], pair[1], verdict);
            self.recovery(pair[0], pair[1], verdict);
        }
    }

    fn end_of(&self, run: &Run) -> u64 {
        let ended = self.history.ends.get(&run.process).copied();
        run.end.or(ended).unwrap_or(u64::MAX)
    }

    /// Faults that befell the process of an attempt while this ran.
    fn beside(&self, run: &Run) -> impl Iterator<Item = &Happened> {
        let (member, end) = (self.history.processes[run.process], self.end_of(run));
        let faults = self.history.faults.iter();
        faults.filter(move |it| {
            let is_in_time = it.start <= end && run.start <= it.start + AT_ONCE;
            it.meets(Some(member)) && is_in_time
        })
    }

    /// Two attempts overlap only if the process of the earlier one was frozen, and not before its lease
    /// can be over. Without another fault before, that is a lease after its last heartbeat.
    fn overlap(&self, earlier: &Run, later: &Run, verdict: &mut Verdict) {
        let end = self.end_of(earlier);
        if end <= later.start {
            return;
        }
        let member = self.history.processes[earlier.process];
        let is_allowed = |freeze: &Happened| {
            let mut faults = self.history.faults.iter();
            let had_fault = faults.any(|it| {
                it.meets(Some(member)) && it.start < freeze.start && it.end + LEASE > freeze.start
            });
            let rest = if had_fault { 0 } else { LEASE - BEAT };
            later.start + SLACK / 3 >= freeze.start + rest && end <= freeze.end + THAW_LIMIT
        };
        let mut freezes = self
            .beside(earlier)
            .filter(|it| it.fault == Fault::ProcessFrozen);
        if !freezes.any(is_allowed) {
            let details = format!("{earlier:?} until {end}, and {later:?}");
            self.violate(verdict, Rule::Overlap, details);
        }
    }

    /// A step that was lost with a killed or frozen process runs again when the lease is over.
    fn recovery(&self, earlier: &Run, later: &Run, verdict: &mut Verdict) {
        let is_lost = |it: &&Transition| it.reason.as_deref() == Some("lease_expired");
        let lost = self.losses().filter(is_lost);
        let lost: Vec<_> = lost.map(|it| it.attempt).collect();
        let index = lost.iter().position(|it| *it == Some(earlier.attempt));
        let ends = [Fault::ProcessKilled, Fault::ProcessFrozen];
        let cause = self.beside(earlier).find(|it| ends.contains(&it.fault));
        let (Some(index), Some(cause)) = (index, cause) else {
            return;
        };
        if index >= LOSSES_WITHOUT_PAUSE || later.attempt > earlier.attempt + 1 {
            return;
        }
        let took = later.start.saturating_sub(cause.start);
        verdict.recoveries.push(took);
        let members = [earlier, later].map(|run| Some(self.history.processes[run.process]));
        let mut others = self
            .history
            .faults
            .iter()
            .filter(|it| it.start != cause.start);
        let is_disturbed = others.any(|it| {
            let mut members = members.iter();
            members.any(|member| it.excuses(*member, cause.start, later.start))
        });
        if took > LEASE + LOOK + SLACK && !is_disturbed {
            let details = format!("{took} ns after {cause:?}: {later:?}");
            self.violate(verdict, Rule::LateRecovery, details);
        }
    }
}

/// Returns whether the worker was stopped, or could not renew its lease for long enough, and has lost
/// its claims no sooner. A worker that ran nothing may be any member.
fn is_explained(history: &History, loss: &Transition, member: Option<usize>) -> bool {
    let faults = history.faults.iter();
    let mut faults: Vec<_> = faults
        .filter(|it| member.map_or(it.fault.excuses_failures(), |_| it.meets(member)))
        .collect();
    if loss.reason.as_deref() == Some("worker_drained") {
        let is_stop = |it: &&Happened| it.fault == Fault::ProcessStopped;
        let mut stops = faults.into_iter().filter(is_stop);
        return stops.any(|it| (it.start..=it.end).contains(&loss.at));
    }
    faults.sort_by_key(|it| it.start);
    let mut silences: Vec<(u64, u64)> = Vec::new();
    for it in faults {
        let (start, end) = match it.fault {
            Fault::ProcessKilled => (it.start, it.end.max(it.start + LEASE)),
            // It leaves at once. If it cannot, its lease ends.
            Fault::ProcessStopped => (it.start.saturating_sub(LEASE), it.end + LEASE),
            _ => (it.start, it.end),
        };
        match silences.last_mut() {
            // Its heartbeats may fail from one to the other.
            Some(last) if start <= last.1 + SLACK => last.1 = last.1.max(end),
            _ => silences.push((start, end)),
        }
    }
    let mut silences = silences.into_iter();
    silences.any(|(start, end)| {
        start + LEASE <= loss.at + BEAT + SLACK / 3 && loss.at <= end + LOOK + SLACK
    })
}
