//! Histories of a task of four steps.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::clock::{MILLISECOND as MS, SECOND};
use crate::fault::{Fault, Happened};
use crate::steps::history::{Action, Asked, History, Run, Step, Task, Transition, Version};
use crate::steps::shapes::{self, BY_HAND, Behaviour, Shape};

pub(super) const TASK: Uuid = Uuid::from_u128(1);
pub(super) const MARKER: u32 = 3;
pub(super) const STALENESS: u64 = SECOND;
pub(super) const STEPS: [&str; 4] = ["a", "b", "c", "end_3"];
pub(super) const WELL: [Behaviour; 4] = [Behaviour::Quick; 4];

/// Returns the first seed with which all of these attempts go as wanted.
pub(super) fn seed_with(wanted: &[(&str, i32, Behaviour)]) -> u64 {
    let goes = |seed: &u64| {
        let mut wanted = wanted.iter();
        wanted.all(|(step, attempt, behaviour)| {
            shapes::behaviour(*seed, step, *attempt) == *behaviour
        })
    };
    (0..1_000_000).find(goes).unwrap()
}

pub(super) fn id(name: &str) -> Uuid {
    Uuid::from_u128(name.bytes().fold(7, |id, byte| id * 256 + u128::from(byte)))
}

/// A transition at a time in milliseconds.
pub(super) fn transition(
    name: &str,
    state: &str,
    reason: &str,
    attempt: i32,
    at: u64,
) -> Transition {
    Transition {
        step: id(name),
        state: state.to_owned(),
        attempt: Some(attempt),
        reason: Some(reason.to_owned()),
        error: None,
        worker: Some(id("worker")),
        at: at * MS,
    }
}

/// A task whose steps' first attempts go like this: the first one after a second, and each half a
/// minute after the one before. Those do not run that depend on a failed one.
pub(super) fn history_of(shape: Shape, behaviours: [Behaviour; 4]) -> History {
    let first = STEPS.into_iter().zip(behaviours);
    let first: Vec<_> = first
        .map(|(name, behaviour)| (name, 1, behaviour))
        .collect();
    let seed = seed_with(&first);
    let graph = shape.graph(MARKER, seed, &BTreeSet::new());
    let mut history = History {
        processes: vec![0, 1],
        ..History::default()
    };
    let mut state = "complete";
    for (at, (name, _, behaviour)) in (1000..).step_by(30_000).zip(first) {
        let parents = graph[name].clone();
        let is_complete = |it: &String| {
            history.steps[&id(it)]
                .transitions
                .last()?
                .error
                .is_none()
                .then_some(())
        };
        let runs = parents.iter().all(|it| is_complete(it).is_some());
        let mut step = Step {
            task: TASK,
            name: name.to_owned(),
            parents,
            ..Step::default()
        };
        if runs {
            let mut end = transition(name, "complete", "handler_completed", 1, at + 500);
            if let Some(error) = behaviour.error() {
                state = "error";
                end = transition(name, state, "permanent_error", 1, at + 500);
                end.error = Some(error.to_owned());
            } else {
                step.attempt = Some(1);
            }
            step.transitions = vec![transition(name, "in_progress", "claimed", 1, at), end];
            history.runs.push(Run {
                step: id(name),
                attempt: 1,
                marker: MARKER,
                start: (at + 50) * MS,
                end: Some((at + 400) * MS),
                ..Run::default()
            });
        }
        history.steps.insert(id(name), step);
    }
    let task = Task {
        shape: shape.to_string(),
        is_ended: true,
        states: vec![String::from("pending"), String::from(state)],
        asked: Some(Asked {
            start: 100,
            end: 200,
        }),
        answers: BTreeSet::from([String::from(state)]),
        in_dlq: i64::from(state == "error"),
        ..Task::default()
    };
    history.tasks.insert(TASK, task);
    for (marker, start) in [(MARKER, 10), (MARKER + 1, 300)] {
        history.versions.push(Version {
            shape: shape.to_string(),
            marker,
            start,
            end: start + 10,
        });
    }
    if behaviours[0] == Behaviour::Commits {
        history.effects.push((id("a"), 1));
    }
    reseed(&mut history, seed);
    history
}

