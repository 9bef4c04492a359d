//! Histories with fabricated violations, each of which the judge must find, and without, in which it
//! must find none.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Rule, judge};
use crate::clock::SECOND;
use crate::steps::history::{Action, Asked, History, Run, Span, Step, Task, Transition, Version};
use crate::steps::shapes::{self, BY_HAND, Behaviour, Shape};

const TASK: Uuid = Uuid::from_u128(1);
const MARKER: u32 = 3;
const STALENESS: u64 = SECOND;
/// Among so many seeds is one for each wanted behaviour.
const SEEDS: u64 = 100_000;

/// Returns a seed with which the first attempts of all steps of a linear task go like this.
fn seed(wanted: Behaviour) -> u64 {
    let names = ["a", "b", "c", "end_3"];
    (0..SEEDS)
        .find(|seed| {
            shapes::behaviour(*seed, names[0], 1) == wanted
                && names[1..]
                    .iter()
                    .all(|name| shapes::behaviour(*seed, name, 1) == Behaviour::Quick)
        })
        .unwrap()
}

fn id(name: &str) -> Uuid {
    Uuid::from_u128(name.bytes().fold(7, |id, byte| id * 256 + u128::from(byte)))
}

fn transition(name: &str, state: &str, reason: &str, attempt: i32, at: i64) -> Transition {
    Transition {
        step: id(name),
        state: state.to_owned(),
        attempt: Some(attempt),
        reason: Some(reason.to_owned()),
        error: None,
        at,
    }
}

/// A linear task that ran without a fault. Its first step goes as `first`, which must succeed.
fn history_of(first: Behaviour) -> History {
    let seed = seed(first);
    let mut history = History::default();
    history.tasks.insert(
        TASK,
        Task {
            shape: String::from("linear"),
            seed,
            is_ended: true,
            states: vec![String::from("pending"), String::from("complete")],
            asked: Some(Asked {
                start: 100,
                end: 200,
            }),
            answered: Some(String::from("complete")),
            ..Task::default()
        },
    );
    for (marker, start) in [(MARKER, 10), (MARKER + 1, 300)] {
        history.versions.push(Version {
            shape: String::from("linear"),
            marker,
            start,
            end: start + 10,
        });
    }
    let mut inputs = std::collections::BTreeMap::new();
    let mut parent = None;
    for (number, name) in ["a", "b", "c", "end_3"].into_iter().enumerate() {
        let at = 1000 * (i64::try_from(number).unwrap() + 1);
        let sum = shapes::sum(name, MARKER, seed, &inputs);
        inputs.insert(name.to_owned(), sum.clone());
        history.steps.insert(
            id(name),
            Step {
                task: TASK,
                name: name.to_owned(),
                sum: Some(sum.clone()),
                attempt: Some(1),
                parents: parent.replace(name.to_owned()).into_iter().collect(),
                transitions: vec![
                    transition(name, "in_progress", "claimed", 1, at),
                    transition(name, "complete", "handler_completed", 1, at + 500),
                ],
            },
        );
        history.runs.push(Run {
            step: id(name),
            attempt: 1,
            marker: i64::from(MARKER),
            sum,
            checkpoint: None,
            saved: false,
            at: at + 100,
        });
        let start = at.unsigned_abs() * 1000;
        history.spans.push(Span {
            step: id(name),
            attempt: 1,
            process: 1,
            start,
            end: Some(start + 400),
        });
    }
    if first == Behaviour::Commits {
        history.effects.push((id("a"), 1));
    }
    history
}

fn history() -> History {
    history_of(Behaviour::Quick)
}

