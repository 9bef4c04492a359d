//! Rules about the attempts of one step.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Rule, Verdict};
use crate::clock::SECOND;
use crate::steps::history::{Action, History, Run, Span, Step, Transition};
use crate::steps::shapes::{self, MAX_ATTEMPTS, PLACEHOLDER};

const FINAL: [&str; 4] = ["complete", "error", "cancelled", "resolved_manually"];
/// Reasons of attempts that are lost without their fault.
const LOST: [&str; 2] = ["lease_expired", "worker_drained"];
/// The time that a thawed process may take to notice that its lease is over.
const THAW_LIMIT: u64 = 2 * SECOND;

pub(super) fn judge(
    history: &History,
    id: Uuid,
    step: &Step,
    (runs, spans, effects, actions): (&[&Run], &[&Span], &[i32], &[Action]),
    verdict: &mut Verdict,
) {
    recorded(id, step, runs, verdict);
    by_hand(id, step, actions, verdict);
    checkpoints(history, id, step, runs, verdict);
    reasons(history, id, step, runs, verdict);
    self::effects(history, id, step, effects, verdict);
    numbers(id, step, runs, spans, verdict);
    overlaps(history, id, step, spans, verdict);
    recoveries(history, step, spans, verdict);
}

/// Returns the transitions that end an attempt, but for its loss.
fn ends(transitions: &[Transition]) -> impl Iterator<Item = &Transition> {
    let is_end = |state: &str| ["complete", "error", "waiting_for_retry"].contains(&state);
    transitions.iter().filter(move |it| is_end(&it.state))
}

fn losses(step: &Step) -> impl Iterator<Item = &Transition> {
    let is_loss = |reason: &str| LOST.contains(&reason);
    let transitions = step.transitions.iter();
    transitions.filter(move |it| it.reason.as_deref().is_some_and(is_loss))
}

/// One end of each step, from an attempt that ran, after which nothing follows, unless an operator
/// puts a failed step back to work.
fn recorded(id: Uuid, step: &Step, runs: &[&Run], verdict: &mut Verdict) {
    let is_left = |index: usize| {
        let next = step.transitions.get(index + 1);
        step.transitions[index].state == "error" && next.is_some_and(|it| it.action().is_some())
    };
    let finals: Vec<_> = step
        .transitions
        .iter()
        .enumerate()
        .filter(|(index, it)| FINAL.contains(&it.state.as_str()) && !is_left(*index))
        .collect();
    let is_last = finals
        .iter()
        .all(|(index, _)| index + 1 == step.transitions.len());
    if finals.len() > 1 || !is_last {
        let states: Vec<_> = step.transitions.iter().map(|it| &it.state).collect();
        verdict.violate(
            Rule::NotRecordedOnce,
            step.task,
            Some(id),
            format!("{states:?}"),
        );
    }
    let Some((_, complete)) = finals.iter().find(|(_, it)| it.state == "complete") else {
        return;
    };
    if step.name == PLACEHOLDER || complete.action().is_some() {
        return;
    }
    if !runs.iter().any(|run| Some(run.attempt) == complete.attempt) {
        let details = format!("{} complete by attempt {:?}", step.name, complete.attempt);
        verdict.violate(Rule::NeverRan, step.task, Some(id), details);
    }
    if step.attempt != complete.attempt {
        let details = format!(
            "result of {:?}, end of {:?}",
            step.attempt, complete.attempt
        );
        verdict.violate(Rule::LateResult, step.task, Some(id), details);
    }
}

/// Operators' actions happen because they were asked for, to steps that they are for, and as they
/// were answered.
fn by_hand(id: Uuid, step: &Step, actions: &[Action], verdict: &mut Verdict) {
    let mut before = "";
    for transition in &step.transitions {
        if let Some(action) = transition.action() {
            let is_asked = actions.iter().any(|asked| asked.name == action);
            let has_failed = ["error", "waiting_for_retry"].contains(&before);
            let is_due = action != "reset_for_retry" || has_failed;
            if !is_asked || !is_due {
                let details = format!("{action} of {} after {before}", step.name);
                verdict.violate(Rule::NotAsked, step.task, Some(id), details);
            }
        }
        before = &transition.state;
    }
    let last = step.transitions.last().and_then(Transition::action);
    let answered = |action: &&Action| action.is_done && action.name != "reset_for_retry";
    if let Some(done) = actions
        .iter()
        .filter(answered)
        .find(|it| last != Some(it.name))
    {
        let details = format!("{done:?} was answered, {last:?} is recorded");
        verdict.violate(Rule::OtherAnswer, step.task, Some(id), details);
    }
}

