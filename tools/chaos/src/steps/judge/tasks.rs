//! Rules about whole tasks: their ends, graphs, values and documents.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{FINAL, Rule, Verdict};
use crate::steps::history::{Asked, History, Run, Step, Task};
use crate::steps::shapes::{self, BY_HAND, Graph, PLACEHOLDER, Shape};

type Steps<'a> = BTreeMap<&'a str, (Uuid, &'a Step)>;

pub(super) fn judge(
    history: &History,
    runs: &BTreeMap<Uuid, Vec<&Run>>,
    staleness: u64,
    verdict: &mut Verdict,
) {
    let mut steps: BTreeMap<Uuid, Steps<'_>> = BTreeMap::new();
    for (id, step) in &history.steps {
        let of_task = steps.entry(step.task).or_default();
        if of_task.insert(&step.name, (*id, step)).is_some() {
            let details = format!("{} is there twice", step.name);
            verdict.violate(Rule::WrongGraph, step.task, Some(*id), details);
        }
    }
    let none = Steps::new();
    for (id, task) in &history.tasks {
        let steps = steps.get(id).unwrap_or(&none);
        end(*id, task, steps, verdict);
        document(history, (*id, task), steps, runs, staleness, verdict);
    }
}

/// The states of a step after which the steps that wait for it run.
const DONE: [&str; 2] = ["complete", "resolved_manually"];

/// Returns whether the last state of a step is one of these.
fn is_in(step: &Step, states: &[&str]) -> bool {
    let last = step.transitions.last();
    last.is_some_and(|last| states.contains(&&*last.state))
}

fn is_done(steps: &Steps<'_>, name: &str) -> bool {
    steps.get(name).is_some_and(|(_, step)| is_in(step, &DONE))
}

fn end(id: Uuid, task: &Task, steps: &Steps<'_>, verdict: &mut Verdict) {
    let state = task.states.last().map_or("", String::as_str);
    if !task.is_ended || !FINAL.contains(&state) {
        let steps: Vec<_> = steps
            .iter()
            .map(|(name, (_, step))| (name, &step.transitions))
            .collect();
        let details = format!("{:?}; {steps:?}", task.states);
        return verdict.violate(Rule::NotEnded, id, None, details);
    }
    let is_final = |state: &&String| FINAL.contains(&state.as_str());
    let finals: Vec<_> = task.states.iter().filter(is_final).collect();
    let is_left = |state: &&String| **state == "error" && task.is_operated;
    if !finals[..finals.len() - 1].iter().all(is_left) {
        let details = format!("{:?}", task.states);
        verdict.violate(Rule::NotRecordedOnce, id, None, details);
    }
    if task.in_dlq != i64::from(state == "error") {
        let details = format!("{} entries of a task in {state}", task.in_dlq);
        verdict.violate(Rule::WrongDlq, id, None, details);
    }
    if let Some(answer) = task.answers.iter().find(|answer| **answer != state) {
        let details = format!("answered {answer}, recorded {state}");
        verdict.violate(Rule::OtherAnswer, id, None, details);
    }
    let is_waiting = |(name, (_, step)): (&&str, &(Uuid, &Step))| {
        let is_ready = || step.parents.iter().all(|parent| is_done(steps, parent));
        (!is_in(step, &FINAL) && (state == "cancelled" || is_ready())).then(|| (*name).to_owned())
    };
    let waiting: Vec<_> = steps.iter().filter_map(is_waiting).collect();
    if !waiting.is_empty() {
        let details = format!("{waiting:?} were left in a task that ended in {state}");
        verdict.violate(Rule::StepLeft, id, None, details);
    }
    let in_state = |wanted: &[&str]| {
        let steps = steps.values();
        steps.filter(|(_, step)| is_in(step, wanted)).count()
    };
    let (complete, failed) = (in_state(&DONE), in_state(&["error"]));
    let follows = match state {
        "complete" => complete == steps.len(),
        "error" => failed > 0,
        "cancelled" => task.is_cancelled,
        _ => false,
    };
    if !follows {
        let details = format!("{state} with {complete} complete and {failed} failed steps");
        verdict.violate(Rule::WrongEnd, id, None, details);
    }
}

/// Judges the document that all steps of a task ran on, and all that follows from it.
fn document(
    history: &History,
    (id, task): (Uuid, &Task),
    steps: &Steps<'_>,
    runs: &BTreeMap<Uuid, Vec<&Run>>,
    staleness: u64,
    verdict: &mut Verdict,
) {
    let of_task = steps.values().filter_map(|(id, _)| runs.get(id)).flatten();
    let markers: BTreeSet<u32> = of_task.map(|run| run.marker).collect();
    let (Some(marker), Ok(shape)) = (markers.first().copied(), task.shape.parse::<Shape>()) else {
        return;
    };
    if markers.len() > 1 {
        verdict.violate(Rule::WrongDocument, id, None, format!("{markers:?}"));
        return;
    }
    if let Some(asked) = task.asked
        && !may_be_current(history, &task.shape, marker, asked, staleness)
    {
        let details = format!("{marker} was not current when the task was asked for: {asked:?}");
        verdict.violate(Rule::WrongDocument, id, None, details);
    }
    let empty = steps
        .iter()
        .filter(|(_, (_, step))| is_in(step, &["resolved_manually"]));
    let graph = shape.graph(marker, task.seed, &empty.map(|(name, _)| *name).collect());
    self::graph(id, steps, &graph, verdict);
    for (name, (step_id, step)) in steps {
        let of_step = runs.get(step_id).map_or(&[][..], Vec::as_slice);
        started(id, *step_id, (of_step, steps, &graph, name), verdict);
        values(
            task,
            marker,
            (*step_id, step),
            (of_step, steps, &graph),
            verdict,
        );
    }
}

/// Returns whether a new task of this request may get the document with this marker.
fn may_be_current(
    history: &History,
    shape: &str,
    marker: u32,
    asked: Asked,
    staleness: u64,
) -> bool {
    let of_shape: Vec<_> = history
        .versions
        .iter()
        .filter(|version| version.shape == shape)
        .collect();
    let Some(index) = of_shape.iter().position(|version| version.marker == marker) else {
        return false;
    };
    let is_begun = of_shape[index].start <= asked.end;
    let replaced = of_shape.get(index + 1).map_or(u64::MAX, |next| next.end);
    is_begun && asked.start <= replaced.saturating_add(staleness)
}

/// Each step that is there follows from the graph, and each step of the graph is there whose
/// dependencies are complete. A convergence may be missing while a step may yet create dependencies of it.
fn graph(id: Uuid, steps: &Steps<'_>, graph: &Graph, verdict: &mut Verdict) {
    for (name, (step_id, step)) in steps {
        if graph.get(*name) != Some(&step.parents) {
            let details = format!(
                "{name} after {:?}, not {:?}",
                step.parents,
                graph.get(*name)
            );
            verdict.violate(Rule::WrongGraph, id, Some(*step_id), details);
        }
    }
    let mut creators = steps.keys().filter(|name| shapes::creates(name));
    let is_open = creators.any(|name| !is_done(steps, name));
    let is_missing = |(name, parents): &(&String, &BTreeSet<String>)| {
        let mut parents = parents.iter();
        !steps.contains_key(name.as_str())
            && parents.all(|parent| is_done(steps, parent))
            && !(is_open && shapes::converges(name))
    };
    let missing: Vec<_> = graph.iter().filter(is_missing).collect();
    if !missing.is_empty() {
        verdict.violate(Rule::WrongGraph, id, None, format!("missing {missing:?}"));
    }
}

/// Each run began after all dependencies were complete.
fn started(
    task: Uuid,
    id: Uuid,
    (runs, steps, graph, name): (&[&Run], &Steps<'_>, &Graph, &str),
    verdict: &mut Verdict,
) {
    for parent in graph.get(name).into_iter().flatten() {
        let complete = steps.get(parent.as_str()).and_then(|(_, parent)| {
            let last = parent.transitions.last()?;
            DONE.contains(&last.state.as_str()).then_some(last.at)
        });
        for run in runs {
            if complete.is_none_or(|at| run.start < at) {
                let details = format!("{name} at {}, {parent} complete at {complete:?}", run.start);
                verdict.violate(Rule::StartedEarly, task, Some(id), details);
            }
        }
    }
}

/// Each run, and the recorded result, has the sum that follows from the recorded results of all steps
/// before it.
fn values(
    task: &Task,
    marker: u32,
    (id, step): (Uuid, &Step),
    (runs, steps, graph): (&[&Run], &Steps<'_>, &Graph),
    verdict: &mut Verdict,
) {
    let mut inputs = BTreeMap::new();
    let mut next: Vec<&String> = graph.get(&step.name).into_iter().flatten().collect();
    while let Some(name) = next.pop() {
        let sum = steps
            .get(name.as_str())
            .and_then(|(_, step)| step.sum.clone());
        if inputs
            .insert(name.clone(), sum.unwrap_or_default())
            .is_none()
        {
            next.extend(graph.get(name).into_iter().flatten());
        }
    }
    let expected = shapes::sum(
        &step.name,
        marker,
        task.seed,
        &shapes::cursor_of(&step.name),
        &inputs,
    );
    for run in runs {
        if run.sum != expected {
            let details = format!("attempt {} of {} ran on others", run.attempt, step.name);
            verdict.violate(Rule::WrongInputs, step.task, Some(id), details);
        }
    }
    let complete = step.transitions.last();
    let Some(complete) = complete.filter(|last| last.state == "complete") else {
        return;
    };
    let expected = match complete.action() {
        Some(_) => BY_HAND,
        None => &*expected,
    };
    if step.name != PLACEHOLDER && step.sum.as_deref() != Some(expected) {
        let details = format!("{} recorded {:?}", step.name, step.sum);
        verdict.violate(Rule::WrongInputs, step.task, Some(id), details);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::history::Transition;

    #[test]
    fn a_convergence_may_be_missing_while_a_decision_is_open() {
        let graph = |seed| Shape::Decision.graph(1, seed, &BTreeSet::new());
        let is_wanted = |graph: &Graph| {
            let end = graph.get("end_1").into_iter().flatten();
            graph.contains_key("right") && end.eq(["middle_far"])
        };
        let graph = (0..1000).map(graph).find(is_wanted).unwrap();
        let judged = |state_of_right: &str| {
            let step = |(name, parents): (&String, &BTreeSet<String>)| {
                let state = if name == "right" {
                    state_of_right
                } else {
                    "complete"
                };
                let end = Transition {
                    state: state.to_owned(),
                    ..Transition::default()
                };
                Step {
                    name: name.clone(),
                    parents: parents.clone(),
                    transitions: vec![end],
                    ..Step::default()
                }
            };
            let there: Vec<_> = graph
                .iter()
                .filter(|(name, _)| *name != "end_1")
                .map(step)
                .collect();
            let steps = there
                .iter()
                .map(|it| (&*it.name, (Uuid::nil(), it)))
                .collect();
            let mut verdict = Verdict::default();
            super::graph(Uuid::nil(), &steps, &graph, &mut verdict);
            verdict.violations.len()
        };
        assert_eq!(judged("error"), 0);
        assert_eq!(judged("complete"), 1);
    }
}