/// The history of a first step whose first attempt was lost with its process, and that ran again.
fn lost() -> History {
    let mut history = history();
    let step = history.steps.get_mut(&id("a")).unwrap();
    step.attempt = Some(2);
    step.transitions.splice(
        1..,
        [
            transition("a", "enqueued", "lease_expired", 1, 1200),
            transition("a", "in_progress", "claimed", 2, 1250),
            transition("a", "complete", "handler_completed", 2, 1500),
        ],
    );
    let mut again = history.runs[0].clone();
    (again.attempt, again.at) = (2, 1300);
    history.runs.insert(1, again);
    history.spans[0].end = None;
    history.ends.insert(1, 1_100_000);
    history.spans.insert(
        1,
        Span {
            step: id("a"),
            attempt: 2,
            process: 2,
            start: 1_300_000,
            end: Some(1_400_000),
        },
    );
    for span in &mut history.spans[2..] {
        span.process = 2;
    }
    // Whether a second attempt would fail is beside the point.
    let seed = (0..SEEDS).find(|seed| {
        (1..=2).all(|attempt| shapes::behaviour(*seed, "a", attempt) == Behaviour::Quick)
            && ["b", "c", "end_3"]
                .iter()
                .all(|name| shapes::behaviour(*seed, name, 1) == Behaviour::Quick)
    });
    reseed(&mut history, seed.unwrap());
    history
}

/// Gives the task another seed, and all sums that follow from it.
fn reseed(history: &mut History, seed: u64) {
    history.tasks.get_mut(&TASK).unwrap().seed = seed;
    let mut inputs = std::collections::BTreeMap::new();
    for name in ["a", "b", "c", "end_3"] {
        let sum = shapes::sum(name, MARKER, seed, &inputs);
        inputs.insert(name.to_owned(), sum.clone());
        history.steps.get_mut(&id(name)).unwrap().sum = Some(sum.clone());
        for run in history.runs.iter_mut().filter(|run| run.step == id(name)) {
            run.sum.clone_from(&sum);
        }
    }
}

/// The history of a last step that an operator completed while its attempt ran.
fn by_hand() -> History {
    let mut history = history();
    history.tasks.get_mut(&TASK).unwrap().is_operated = true;
    let action = |name, is_done| Action {
        step: id("end_3"),
        name,
        is_done,
    };
    history.actions = vec![
        action("complete_manually", true),
        action("reset_for_retry", false),
    ];
    let last = step(&mut history, "end_3");
    (last.sum, last.attempt) = (Some(BY_HAND.to_owned()), None);
    last.transitions[1].reason = Some(String::from("complete_manually"));
    last.transitions[1].attempt = None;
    history
}

fn rules(history: &History) -> BTreeSet<Rule> {
    let violations = judge(history, STALENESS).violations;
    violations
        .into_iter()
        .map(|violation| violation.rule)
        .collect()
}

fn broken(mut history: History, breaks: impl FnOnce(&mut History)) -> BTreeSet<Rule> {
    breaks(&mut history);
    rules(&history)
}

fn step<'a>(history: &'a mut History, name: &str) -> &'a mut Step {
    history.steps.get_mut(&id(name)).unwrap()
}

#[test]
fn a_history_without_faults_breaks_no_rule() {
    for history in [history(), history_of(Behaviour::Commits), lost(), by_hand()] {
        let verdict = judge(&history, STALENESS);
        assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    }
    let verdict = judge(&lost(), STALENESS);
    assert_eq!(
        (verdict.after_lease_losses, verdict.recoveries),
        (1, vec![200_000])
    );
}

#[test]
fn tasks_that_do_not_end_as_promised_are_found() {
    let task = |change: fn(&mut Task)| {
        broken(history(), |history| {
            change(history.tasks.get_mut(&TASK).unwrap());
        })
    };
    let not_ended = task(|task| task.is_ended = false);
    assert!(not_ended.contains(&Rule::NotEnded));
    let waits = task(|task| drop(task.states.pop()));
    assert!(waits.contains(&Rule::NotEnded));
    let other = task(|task| task.answered = Some(String::from("error")));
    assert_eq!(other, BTreeSet::from([Rule::OtherAnswer]));
    let twice = task(|task| task.states.push(String::from("complete")));
    assert_eq!(twice, BTreeSet::from([Rule::NotRecordedOnce]));
    let unasked = task(|task| {
        task.states[1] = String::from("cancelled");
        task.answered = None;
    });
    assert_eq!(unasked, BTreeSet::from([Rule::WrongEnd]));
    let failed = task(|task| {
        task.states[1] = String::from("error");
        task.answered = None;
    });
    assert_eq!(failed, BTreeSet::from([Rule::WrongEnd, Rule::WrongDlq]));
    let left = task(|task| task.states.insert(1, String::from("error")));
    assert_eq!(left, BTreeSet::from([Rule::NotRecordedOnce]));
}

