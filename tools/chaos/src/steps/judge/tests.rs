//! Histories with fabricated violations, each of which the judge must find, and without, in which it
//! must find none.

mod histories;

use std::collections::BTreeSet;

use super::{Rule, judge};
use crate::clock::MILLISECOND as MS;
use crate::fault::{Fault, Happened, Spoil};
use crate::steps::history::{Asked, History, Step, Task};
use crate::steps::shapes::{self, Behaviour, Shape};
use histories::{
    STALENESS, TASK, WELL, by_hand, commits, failed, fault, frozen, history, history_of, id, lost,
    reseed, step, transition,
};

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

#[test]
fn a_history_without_faults_breaks_no_rule() {
    let [quick, fails] = [Behaviour::Quick, Behaviour::FailsForGood];
    for history in [
        history(),
        commits(),
        history_of(Shape::Linear, [quick, quick, Behaviour::Outlasts, quick]),
        history_of(Shape::Diamond, [quick, fails, quick, quick]),
        lost(),
        frozen(),
        failed(Behaviour::Fails, "ChaosFailure"),
        failed(Behaviour::RollsBack, "NotCommitted"),
        by_hand(),
    ] {
        let verdict = judge(&history, STALENESS);
        assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    }
    let verdict = judge(&lost(), STALENESS);
    let expected = (1, vec![5200 * MS]);
    assert_eq!((verdict.after_lease_losses, verdict.recoveries), expected);
}

#[test]
fn steps_that_are_left_in_tasks_that_ended_are_found() {
    let fails = Behaviour::FailsForGood;
    let diamond = history_of(Shape::Diamond, [WELL[0], fails, WELL[0], WELL[0]]);
    let in_error = broken(diamond.clone(), |history| {
        step(history, "c").transitions.clear();
        history.runs.pop();
    });
    assert_eq!(in_error, BTreeSet::from([Rule::StepLeft]));
    let cancelled = |state: &str| {
        broken(diamond.clone(), |history| {
            let task = history.tasks.get_mut(&TASK).unwrap();
            (task.is_cancelled, task.in_dlq) = (true, 0);
            task.answers = BTreeSet::from([String::from("cancelled")]);
            task.states[1] = String::from("cancelled");
            let end = transition("end_3", state, "cancelled", 1, 90_000);
            step(history, "end_3").transitions.push(end);
        })
    };
    assert_eq!(cancelled("cancelled"), BTreeSet::new());
    assert_eq!(cancelled("enqueued"), BTreeSet::from([Rule::StepLeft]));
    let missing = broken(diamond, |history| {
        history.steps.remove(&id("c"));
        history.runs.pop();
    });
    assert_eq!(missing, BTreeSet::from([Rule::WrongGraph]));
}

