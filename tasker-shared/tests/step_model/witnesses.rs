//! Counts the events of a run, so that a run without interesting events fails.

use std::sync::atomic::{AtomicU64, Ordering};

use super::completion::Next;
use super::engine::{Answer, End, LEASE, Line, Row, Run, State};
use super::protocol::Action;
use super::scope::Scope;

/// An event without which a run proves little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A worker that was frozen past its lease received claims, and ended.
    ClaimsPastLease,
    /// A heartbeat, or a look at the worker's row, found it lost.
    DeclaredLost,
    /// A claim took effect when its worker was lost.
    LateClaim,
    /// A completion claimed its dependent for a worker that was lost.
    ReleasedToLostWorker,
    Refused,
    /// A claim without a run was handed out again, beside a step that runs.
    Recovered,
    RecoveredBesideRun,
    /// A statement took effect that the worker had given up.
    GivenUpTookEffect,
    /// A worker was lost while it completed a step, whose row stayed locked.
    LostWhileCompleting,
    /// One of two steps with too many losses was given up.
    OneOfTwoGivenUp,
    TwoComplete,
    /// A completion queued or claimed a step that the cancellation did not see.
    LeftByCancel,
    /// A completion failed because the cancellation beside it was first.
    FailedByCancel,
    LeftRowRemoved,
}

const EVENTS: usize = Event::LeftRowRemoved as usize + 1;

/// Counts of the events, over all transitions that the checker has computed.
#[derive(Debug, Default)]
pub(crate) struct Witnesses([AtomicU64; EVENTS]);

impl Witnesses {
    pub(crate) fn count(&self, event: Event) -> u64 {
        self.0[event as usize].load(Ordering::Relaxed)
    }

    /// Counts the events of a transition.
    pub(crate) fn note(&self, scope: &Scope, last: &State, action: Action, state: &State) {
        let note = |event: Event, happened: bool| {
            self.0[event as usize].fetch_add(happened.into(), Ordering::Relaxed);
        };
        let claims_more = |worker: usize| {
            let claimed = |steps: &State| {
                let mine = steps
                    .steps
                    .iter()
                    .filter(|step| step.row == Row::Claimed(worker));
                mine.count()
            };
            claimed(state) > claimed(last)
        };
        match action {
            Action::Receive(index) => {
                let worker = &last.workers[index];
                let Some(Line::Answer(answer)) = worker.lines[0] else {
                    return;
                };
                let has_claims = answer.claims != Answer::default().claims;
                let recovers = answer.was_recovered && has_claims && worker.age < LEASE;
                let runs = worker.runs.iter().any(|run| matches!(run, Run::Running(_)));
                note(Event::ClaimsPastLease, has_claims && worker.age >= LEASE);
                note(Event::DeclaredLost, answer.is_lost);
                note(Event::Recovered, recovers);
                note(Event::RecoveredBesideRun, recovers && runs);
            }
            Action::AnswerHeartbeat(index) => {
                let answer = last.workers[index]
                    .heartbeat
                    .map(|heartbeat| heartbeat.renewed);
                note(Event::DeclaredLost, answer == Some(Some(false)));
            }
            Action::Take(index, line, _) => {
                note(
                    Event::LateClaim,
                    last.workers[index].lost && claims_more(index),
                );
                note(Event::GivenUpTookEffect, line == 1 && claims_more(index));
            }
            Action::Begin(index, line)
            | Action::Complete(index, line)
            | Action::Advance(index, line, _) => {
                let released =
                    state.steps.iter().zip(&last.steps).any(|(now, before)| {
                        now.row == Row::Claimed(index) && before.row == Row::None
                    });
                let changed = state.steps != last.steps;
                note(
                    Event::ReleasedToLostWorker,
                    last.workers[index].lost && released,
                );
                note(
                    Event::GivenUpTookEffect,
                    line == 1 && changed && !last.ended,
                );
                match last.workers[index].lines[line] {
                    Some(Line::Complete(report)) => {
                        note(Event::Refused, !last.is_current(index, report));
                        note(Event::LeftRowRemoved, last.ended && changed);
                    }
                    Some(Line::Completing(transaction)) => {
                        let writes = last.next(scope, &transaction) == Next::Write;
                        let ended = last.steps[transaction.report.step].end;
                        note(
                            Event::FailedByCancel,
                            writes && ended == Some(End::Cancelled),
                        );
                    }
                    _ => {}
                }
            }
            Action::RequeueLost(index, hopeless) => {
                let left = state.has_claims(index);
                note(Event::LostWhileCompleting, left);
                let two = last.hopeless(scope, index).len() > 1;
                note(Event::OneOfTwoGivenUp, hopeless.is_some() && two);
            }
            Action::CancelNext => note(Event::LeftByCancel, state.cancelled && state.has_rows()),
            _ => {}
        }
        note(Event::TwoComplete, state.transactions().count() > 1);
    }
}