pub(super) fn fault(
    fault: Fault,
    member: impl Into<Option<usize>>,
    start: u64,
    end: u64,
) -> Happened {
    Happened {
        fault,
        member: member.into(),
        start: start * MS,
        end: end * MS,
    }
}

pub(super) fn history() -> History {
    history_of(Shape::Linear, WELL)
}

pub(super) fn commits() -> History {
    history_of(
        Shape::Linear,
        [Behaviour::Commits, WELL[1], WELL[2], WELL[3]],
    )
}

/// Puts an attempt before the one of the first step, which ended with `end` and went as `behaviour`.
/// The second one is claimed at `at`.
pub(super) fn again(end: Transition, behaviour: Behaviour, at: u64) -> History {
    let mut history = history();
    let step = step(&mut history, "a");
    step.attempt = Some(2);
    let next = [
        end,
        transition("a", "in_progress", "claimed", 2, at),
        transition("a", "complete", "handler_completed", 2, at + 250),
    ];
    step.transitions.splice(1.., next);
    for first in &mut step.transitions[..2] {
        first.worker = Some(id("first"));
    }
    let run = Run {
        attempt: 2,
        process: 1,
        start: (at + 50) * MS,
        end: Some((at + 150) * MS),
        ..history.runs[0].clone()
    };
    history.runs.insert(1, run);
    let mut attempts = vec![("a", 1, behaviour), ("a", 2, Behaviour::Quick)];
    attempts.extend(STEPS[1..].iter().map(|name| (*name, 1, Behaviour::Quick)));
    reseed(&mut history, seed_with(&attempts));
    history
}

/// The history of a first step whose first attempt was lost with its process, and that ran again.
pub(super) fn lost() -> History {
    let loss = transition("a", "enqueued", "lease_expired", 1, 6200);
    let mut history = again(loss, Behaviour::Quick, 6250);
    history.runs[0].end = None;
    history.ends.insert(0, 1100 * MS);
    history.faults = vec![fault(Fault::ProcessKilled, 0, 1100, 2500)];
    for run in &mut history.runs[1..] {
        run.process = 1;
    }
    history
}

/// The same, but the process was frozen, and its handler went on when it was thawed.
pub(super) fn frozen() -> History {
    let mut history = lost();
    history.ends.clear();
    history.faults = vec![fault(Fault::ProcessFrozen, 0, 1100, 8000)];
    history.runs[0].end = Some(8050 * MS);
    history
}

/// The history of a first step whose first attempt failed like this.
pub(super) fn failed(behaviour: Behaviour, error: &str) -> History {
    let mut end = transition("a", "waiting_for_retry", "retryable_error", 1, 1500);
    end.error = Some(error.to_owned());
    again(end, behaviour, 1600)
}

/// Gives the task another seed, and all sums that follow from it.
pub(super) fn reseed(history: &mut History, seed: u64) {
    let task = history.tasks.get_mut(&TASK).unwrap();
    task.seed = seed;
    let shape: Shape = task.shape.parse().unwrap();
    let graph = shape.graph(MARKER, seed, &BTreeSet::new());
    let mut inputs: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    for name in STEPS {
        let mut all = BTreeMap::new();
        for parent in &graph[name] {
            all.extend(inputs[&**parent].clone());
            let sum = history.steps[&id(parent)].sum.clone();
            all.insert(parent.clone(), sum.unwrap_or_default());
        }
        let sum = shapes::sum(name, MARKER, seed, &shapes::cursor_of(name), &all);
        inputs.insert(name, all);
        let step = history.steps.get_mut(&id(name)).unwrap();
        step.sum = step.attempt.is_some().then(|| sum.clone());
        for run in history.runs.iter_mut().filter(|run| run.step == id(name)) {
            run.sum.clone_from(&sum);
        }
    }
}

/// The history of a last step that an operator completed while its attempt ran.
pub(super) fn by_hand() -> History {
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

pub(super) fn step<'a>(history: &'a mut History, name: &str) -> &'a mut Step {
    history.steps.get_mut(&id(name)).unwrap()
}