#[test]
fn ends_that_do_not_follow_from_handlers_and_faults_are_found() {
    let wrong = BTreeSet::from([Rule::WrongReason]);
    let with = |history: History, faults: Vec<Happened>| broken(history, |it| it.faults = faults);
    let frozen = || vec![fault(Fault::ProcessFrozen, 0, 1100, 1450)];
    let refused = Fault::PostgresLink(Spoil::Refused);
    for (behaviour, error) in [
        (Behaviour::Quick, "Timeout"),
        (Behaviour::Fails, "NotSaved"),
        (Behaviour::Commits, "Error"),
    ] {
        let failed = || failed(behaviour, error);
        assert_eq!(rules(&failed()), wrong, "{error} without a fault");
        assert_eq!(with(failed(), frozen()), BTreeSet::new(), "{error}");
        let link = |member| vec![fault(refused, member, 900, 1000)];
        assert_eq!(with(failed(), link(0)), BTreeSet::new(), "{error}");
        let is_wrong = with(failed(), link(1)) == wrong;
        assert_eq!(is_wrong, behaviour != Behaviour::Commits, "{error}");
    }
    for (behaviour, error) in [
        (Behaviour::Quick, "Error"),
        (Behaviour::Commits, "TemplateUnusable"),
        (Behaviour::Fails, "Panic"),
        (Behaviour::FailsForGood, "ChaosPermanent"),
    ] {
        assert_eq!(with(failed(behaviour, error), frozen()), wrong, "{error}");
    }
    let change =
        |change: fn(&mut History)| broken(failed(Behaviour::Fails, "ChaosFailure"), change);
    let early = change(|history| step(history, "a").transitions[2].at = 1544 * MS);
    assert_eq!(early, BTreeSet::from([Rule::NoPause]));
    let without_run = change(|history| drop(history.runs.remove(0)));
    assert_eq!(without_run, BTreeSet::from([Rule::NeverRan]));
    let given_up = change(|history| {
        let end = &mut step(history, "a").transitions[1];
        end.state = String::from("error");
        end.reason = Some(String::from("attempts_exhausted"));
    });
    assert!(given_up.contains(&Rule::WrongReason), "{given_up:?}");
    let unread = broken(
        history_of(
            Shape::Linear,
            [WELL[0], WELL[0], Behaviour::FailsForGood, WELL[0]],
        ),
        |history| {
            step(history, "c").transitions[1].error = Some(String::from("TemplateUnusable"));
            history.runs.pop();
        },
    );
    assert_eq!(unread, wrong);
}

#[test]
fn losses_without_a_cause_and_late_recoveries_are_found() {
    let no_cause = BTreeSet::from([Rule::NoCause]);
    let faults = |faults: &[Happened]| broken(lost(), |it| it.faults = faults.to_vec());
    assert_eq!(faults(&[]), no_cause);
    assert_eq!(
        faults(&[fault(Fault::ProcessKilled, 1, 1100, 2500)]),
        no_cause
    );
    assert_eq!(
        faults(&[fault(Fault::PostgresRestart, None, 4000, 5000)]),
        no_cause
    );
    let link = Fault::PostgresLink(Spoil::HalfOpen);
    assert_eq!(faults(&[fault(link, 0, 1100, 6800)]), BTreeSet::new());
    let both = [
        fault(link, 0, 1100, 3000),
        fault(Fault::PostgresKilled, None, 5000, 6000),
    ];
    assert_eq!(faults(&both), BTreeSet::new());
    let early = broken(lost(), |it| step(it, "a").transitions[1].at = 3000 * MS);
    assert_eq!(early, no_cause);
    let drained = |stops: &[Happened]| {
        broken(lost(), |history| {
            let loss = &mut step(history, "a").transitions[1];
            loss.reason = Some(String::from("worker_drained"));
            history.faults = stops.to_vec();
        })
    };
    assert_eq!(
        drained(&[fault(Fault::ProcessStopped, 0, 5000, 7000)]),
        BTreeSet::new()
    );
    assert_eq!(
        drained(&[fault(Fault::ProcessStopped, 0, 1000, 4000)]),
        no_cause
    );
    let late = |more: Option<Happened>| {
        broken(lost(), |history| {
            let run = &mut history.runs[1];
            (run.start, run.end) = (11_900 * MS, Some(12_100 * MS));
            step(history, "a").transitions[3].at = 12_500 * MS;
            history.faults.extend(more);
        })
    };
    assert_eq!(late(None), BTreeSet::from([Rule::LateRecovery]));
    assert_eq!(late(Some(fault(link, 1, 6000, 11_000))), BTreeSet::new());
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
    let other = task(|task| task.answers = BTreeSet::from([String::from("error")]));
    assert_eq!(other, BTreeSet::from([Rule::OtherAnswer]));
    let twice = task(|task| task.states.push(String::from("complete")));
    assert_eq!(twice, BTreeSet::from([Rule::NotRecordedOnce]));
    let unasked = task(|task| {
        task.states[1] = String::from("cancelled");
        task.answers.clear();
    });
    assert_eq!(unasked, BTreeSet::from([Rule::WrongEnd]));
    let failed = task(|task| {
        task.states[1] = String::from("error");
        task.answers.clear();
    });
    assert_eq!(failed, BTreeSet::from([Rule::WrongEnd, Rule::WrongDlq]));
    let left = task(|task| task.states.insert(1, String::from("error")));
    assert_eq!(left, BTreeSet::from([Rule::NotRecordedOnce]));
}

