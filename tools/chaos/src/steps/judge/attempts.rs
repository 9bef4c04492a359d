//! Rules about the attempts of one step.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{FINAL, Rule, Verdict};
use crate::clock::MILLISECOND;
use crate::steps::history::{Action, History, Run, Step, Transition};
use crate::steps::shapes::{self, BACKOFF_MS, Behaviour, MAX_ATTEMPTS, PLACEHOLDER};

/// Reasons of attempts that are lost without their fault.
const LOST: [&str; 2] = ["lease_expired", "worker_drained"];

/// A step with all that is known of it.
pub(super) struct Case<'a> {
    pub(super) history: &'a History,
    pub(super) id: Uuid,
    pub(super) step: &'a Step,
    /// In the order of their starts.
    pub(super) runs: &'a [&'a Run],
    pub(super) effects: &'a [i32],
    pub(super) actions: &'a [Action],
}

impl Case<'_> {
    pub(super) fn judge(&self, verdict: &mut Verdict) {
        self.recorded(verdict);
        self.by_hand(verdict);
        self.checkpoints(verdict);
        self.ends(verdict);
        self.silent(verdict);
        self.effects(verdict);
        self.numbers(verdict);
    }

    pub(super) fn violate(&self, verdict: &mut Verdict, rule: Rule, details: impl Into<String>) {
        verdict.violate(rule, self.step.task, Some(self.id), details);
    }

    fn behaviour(&self, attempt: i32) -> Behaviour {
        let seed = self.history.tasks[&self.step.task].seed;
        shapes::behaviour(seed, &self.step.name, attempt)
    }

    /// The transitions with which handlers ended.
    fn handler_ends(&self) -> impl Iterator<Item = &Transition> {
        self.step.transitions.iter().filter(|it| is_end(it))
    }

    pub(super) fn losses(&self) -> impl Iterator<Item = &Transition> {
        self.step.transitions.iter().filter(|it| is_loss(it))
    }

    /// One end of each step, from an attempt that ran, after which nothing follows, unless an operator
    /// puts a failed step back to work.
    fn recorded(&self, verdict: &mut Verdict) {
        let transitions = &self.step.transitions;
        let is_left = |index: usize| {
            let next = transitions.get(index + 1);
            transitions[index].state == "error" && next.is_some_and(|it| it.action().is_some())
        };
        let mut finals = (0..transitions.len())
            .filter(|&it| FINAL.contains(&&*transitions[it].state) && !is_left(it));
        if finals.any(|index| index + 1 < transitions.len()) {
            let states: Vec<_> = transitions.iter().map(|it| &it.state).collect();
            self.violate(verdict, Rule::NotRecordedOnce, format!("{states:?}"));
        }
        let complete = self.handler_ends().find(|it| it.state == "complete");
        let complete = complete.filter(|_| self.step.name != PLACEHOLDER);
        if let Some(attempt) = complete.map(|it| it.attempt)
            && self.step.attempt != attempt
        {
            let details = format!("result of {:?}, end of {attempt:?}", self.step.attempt);
            self.violate(verdict, Rule::LateResult, details);
        }
    }

    /// Operators' actions happen because they were asked for, to steps that they are for, and as they
    /// were answered.
    fn by_hand(&self, verdict: &mut Verdict) {
        let mut before = "";
        for transition in &self.step.transitions {
            if let Some(action) = transition.action() {
                let is_asked = self.actions.iter().any(|asked| asked.name == action);
                let has_failed = ["error", "waiting_for_retry"].contains(&before);
                if !is_asked || (action == "reset_for_retry" && !has_failed) {
                    let details = format!("{action} of {} after {before}", self.step.name);
                    self.violate(verdict, Rule::NotAsked, details);
                }
            }
            before = &transition.state;
        }
        let last = self.step.transitions.last().and_then(Transition::action);
        let answered = |it: &&Action| it.is_done && it.name != "reset_for_retry";
        let mut done = self.actions.iter().filter(answered);
        if let Some(done) = done.find(|it| last != Some(it.name)) {
            let details = format!("{done:?} was answered, {last:?} is recorded");
            self.violate(verdict, Rule::OtherAnswer, details);
        }
    }

    /// Each attempt reads the last checkpoint that an earlier one saved. One that was saved without an
    /// answer may be read, too.
    fn checkpoints(&self, verdict: &mut Verdict) {
        let seed = self.history.tasks[&self.step.task].seed;
        for (index, run) in self.runs.iter().enumerate() {
            let earlier = &self.runs[..index];
            let saved = earlier.iter().rfind(|run| run.saved).map(|run| run.attempt);
            let is_saved = |read: i32| {
                shapes::saves(seed, &self.step.name, read)
                    && earlier.iter().any(|run| run.attempt == read)
            };
            if run.checkpoint < saved || !run.checkpoint.is_none_or(is_saved) {
                let (attempt, read) = (run.attempt, run.checkpoint);
                let details = format!("attempt {attempt} read {read:?}, saved was {saved:?}");
                self.violate(verdict, Rule::OtherCheckpoint, details);
            }
        }
    }

    /// Each end follows from the behaviour of its handler and from the attempts before it, and no step
    /// runs again before its pause is over.
    fn ends(&self, verdict: &mut Verdict) {
        let (mut counted, mut not_before, mut before) = (1, 0, "");
        for it in &self.step.transitions {
            if it.reason.as_deref().is_none_or(str::is_empty) {
                let details = format!("{} without a reason", it.state);
                self.violate(verdict, Rule::WrongReason, details);
            }
            if is_end(it) {
                if counted > MAX_ATTEMPTS {
                    let details = format!("{} ended {counted} times", self.step.name);
                    self.violate(verdict, Rule::TooManyAttempts, details);
                }
                self.end(it, counted, verdict);
            }
            if it.state == "waiting_for_retry" {
                let pause = BACKOFF_MS * u64::try_from(counted).unwrap_or(1);
                not_before = it.at + pause * MILLISECOND * 9 / 10;
                counted += 1;
            } else if it.state == "in_progress" && it.at < not_before {
                let details = format!("at {}, its pause lasts until {not_before}", it.at);
                self.violate(verdict, Rule::NoPause, details);
            } else if it.action().is_some() {
                not_before = 0;
                if before == "error" {
                    counted = 1;
                }
            }
            before = &it.state;
        }
    }

    /// Judges an end of a handler, which is the `counted`-th of those that count.
    fn end(&self, it: &Transition, counted: usize, verdict: &mut Verdict) {
        let (attempt, error) = (it.attempt.unwrap_or_default(), it.error.as_deref());
        let behaviour = self.behaviour(attempt);
        let is_placeholder = self.step.name == PLACEHOLDER;
        let has_run = is_placeholder || self.runs.iter().any(|run| run.attempt == attempt);
        let is_own = error == behaviour.error().filter(|_| !is_placeholder);
        if is_own && !has_run {
            let details = format!("attempt {attempt} of {}: {it:?}", self.step.name);
            return self.violate(verdict, Rule::NeverRan, details);
        }
        let expected = match error {
            None => ("complete", "handler_completed"),
            Some("ChaosPermanent") => ("error", "permanent_error"),
            Some(_) if counted < MAX_ATTEMPTS => ("waiting_for_retry", "retryable_error"),
            Some(_) => ("error", "attempts_exhausted"),
        };
        let recorded = (&*it.state, it.reason.as_deref().unwrap_or_default());
        if !(is_own || self.is_excused(it, behaviour)) || recorded != expected {
            let details = format!("{behaviour:?}, counted as {counted}, was recorded as {it:?}");
            self.violate(verdict, Rule::WrongReason, details);
        }
    }

    /// Returns whether a fault explains an error that is not the handler's: its process was frozen past
    /// the step's timeout, or PostgreSQL did not take its checkpoint, or its own transaction.
    fn is_excused(&self, end: &Transition, behaviour: Behaviour) -> bool {
        let commits = matches!(behaviour, Behaviour::Commits | Behaviour::RollsBack);
        let can_be = match end.error.as_deref() {
            Some("Timeout" | "NotSaved") => true,
            error => commits && error == Some("Error"),
        };
        let mut runs = self.runs.iter().filter(|_| can_be);
        let Some(run) = runs.find(|run| Some(run.attempt) == end.attempt) else {
            return false;
        };
        let member = Some(self.history.processes[run.process]);
        let mut faults = self.history.faults.iter();
        // Another handler's transaction, which has locked the task, may be the one that a fault met.
        faults.any(|it| {
            let meets = if commits { it.member } else { member };
            it.excuses(meets, run.start, end.at)
        })
    }

    /// Every attempt that began leaves a transition.
    fn silent(&self, verdict: &mut Verdict) {
        let last = self.step.transitions.last();
        // The completion that made the step ready may be committed beside a cancellation.
        if last.is_some_and(|last| last.state == "cancelled") {
            return;
        }
        let began: BTreeSet<_> = self.runs.iter().map(|run| run.attempt).collect();
        for attempt in &began {
            let of = |it: &&Transition| it.attempt == Some(*attempt);
            // An operator took its claim.
            let is_taken = last.is_some_and(|last| last.action().is_some())
                && began.last() == Some(attempt)
                && self
                    .step
                    .transitions
                    .iter()
                    .any(|it| of(&it) && it.state == "in_progress");
            if !is_taken && !self.handler_ends().chain(self.losses()).any(|it| of(&it)) {
                let details = format!("attempt {attempt}: {:?}", self.step.transitions);
                self.violate(verdict, Rule::Silent, details);
            }
        }
    }

    /// Finds effects that a handler was to commit with its result, and results without them.
    fn effects(&self, verdict: &mut Verdict) {
        let complete = self.handler_ends().find(|it| it.state == "complete");
        let attempt = complete.and_then(|it| it.attempt);
        let expected: Vec<i32> = attempt
            .into_iter()
            .filter(|it| self.step.name != PLACEHOLDER && self.behaviour(*it) == Behaviour::Commits)
            .collect();
        if self.effects != expected {
            let details = format!("of attempts {:?}, result of {attempt:?}", self.effects);
            self.violate(verdict, Rule::EffectNotOnce, details);
        }
    }

    /// Each attempt has its own number, numbers rise, and a lost or overtaken attempt records nothing.
    fn numbers(&self, verdict: &mut Verdict) {
        let attempts: Vec<_> = self.runs.iter().map(|run| run.attempt).collect();
        if !attempts.is_sorted_by(|earlier, later| earlier < later) {
            let details = format!("{} ran as {attempts:?}", self.step.name);
            self.violate(verdict, Rule::AttemptTwice, details);
        }
        let lost: BTreeSet<_> = self.losses().filter_map(|it| it.attempt).collect();
        let mut ended = BTreeSet::new();
        for it in self.handler_ends() {
            let attempt = it.attempt.unwrap_or_default();
            if lost.contains(&attempt) {
                let details = format!("attempt {attempt} was lost, and ended");
                self.violate(verdict, Rule::LateResult, details);
            }
            if !ended.insert(attempt) {
                let details = format!("attempt {attempt} ended twice");
                self.violate(verdict, Rule::NotRecordedOnce, details);
            }
            let highest = attempts.iter().max();
            if it.state == "complete" && highest.is_some_and(|highest| *highest > attempt) {
                let details = format!("complete by {attempt}, although {highest:?} ran");
                self.violate(verdict, Rule::LateResult, details);
            }
        }
        let is_after = |attempt: &&i32| lost.contains(&(**attempt - 1));
        verdict.after_lease_losses += attempts.iter().filter(is_after).count();
    }
}

/// Returns whether a handler ended with this transition.
fn is_end(it: &Transition) -> bool {
    ["complete", "error", "waiting_for_retry"].contains(&&*it.state) && it.action().is_none()
}

fn is_loss(it: &Transition) -> bool {
    it.reason.as_deref().is_some_and(|it| LOST.contains(&it))
}
