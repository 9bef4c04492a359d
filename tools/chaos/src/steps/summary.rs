//! The report of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use strum::VariantArray;
use tasker_test_support::Exited;

use super::history::{ACTIONS, History, Task, Transition};
use super::judge::{Rule, Verdict};
use super::members::LEASE_SECONDS;
use super::shapes::Shape;
use crate::fault::{Fault, Mode};
use crate::report::{self, Misses, line, percentile};

/// Prints everything, and returns the promises that did not hold.
pub(super) fn print(
    history: &History,
    lost: &[Exited],
    verdict: &Verdict,
    settled: Duration,
) -> Misses {
    let mut misses = Misses::default();
    tasks(history, &mut misses);
    refusals(history, &mut misses);
    attempts(history, verdict, &mut misses);
    report::faults(Mode::Steps, &history.faults);
    println!("\nrecovery, in ms");
    line("the lease", 1000 * LEASE_SECONDS);
    line(
        "next attempts after a kill or a freeze",
        verdict.recoveries.len(),
    );
    line("p50", percentile(&verdict.recoveries, 500));
    line("worst", percentile(&verdict.recoveries, 1000));
    line("all tasks ended after the last fault", settled.as_millis());
    misses.lost(lost);
    violations(verdict, &mut misses);
    misses
}

fn transitions(history: &History) -> impl Iterator<Item = &Transition> {
    history.steps.values().flat_map(|step| &step.transitions)
}

/// Notes what did not happen in a run, which then proves nothing about it.
pub(super) fn happened(history: &History, misses: &mut Misses) {
    for fault in Fault::all(Mode::Steps).filter(|fault| !fault.is_of_redis()) {
        let never = history.faults.iter().all(|it| it.fault != fault);
        misses.wrong(never, format!("never: {}", fault.label()));
    }
    let lost = |it: &Transition| it.reason.as_deref() == Some("lease_expired");
    misses.wrong(!transitions(history).any(lost), "no lease was lost");
    misses.wrong(history.refused == 0, "no late result was refused");
    for state in ["error", "cancelled"] {
        let mut tasks = history.tasks.values();
        let ended = tasks.any(|task| task.answers.contains(state));
        misses.wrong(!ended, format!("no task ended in {state}"));
    }
}

/// Prints the requests that were not carried out, or late. Those that failed although the service could
/// work are misses.
fn refusals(history: &History, misses: &mut Misses) {
    let mut by_status: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for it in &history.refusals {
        let (count, unneeded) = by_status.entry(&it.status).or_default();
        *count += 1;
        let mut faults = history.faults.iter();
        let is_excused = faults.any(|fault| {
            // These wait for a handler's transaction, which a fault of its worker holds up.
            let waits = it.status.ends_with("operator") || it.status.ends_with("cancellation");
            let member = if waits { fault.member } else { Some(it.member) };
            fault.excuses(member, it.start, it.end)
        });
        // An operator may act on a step that has changed.
        let is_refusal = it.status.starts_with('4') && !it.status.ends_with("operator");
        let is_failure =
            is_refusal || it.status.starts_with(['5', 'n']) || it.status.ends_with("late");
        *unneeded += usize::from(is_failure && !is_excused);
    }
    for (status, (count, unneeded)) in by_status {
        line(format!("requests with {status}"), count);
        let is_wrong = status.starts_with("500") || unneeded > 0;
        misses.wrong(
            is_wrong,
            format!("{count} requests with {status}, {unneeded} without a fault"),
        );
    }
}

fn tasks(history: &History, misses: &mut Misses) {
    println!("\ntasks");
    line("in all", history.tasks.len());
    let ended = |state: &'static str| {
        let tasks = history.tasks.values();
        let has_ended = move |task: &&Task| task.states.last().is_some_and(|last| last == state);
        tasks.filter(has_ended)
    };
    for &shape in Shape::VARIANTS {
        let never = ended("complete").all(|task| task.shape != shape.as_ref());
        misses.wrong(never, format!("no {shape} task was complete"));
    }
    for state in ["complete", "error", "cancelled"] {
        line(format!("ended in {state}"), ended(state).count());
    }
}

fn attempts(history: &History, verdict: &Verdict, misses: &mut Misses) {
    println!("\nattempts");
    line("in all", history.runs.len());
    line(
        "duplicates by lease loss or drain",
        verdict.after_lease_losses,
    );
    for reason in ["lease_expired", "worker_drained"] {
        let lost = transitions(history).filter(|it| it.reason.as_deref() == Some(reason));
        line(reason, lost.count());
    }
    line("late results refused", history.refused);
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
    for &rule in Rule::VARIANTS {
        let broken = verdict.violations.iter().filter(|it| it.rule == rule);
        misses.rule(rule, broken, |it| {
            println!("    task {} step {:?}: {}", it.task, it.step, it.details);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{happened, refusals};
    use crate::fault::{Fault, Happened, Spoil};
    use crate::report::Misses;
    use crate::steps::history::{History, Refusal};

    #[test]
    fn a_run_in_which_nothing_happened_misses_each_fault_and_its_consequences() {
        let mut misses = Misses::default();
        happened(&History::default(), &mut misses);
        let text = misses.to_string();
        for missed in [
            "no lease",
            "no late",
            "ended in error",
            "never: PostgreSQL killed",
        ] {
            assert!(text.contains(missed), "{text}");
        }
        assert!(!text.contains("Redis"), "{text}");
    }

    #[test]
    fn requests_fail_only_because_of_faults_of_their_service_or_of_all() {
        let missed = |status: &str, member| {
            let refusal = Refusal {
                status: String::from(status),
                member: 3,
                start: 100,
                end: 200,
            };
            let fault = Happened {
                fault: Fault::PostgresLink(Spoil::Refused),
                member,
                start: 50,
                end: 60,
            };
            let mut misses = Misses::default();
            let history = History {
                refusals: vec![refusal],
                faults: vec![fault],
                ..History::default()
            };
            refusals(&history, &mut misses);
            !misses.0.is_empty()
        };
        assert!(!missed("503", Some(3)) && !missed("no answer", None));
        assert!(missed("503", Some(4)) && missed("no answer", Some(4)));
        assert!(!missed("503 to an operator", Some(4)));
        assert!(!missed("409 to an operator", Some(4)));
        assert!(!missed("503 to a cancellation", Some(4)));
        assert!(missed("500", Some(3)) && missed("500 to a cancellation", Some(3)));
        assert!(missed("422", Some(4)) && !missed("422", Some(3)));
        assert!(missed("201 late", Some(4)) && !missed("201 late", Some(3)));
    }
}