#[test]
fn steps_that_run_out_of_order_or_on_other_values_are_found() {
    let early = broken(history(), |history| history.runs[1].at = 1400);
    assert_eq!(early, BTreeSet::from([Rule::StartedEarly]));
    let values = broken(history(), |history| {
        history.runs[1].sum = String::from("other");
    });
    assert_eq!(values, BTreeSet::from([Rule::WrongInputs]));
    let recorded = broken(history(), |history| step(history, "end_3").sum = None);
    assert_eq!(recorded, BTreeSet::from([Rule::WrongInputs]));
    let edge = broken(history(), |history| step(history, "c").parents.clear());
    assert_eq!(edge, BTreeSet::from([Rule::WrongGraph]));
    let missing = broken(history(), |history| {
        history.steps.remove(&id("end_3"));
        history.runs.pop();
        history.spans.pop();
    });
    assert_eq!(missing, BTreeSet::from([Rule::WrongGraph]));
}

#[test]
fn results_that_are_not_recorded_once_are_found() {
    let twice = broken(history(), |history| {
        let again = transition("b", "complete", "handler_completed", 1, 2600);
        step(history, "b").transitions.push(again);
    });
    assert_eq!(twice, BTreeSet::from([Rule::NotRecordedOnce]));
    let without_run = broken(history(), |history| drop(history.runs.remove(2)));
    assert_eq!(without_run, BTreeSet::from([Rule::NeverRan]));
    let same_number = broken(history(), |history| {
        let again = history.spans[2].clone();
        history.spans.push(again);
    });
    assert!(same_number.contains(&Rule::AttemptTwice));
    let lost_effect = broken(history_of(Behaviour::Commits), |history| {
        history.effects.clear();
    });
    assert_eq!(lost_effect, BTreeSet::from([Rule::EffectNotOnce]));
    let two_effects = broken(history_of(Behaviour::Commits), |history| {
        history.effects.push((id("a"), 2));
    });
    assert_eq!(two_effects, BTreeSet::from([Rule::EffectNotOnce]));
}

#[test]
fn attempts_that_overlap_or_come_late_are_found() {
    let overlap = |history: &mut History| {
        history.spans[0].end = Some(1_350_000);
        history.ends.clear();
    };
    assert_eq!(broken(lost(), overlap), BTreeSet::from([Rule::Overlap]));
    let frozen = broken(lost(), |history| {
        overlap(history);
        history.freezes.push((1, 1_050_000, 1_340_000));
    });
    assert_eq!(frozen, BTreeSet::new());
    let frozen_other = broken(lost(), |history| {
        overlap(history);
        history.freezes.push((2, 1_050_000, 1_340_000));
    });
    assert_eq!(frozen_other, BTreeSet::from([Rule::Overlap]));
    let late = broken(lost(), |history| {
        let step = step(history, "a");
        step.attempt = Some(1);
        step.transitions[3].attempt = Some(1);
    });
    assert!(late.contains(&Rule::LateResult));
    let down = broken(lost(), |history| history.spans.swap(0, 1));
    assert_eq!(down, BTreeSet::new(), "only time orders attempts");
    let down = broken(lost(), |history| {
        (history.spans[0].attempt, history.spans[1].attempt) = (2, 1);
    });
    assert!(down.contains(&Rule::AttemptTwice));
}

#[test]
fn too_many_attempts_are_found() {
    let rules = broken(history(), |history| {
        let step = step(history, "a");
        for attempt in 2..=5 {
            let at = 1500 + i64::from(attempt);
            step.transitions.insert(
                1,
                transition("a", "waiting_for_retry", "retryable_error", attempt, at),
            );
        }
    });
    assert!(rules.contains(&Rule::TooManyAttempts), "{rules:?}");
}