/// Each attempt reads the last checkpoint that an earlier one saved. One that was saved without an
/// answer may be read, too.
fn checkpoints(history: &History, id: Uuid, step: &Step, runs: &[&Run], verdict: &mut Verdict) {
    let seed = history.tasks[&step.task].seed;
    for (index, run) in runs.iter().enumerate() {
        let earlier = &runs[..index];
        let saved = earlier.iter().rfind(|run| run.saved).map(|run| run.attempt);
        let is_saved = |read: i32| {
            shapes::saves(seed, &step.name, read) && earlier.iter().any(|run| run.attempt == read)
        };
        if run.checkpoint < saved || !run.checkpoint.is_none_or(is_saved) {
            let details = format!(
                "attempt {} read {:?}, saved was {saved:?}",
                run.attempt, run.checkpoint
            );
            verdict.violate(Rule::OtherCheckpoint, step.task, Some(id), details);
        }
    }
}

/// Every attempt leaves a transition, with the reason that follows from its handler.
fn reasons(history: &History, id: Uuid, step: &Step, runs: &[&Run], verdict: &mut Verdict) {
    let task = &history.tasks[&step.task];
    for transition in &step.transitions {
        if transition.reason.as_deref().is_none_or(str::is_empty) {
            let details = format!("{} without a reason", transition.state);
            verdict.violate(Rule::WrongReason, step.task, Some(id), details);
        }
    }
    for run in runs {
        let of_run = |it: &&Transition| it.attempt == Some(run.attempt);
        let is_cancelled = step
            .transitions
            .last()
            .is_some_and(|last| last.state == "cancelled");
        if losses(step).any(|it| of_run(&it)) || is_cancelled {
            continue;
        }
        // An operator took this attempt's claim, or ended the step while it waited for the next one.
        let is_taken = step
            .transitions
            .last()
            .is_some_and(|last| last.action().is_some())
            && runs.last().is_some_and(|last| last.attempt == run.attempt);
        let end = ends(&step.transitions).find(of_run);
        let is_started = |it: &Transition| it.state == "in_progress" && of_run(&it);
        if end.is_none() && is_taken && step.transitions.iter().any(is_started) {
            continue;
        }
        let Some(end) = end else {
            let details = format!(
                "attempt {} of {}: {:?}",
                run.attempt, step.name, step.transitions
            );
            verdict.violate(Rule::Silent, step.task, Some(id), details);
            continue;
        };
        let behaviour = shapes::behaviour(task.seed, &step.name, run.attempt);
        let is_right = match (behaviour.error(), end.error.as_deref()) {
            // PostgreSQL could not be reached from the handler's own transaction.
            (None, error) => error.is_none() == (end.state == "complete"),
            (Some(expected), error) => error == Some(expected) || is_excused(error),
        };
        let is_quick = matches!(
            behaviour,
            shapes::Behaviour::Quick | shapes::Behaviour::Long
        );
        if !is_right || (is_quick && end.error.is_some() && !is_excused(end.error.as_deref())) {
            let details = format!("{behaviour:?} was recorded as {end:?}");
            verdict.violate(Rule::WrongReason, step.task, Some(id), details);
        }
    }
}

/// Returns whether faults alone explain an error: a process that was frozen past a step's timeout, or
/// a database that did not take the handler's note.
fn is_excused(error: Option<&str>) -> bool {
    matches!(error, Some("Timeout" | "NotNoted"))
}

/// What a handler commits with its result is there if, and only if, the result is.
fn effects(history: &History, id: Uuid, step: &Step, effects: &[i32], verdict: &mut Verdict) {
    let task = &history.tasks[&step.task];
    let complete = ends(&step.transitions).find(|it| it.state == "complete");
    let committed = complete.and_then(|it| it.attempt).filter(|attempt| {
        shapes::behaviour(task.seed, &step.name, *attempt) == shapes::Behaviour::Commits
    });
    let is_placeholder = step.name == PLACEHOLDER;
    let expected: Vec<i32> = committed.into_iter().filter(|_| !is_placeholder).collect();
    if effects != expected {
        let details = format!("effects of attempts {effects:?}, result of {committed:?}");
        verdict.violate(Rule::EffectNotOnce, step.task, Some(id), details);
    }
}

