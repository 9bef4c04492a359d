//! The report of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::processes::{AGENTS, MEMBERS};
use super::schedule::{Happened, Schedule};
use crate::clock::SECOND;
use crate::fault::{Fault, Mode};
use crate::judge::history::{Answer, History, Write};
use crate::judge::{Rule, Verdict, Violation, propagation};
use crate::report::{Misses, line, ms};
use crate::templates::{self, WATCHED};

/// A failure may still be the consequence of a fault for so long.
const AFTERMATH: u64 = 3 * SECOND;
const EXAMPLES: usize = 5;

/// Prints everything, and returns the promises that did not hold.
pub(super) fn print(
    history: &History,
    schedule: &Schedule,
    verdict: &Verdict,
    bound: u32,
) -> Misses {
    let mut misses = Misses::default();
    operations(history, &mut misses);
    println!("\nfaults");
    for fault in Fault::all(Mode::Chaos) {
        let times = schedule
            .faults
            .iter()
            .filter(|happened| happened.fault == fault);
        line(fault.label(), times.count());
    }
    staleness(verdict, bound);
    propagation(history, schedule);
    failures(history, schedule, &mut misses);
    println!("\nprocesses that ended by themselves");
    line("in all", schedule.lost.len());
    for error in &schedule.lost {
        misses.wrong(true, error.to_string());
    }
    violations(history, verdict, &mut misses);
    misses
}

/// Prints reads and writes. A member that read nothing, or did not register, proves nothing.
fn operations(history: &History, misses: &mut Misses) {
    println!("\noperations");
    for (member, name) in MEMBERS.into_iter().enumerate() {
        let of_member = |process: u16| history.processes[usize::from(process)].member == member;
        let reads = history.reads.iter().filter(|read| of_member(read.process));
        line(&format!("reads, {name}"), reads.clone().count());
        let answered = reads.filter(|read| read.answer.state().is_some()).count();
        misses.wrong(answered == 0, format!("{name} was never answered a read"));
        let registered = acknowledged(history).any(|write| write.process.is_some_and(of_member));
        let must_register = AGENTS.contains(&member);
        misses.wrong(
            must_register && !registered,
            format!("{name} registered nothing"),
        );
    }
    line("reads in all", history.reads.len());
    let absent = history
        .reads
        .iter()
        .filter(|read| read.answer == Answer::Absent);
    line("answers \"not found\"", absent.count());
    let mut writes: BTreeMap<_, usize> = BTreeMap::new();
    for write in acknowledged(history) {
        *writes.entry(write.kind).or_default() += 1;
    }
    for (kind, count) in &writes {
        line(kind.label(), count);
    }
    let count = writes.values().sum::<usize>();
    line("writes in all", count);
    line(
        "further writes with an unknown result",
        history.writes.len() - count,
    );
    line("processes", history.processes.len());
    misses.wrong(history.changes.len() < 2, "no change was committed");
}

fn acknowledged(history: &History) -> impl Iterator<Item = &Write> {
    let writes = history.writes.values();
    writes.filter(|write| write.acknowledged.is_some())
}

fn staleness(verdict: &Verdict, bound: u32) {
    println!("\nstaleness: for how long an answer had been replaced, in ms");
    line("the bound", bound);
    for (label, sorted) in [
        ("when the read began", &verdict.staleness),
        (
            "when it ended (slack: its duration)",
            &verdict.staleness_at_end,
        ),
    ] {
        line(&format!("worst, {label}"), percentile(sorted, 1000));
        line(&format!("p99, {label}"), percentile(sorted, 990));
    }
}

fn propagation(history: &History, schedule: &Schedule) {
    println!("\npropagation: from a commit until an agent resolves it, in ms");
    let without_listeners: Vec<_> = schedule
        .faults
        .iter()
        .filter(|happened| happened.fault == Fault::Listeners)
        .map(|happened| (happened.start, happened.end))
        .collect();
    let watched = u16::try_from(WATCHED).unwrap_or(u16::MAX);
    for (label, windows) in [
        ("with listeners, no fault", &schedule.calms),
        ("listeners terminated", &without_listeners),
    ] {
        let is_agent = |member| AGENTS.contains(&member);
        let delays = propagation::measure(history, watched, windows, is_agent);
        line(&format!("{label}: samples"), delays.len());
        for (name, per_mille) in [("p50", 500), ("p99", 990), ("worst", 1000)] {
            line(&format!("{label}: {name}"), percentile(&delays, per_mille));
        }
    }
}

