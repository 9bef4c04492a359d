//! The report of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::disturb::Disturbed;
use super::history::{ACTIONS, History};
use super::judge::{Rule, Verdict};
use super::members::LEASE_SECONDS;
use super::shapes::Shape;
use crate::fault::{Fault, Mode};
use crate::report::{Misses, line, percentile};

const EXAMPLES: usize = 5;

/// Prints everything, and returns the promises that did not hold.
pub(super) fn print(
    history: &History,
    disturbed: &Disturbed,
    refusals: &BTreeMap<String, usize>,
    verdict: &Verdict,
    settled: Duration,
) -> Misses {
    let mut misses = Misses::default();
    tasks(history, refusals, &mut misses);
    attempts(history, verdict, &mut misses);
    println!("\nfaults");
    for fault in Fault::all(Mode::Steps) {
        let happened = disturbed.faults.get(&fault).copied();
        line(fault.label(), happened.unwrap_or_default());
    }
    line(
        "templates changed",
        history.versions.len() - Shape::ALL.len(),
    );
    println!("\nrecovery, in ms");
    line("the lease", 1000 * LEASE_SECONDS);
    line(
        "next attempts after a killed process",
        verdict.recoveries.len(),
    );
    line("p50", percentile(&verdict.recoveries, 500));
    line("worst", percentile(&verdict.recoveries, 1000));
    line("all tasks ended after the last fault", settled.as_millis());
    misses.lost(&disturbed.lost);
    violations(verdict, &mut misses);
    misses
}

fn tasks(history: &History, refusals: &BTreeMap<String, usize>, misses: &mut Misses) {
    println!("\ntasks");
    for &shape in Shape::ALL {
        let of_shape = |state: Option<&str>| {
            let tasks = history.tasks.values();
            let tasks = tasks.filter(|task| task.shape == shape.name());
            let is_wanted = |last: Option<&String>| {
                state.is_none_or(|state| last.is_some_and(|last| last == state))
            };
            tasks.filter(|task| is_wanted(task.states.last())).count()
        };
        line(shape.name(), of_shape(None));
        let name = shape.name();
        misses.wrong(
            of_shape(Some("complete")) == 0,
            format!("no {name} task was complete"),
        );
    }
    let asked = history.tasks.values().filter(|task| task.asked.is_some());
    line("answered with 201", asked.count());
    for state in ["complete", "error", "cancelled"] {
        let ended = history
            .tasks
            .values()
            .filter(|task| task.states.last().is_some_and(|last| last == state));
        line(&format!("ended in {state}"), ended.count());
    }
    for (status, count) in refusals {
        line(&format!("requests with {status}"), count);
        misses.wrong(status.starts_with("500"), format!("requests with {status}"));
    }
}

fn attempts(history: &History, verdict: &Verdict, misses: &mut Misses) {
    println!("\nattempts");
    line("steps", history.steps.len());
    line("attempts that started", history.spans.len());
    line("attempts that were noted", history.runs.len());
    line("effects committed with results", history.effects.len());
    line(
        "duplicates by lease loss or drain",
        verdict.after_lease_losses,
    );
    line(
        "that overlapped, because of a freeze",
        verdict.overlaps_allowed,
    );
    line("late results refused", history.refused);
    let saved = history.runs.iter().filter(|run| run.saved);
    line("checkpoints saved", saved.count());
    for action in ACTIONS {
        let asked = history.actions.iter().filter(|it| it.name == action);
        let done = asked.clone().filter(|it| it.is_done).count();
        line(action, format!("{done} of {}", asked.count()));
        misses.wrong(done == 0, format!("no {action} was carried out"));
    }
    misses.wrong(history.effects.is_empty(), "no effect was committed");
}

fn violations(verdict: &Verdict, misses: &mut Misses) {
    println!("\nviolations");
    for &rule in Rule::ALL {
        let broken = verdict.violations.iter().filter(|it| it.rule == rule);
        let count = broken.clone().count();
        line(rule.label(), count);
        misses.wrong(count > 0, format!("{count} x {}", rule.label()));
        for violation in broken.take(EXAMPLES) {
            println!(
                "    task {} step {:?}: {}",
                violation.task, violation.step, violation.details
            );
        }
    }
}