/// Each attempt has its own number, numbers rise, a lost attempt records nothing, and only lost ones
/// are beyond the limit.
fn numbers(id: Uuid, step: &Step, runs: &[&Run], spans: &[&Span], verdict: &mut Verdict) {
    let mut violate = |rule, details| verdict.violate(rule, step.task, Some(id), details);
    let mut seen = BTreeSet::new();
    let mut highest = 0;
    for span in spans {
        if !seen.insert(span.attempt) || span.attempt < highest {
            let attempts: Vec<_> = spans.iter().map(|span| span.attempt).collect();
            violate(
                Rule::AttemptTwice,
                format!("{} ran as {attempts:?}", step.name),
            );
        }
        highest = highest.max(span.attempt);
    }
    let mut noted = BTreeSet::new();
    if let Some(run) = runs.iter().find(|run| !noted.insert(run.attempt)) {
        violate(
            Rule::AttemptTwice,
            format!("attempt {} noted twice", run.attempt),
        );
    }
    let lost: BTreeSet<_> = losses(step).filter_map(|it| it.attempt).collect();
    let mut ended: BTreeMap<i32, usize> = BTreeMap::new();
    for attempt in ends(&step.transitions).filter_map(|it| it.attempt) {
        *ended.entry(attempt).or_default() += 1;
    }
    for (attempt, count) in &ended {
        if lost.contains(attempt) {
            violate(
                Rule::LateResult,
                format!("attempt {attempt} was lost, and ended"),
            );
        }
        if *count > 1 {
            violate(
                Rule::NotRecordedOnce,
                format!("attempt {attempt} ended {count} times"),
            );
        }
    }
    let complete = ends(&step.transitions).find(|it| it.state == "complete");
    if let Some(attempt) = complete.and_then(|it| it.attempt)
        && highest > attempt
    {
        violate(
            Rule::LateResult,
            format!("complete by {attempt}, although {highest} ran"),
        );
    }
    let resets = step.transitions.split(|it| it.action().is_some());
    for since_reset in resets {
        if ends(since_reset).count() > MAX_ATTEMPTS {
            let details = format!("{} ended {ended:?}", step.name);
            violate(Rule::TooManyAttempts, details);
        }
    }
    verdict.after_lease_losses += spans
        .iter()
        .filter(|span| lost.contains(&(span.attempt - 1)))
        .count();
}

/// Two attempts overlap only if the process of the earlier one was frozen.
fn overlaps(history: &History, id: Uuid, step: &Step, spans: &[&Span], verdict: &mut Verdict) {
    for pair in spans.windows(2) {
        let [earlier, later] = pair else { continue };
        let end = earlier
            .end
            .or_else(|| history.ends.get(&earlier.process).copied())
            .unwrap_or(u64::MAX);
        if end <= later.start {
            continue;
        }
        let was_frozen = history.freezes.iter().any(|(process, from, to)| {
            *process == earlier.process
                && *from <= later.start
                && *to >= earlier.start
                && end <= to + THAW_LIMIT
        });
        if was_frozen {
            verdict.overlaps_allowed += 1;
        } else {
            let details = format!("{earlier:?} until {end}, and {later:?}");
            verdict.violate(Rule::Overlap, step.task, Some(id), details);
        }
    }
}

/// Notes how long the steps of lost processes waited for their next attempts.
fn recoveries(history: &History, step: &Step, spans: &[&Span], verdict: &mut Verdict) {
    let lost: BTreeSet<_> = losses(step)
        .filter(|it| it.reason.as_deref() == Some("lease_expired"))
        .filter_map(|it| it.attempt)
        .collect();
    for pair in spans.windows(2) {
        let [earlier, later] = pair else { continue };
        if earlier.end.is_none()
            && lost.contains(&earlier.attempt)
            && let Some(died) = history.ends.get(&earlier.process)
        {
            verdict.recoveries.push(later.start.saturating_sub(*died));
        }
    }
}