#[test]
fn steps_that_run_out_of_order_or_on_other_values_are_found() {
    let early = broken(history(), |history| history.runs[1].start = 1400 * MS);
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
    });
    assert_eq!(missing, BTreeSet::from([Rule::WrongGraph]));
}

#[test]
fn results_that_are_not_recorded_once_are_found() {
    let twice = broken(history(), |history| {
        let again = transition("b", "complete", "handler_completed", 1, 32_000);
        step(history, "b").transitions.push(again);
    });
    assert_eq!(twice, BTreeSet::from([Rule::NotRecordedOnce]));
    let without_run = broken(history(), |history| drop(history.runs.remove(2)));
    assert_eq!(without_run, BTreeSet::from([Rule::NeverRan]));
    let same_number = broken(history(), |history| {
        let again = history.runs[2].clone();
        history.runs.push(again);
    });
    assert!(same_number.contains(&Rule::AttemptTwice));
    let lost_effect = broken(commits(), |history| {
        history.effects.clear();
    });
    assert_eq!(lost_effect, BTreeSet::from([Rule::EffectNotOnce]));
    let two_effects = broken(commits(), |history| {
        history.effects.push((id("a"), 2));
    });
    assert_eq!(two_effects, BTreeSet::from([Rule::EffectNotOnce]));
}

#[test]
fn attempts_that_overlap_or_come_late_are_found() {
    let overlap = BTreeSet::from([Rule::Overlap]);
    let change = |change: fn(&mut History)| broken(frozen(), change);
    let awake = change(|history| {
        history.faults[0].fault = Fault::PostgresLink(Spoil::HalfOpen);
    });
    assert_eq!(awake, overlap);
    let thawed = change(|history| history.runs[0].end = Some(10_050 * MS));
    assert_eq!(thawed, overlap);
    let early = |more: Option<Happened>| {
        broken(frozen(), |history| {
            history.runs[1].start = 3200 * MS;
            history.faults.extend(more);
            history.faults.sort_by_key(|it| it.start);
        })
    };
    assert_eq!(early(None), overlap);
    assert_eq!(
        early(Some(fault(Fault::PostgresRestart, None, 100, 900))),
        BTreeSet::new()
    );
    let late = broken(lost(), |history| {
        let step = step(history, "a");
        step.attempt = Some(1);
        step.transitions[3].attempt = Some(1);
    });
    assert!(late.contains(&Rule::LateResult));
    let down = broken(lost(), |history| history.runs.swap(0, 1));
    assert_eq!(down, BTreeSet::new(), "only time orders attempts");
    let down = broken(lost(), |history| {
        (history.runs[0].attempt, history.runs[1].attempt) = (2, 1);
    });
    assert!(down.contains(&Rule::AttemptTwice));
}

#[test]
fn too_many_attempts_are_found() {
    let rules = broken(history(), |history| {
        let step = step(history, "a");
        for attempt in 2..=5_i32 {
            let at = 1500 + u64::from(attempt.unsigned_abs());
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
                transition("end_3", state, "retryable_error", 1, 91_200),
                transition("end_3", "enqueued", "reset_for_retry", 1, 91_300),
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
        let attempts = [("a", 1), ("a", 2), ("b", 1), ("c", 1), ("end_3", 1)];
        let runs_well = |seed: &u64| {
            let is_quick =
                |(name, attempt)| shapes::behaviour(*seed, name, attempt) == Behaviour::Quick;
            attempts.into_iter().all(is_quick) && shapes::saves(*seed, "a", 1) == saves
        };
        (0..100_000).find(runs_well).unwrap()
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