/// Reports failures that nothing excuses, because PostgreSQL could be reached all the time.
fn failures(history: &History, schedule: &Schedule, misses: &mut Misses) {
    println!("\nfailures");
    let is_excuse = |happened: &Happened, member: Option<usize>, start: u64, end: u64| {
        let meets = happened.member.is_none() || happened.member == member;
        let overlaps = happened.start <= end && start <= happened.end + AFTERMATH;
        happened.fault.excuses_failures() && meets && overlaps
    };
    let member_of = |process: u16| history.processes[usize::from(process)].member;
    let reads = history.reads.iter().filter_map(|read| match read.answer {
        Answer::Failed(code) => Some((Some(member_of(read.process)), read.start, read.end, code)),
        _ => None,
    });
    let writes = history.writes.values().filter_map(|write| {
        let (end, code) = write.failed?;
        Some((write.process.map(member_of), write.start, end, code))
    });
    let mut excused = 0;
    let mut unneeded: BTreeMap<(&str, u16), (usize, u64)> = BTreeMap::new();
    for (member, start, end, code) in reads.chain(writes) {
        if schedule
            .faults
            .iter()
            .any(|happened| is_excuse(happened, member, start, end))
        {
            excused += 1;
        } else {
            let name = member.map_or("a writer", |member| MEMBERS[member]);
            let (count, first) = unneeded.entry((name, code)).or_insert((0, end));
            *count += 1;
            *first = end.min(*first);
        }
    }
    line("with PostgreSQL out of reach", excused);
    line(
        "not needed",
        unneeded.values().map(|(count, _)| count).sum::<usize>(),
    );
    for ((name, code), (count, first)) in unneeded {
        let code = &history.codes[usize::from(code)];
        let before = schedule
            .faults
            .iter()
            .rev()
            .find(|happened| happened.start <= first);
        let after = before.map_or_else(String::new, |happened| {
            let since = (first - happened.start) / 1_000_000;
            format!(
                ", the first {since} ms after the start of: {}",
                happened.fault.label()
            )
        });
        misses.wrong(
            true,
            format!("{count} failures that were not needed: {name}, {code}{after}"),
        );
    }
}

fn violations(history: &History, verdict: &Verdict, misses: &mut Misses) {
    println!("\nviolations");
    for rule in Rule::ALL {
        let broken = verdict
            .violations
            .iter()
            .filter(|violation| violation.rule == rule);
        let count = broken.clone().count();
        line(rule.label(), count);
        misses.wrong(count > 0, format!("{count} answers {}", rule.label()));
        for violation in broken.take(EXAMPLES) {
            example(history, violation);
        }
    }
    misses.wrong(verdict.staleness.is_empty(), "no read could be judged");
}

fn example(history: &History, violation: &Violation) {
    let read = &violation.read;
    let (namespace, name) = &templates::all()[usize::from(read.template)];
    let member = MEMBERS[history.processes[usize::from(read.process)].member];
    println!(
        "    {member} (process {}) read {namespace}/{name} at {} ns for {} us and got {:?}",
        read.process,
        read.start,
        (read.end - read.start) / 1000,
        read.answer,
    );
    if let Some(number) = violation.successor {
        println!(
            "      replaced {} us before by write {number}: {:?}",
            violation.outdated_for / 1000,
            history.writes.get(&number),
        );
    }
}

/// Returns a percentile, in per mille, of ascending nanoseconds: as milliseconds.
fn percentile(ascending: &[u64], per_mille: usize) -> String {
    let Some(last) = ascending.len().checked_sub(1) else {
        return String::from("-");
    };
    ms(Duration::from_nanos(ascending[last * per_mille / 1000]))
}