#[test]
fn another_document_is_found() {
    let mixed = broken(history(), |history| history.runs[3].marker += 1);
    assert_eq!(mixed, BTreeSet::from([Rule::WrongDocument]));
    let replaced = broken(history(), |history| {
        let asked = Asked {
            start: 311 + STALENESS,
            end: 400 + STALENESS,
        };
        history.tasks.get_mut(&TASK).unwrap().asked = Some(asked);
    });
    assert_eq!(replaced, BTreeSet::from([Rule::WrongDocument]));
    let of_the_future = broken(history(), |history| history.versions[0].start = 201);
    assert_eq!(of_the_future, BTreeSet::from([Rule::WrongDocument]));
    assert!("linear".parse::<Shape>().is_ok());
}

#[test]
fn silent_attempts_and_wrong_reasons_are_found() {
    let silent = broken(lost(), |history| {
        let step = step(history, "a");
        step.transitions[1].reason = Some(String::from("other"));
        step.transitions[1].attempt = None;
    });
    assert_eq!(silent, BTreeSet::from([Rule::Silent]));
    let without = broken(history(), |history| {
        step(history, "a").transitions[0].reason = None;
    });
    assert_eq!(without, BTreeSet::from([Rule::WrongReason]));
    let wrong = broken(history(), |history| {
        step(history, "a").transitions[1].error = Some(String::from("Panic"));
    });
    assert_eq!(wrong, BTreeSet::from([Rule::WrongReason]));
}

#[test]
fn actions_of_operators_that_are_not_due_or_not_carried_out_are_found() {
    let last = |change: fn(&mut Step)| broken(by_hand(), |history| change(step(history, "end_3")));
    let unasked = broken(by_hand(), |history| history.actions.clear());
    assert_eq!(unasked, BTreeSet::from([Rule::NotAsked]));
    let answered = broken(by_hand(), |history| {
        history.actions[0].name = "resolve_manually";
    });
    assert!(answered.contains(&Rule::OtherAnswer), "{answered:?}");
    let other = last(|last| last.sum = Some(String::from("other")));
    assert_eq!(other, BTreeSet::from([Rule::WrongInputs]));
    let silent = last(|last| drop(last.transitions.remove(0)));
    assert_eq!(silent, BTreeSet::from([Rule::Silent]));
    let reset = |state: &'static str| {
        broken(by_hand(), |history| {
            let again = [
                transition("end_3", state, "retryable_error", 1, 4200),
                transition("end_3", "enqueued", "reset_for_retry", 1, 4300),
            ];
            step(history, "end_3").transitions.splice(1..1, again);
        })
    };
    assert!(!reset("error").contains(&Rule::NotAsked));
    assert!(!reset("error").contains(&Rule::NotRecordedOnce));
    assert!(reset("in_progress").contains(&Rule::NotAsked));
}

#[test]
fn attempts_that_read_another_checkpoint_are_found() {
    let seed = |saves| {
        let runs_well = |seed: &u64| {
            let attempts = [("a", 1), ("a", 2), ("b", 1), ("c", 1), ("end_3", 1)];
            let is_quick =
                |(name, attempt)| shapes::behaviour(*seed, name, attempt) == Behaviour::Quick;
            attempts.into_iter().all(is_quick) && shapes::saves(*seed, "a", 1) == saves
        };
        (0..SEEDS).find(runs_well).unwrap()
    };
    let read = |saved, checkpoint, saves| {
        broken(lost(), |history| {
            reseed(history, seed(saves));
            (history.runs[0].saved, history.runs[1].checkpoint) = (saved, checkpoint);
        })
    };
    assert_eq!(read(true, Some(1), true), BTreeSet::new());
    assert_eq!(
        read(false, Some(1), true),
        BTreeSet::new(),
        "its answer was lost"
    );
    for (saved, checkpoint, saves) in [
        (true, None, true),
        (false, Some(1), false),
        (true, Some(2), true),
    ] {
        let wrong = read(saved, checkpoint, saves);
        assert_eq!(wrong, BTreeSet::from([Rule::OtherCheckpoint]));
    }
}
