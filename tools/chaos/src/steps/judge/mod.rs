//! The judge: a pure function over a history of tasks. It shares no code with the engine.
//!
//! Its rules follow the promises of `docs/execution.md`. A task whose cancellation was requested may
//! end in any final state. An attempt may be lost only if its worker was stopped, or was kept from
//! renewing its lease. What operators were sent to do may have happened, also without an answer.

mod attempts;
mod losses;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use strum::{Display, VariantArray};
use uuid::Uuid;

use super::history::History;
use attempts::Case;

/// The states that end a task or a step.
const FINAL: [&str; 4] = ["complete", "error", "cancelled", "resolved_manually"];

/// A way in which a promise is broken, labelled with the number of the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Display, VariantArray)]
pub(crate) enum Rule {
    #[strum(to_string = "1: a task did not end")]
    NotEnded,
    #[strum(to_string = "1: another end was answered than is recorded")]
    OtherAnswer,
    #[strum(to_string = "2: other steps or edges than the template gives")]
    WrongGraph,
    #[strum(to_string = "2: the end does not follow from the steps")]
    WrongEnd,
    #[strum(to_string = "2: a step was left")]
    StepLeft,
    #[strum(to_string = "2: started before a dependency was complete")]
    StartedEarly,
    #[strum(to_string = "2: ran on, or recorded, other values")]
    WrongInputs,
    #[strum(to_string = "2: read another checkpoint than was saved")]
    OtherCheckpoint,
    #[strum(to_string = "2: an end not recorded once")]
    NotRecordedOnce,
    #[strum(to_string = "2: complete without a run")]
    NeverRan,
    #[strum(to_string = "2: an attempt number used twice")]
    AttemptTwice,
    #[strum(to_string = "2: an effect without its result")]
    EffectNotOnce,
    #[strum(to_string = "3: attempts overlap without a freeze")]
    Overlap,
    #[strum(to_string = "3: an attempt lost without a cause")]
    NoCause,
    #[strum(to_string = "3: a lost step waited too long")]
    LateRecovery,
    #[strum(to_string = "3: run again before its pause was over")]
    NoPause,
    #[strum(to_string = "3: a late result was recorded")]
    LateResult,
    #[strum(to_string = "3: more attempts than allowed")]
    TooManyAttempts,
    #[strum(to_string = "4: another document")]
    WrongDocument,
    #[strum(to_string = "5: an attempt without a transition")]
    Silent,
    #[strum(to_string = "5: a transition with a wrong reason")]
    WrongReason,
    #[strum(to_string = "5: an operator's action that was not due")]
    NotAsked,
    #[strum(to_string = "5: a failed task is not in the DLQ")]
    WrongDlq,
}

#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) task: Uuid,
    pub(crate) step: Option<Uuid>,
    pub(crate) details: String,
}

/// The judgement of a history.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    /// Attempts that followed one which was lost with its lease.
    pub(crate) after_lease_losses: usize,
    /// Nanoseconds from the kill or freeze of a process until the next attempt of each of its steps began.
    /// Ascending.
    pub(crate) recoveries: Vec<u64>,
}

impl Verdict {
    fn violate(&mut self, rule: Rule, task: Uuid, step: Option<Uuid>, details: impl Into<String>) {
        self.violations.push(Violation {
            rule,
            task,
            step,
            details: details.into(),
        });
    }
}

/// Judges a history. `staleness` is the time in nanoseconds for which a replaced document may still
/// be given to new tasks.
pub(crate) fn judge(history: &History, staleness: u64) -> Verdict {
    let mut verdict = Verdict::default();
    let mut runs = by_step(history.runs.iter().map(|run| (run.step, run)));
    for runs in runs.values_mut() {
        runs.sort_by_key(|run| run.start);
    }
    let effects = by_step(history.effects.iter().copied());
    let actions = by_step(history.actions.iter().map(|action| (action.step, *action)));
    let workers = losses::workers(history, |step, attempt| {
        let mut of_step = runs.get(&step)?.iter();
        let run = of_step.find(|run| Some(run.attempt) == attempt)?;
        Some(history.processes[run.process])
    });
    tasks::judge(history, &runs, staleness, &mut verdict);
    for (id, step) in &history.steps {
        let case = Case {
            history,
            id: *id,
            step,
            runs: runs.get(id).map_or(&[], Vec::as_slice),
            effects: effects.get(id).map_or(&[], Vec::as_slice),
            actions: actions.get(id).map_or(&[], Vec::as_slice),
        };
        case.judge(&mut verdict);
        case.judge_losses(&workers, &mut verdict);
    }
    verdict.recoveries.sort_unstable();
    verdict
}

fn by_step<T>(items: impl Iterator<Item = (Uuid, T)>) -> BTreeMap<Uuid, Vec<T>> {
    let mut by_step: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (step, item) in items {
        by_step.entry(step).or_default().push(item);
    }
    by_step
}
