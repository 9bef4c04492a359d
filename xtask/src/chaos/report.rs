//! What a run came to, for people.

use std::collections::BTreeMap;
use std::time::Duration;

use super::clock::SECOND;
use super::faults::{Kind, Weather};
use super::history::{Answer, History, Read, Write};
use super::judge::{Rule, Verdict, Violation};
use super::propagation;
use super::stage::{AGENTS, ORCHESTRATION_SLOT, SLOTS, WORKER_SLOT};
use super::templates;

/// How long after a fault a failure may still be its consequence.
const AFTERMATH: u64 = 3 * SECOND;
const EXAMPLES: usize = 5;

/// Prints everything, and answers whether all was well.
pub(super) fn print(
    history: &History,
    weather: &Weather,
    verdict: &Verdict,
    bound: Duration,
) -> bool {
    print_operations(history);
    print_faults(weather);
    print_staleness(verdict, bound);
    print_propagation(history, weather);
    let unneeded = print_failures(history, weather);
    let idle = print_idle(history);
    print_lost(weather);
    print_violations(history, verdict)
        && unneeded == 0
        && idle == 0
        && weather.lost.is_empty()
        && !verdict.staleness.is_empty()
        && history.changes.len() > 1
}

fn line(label: &str, value: impl std::fmt::Display) {
    println!("  {label:<44}{value:>12}");
}

fn print_operations(history: &History) {
    println!("\noperations");
    let kinds: [(&str, &[usize]); 3] = [
        ("reads over the library", &AGENTS),
        ("reads over HTTP, worker", &[WORKER_SLOT]),
        ("reads over HTTP, orchestration", &[ORCHESTRATION_SLOT]),
    ];
    for (label, slots) in kinds {
        let of_kind = |process: u16| slots.contains(&history.processes[usize::from(process)].slot);
        let reads = history.reads.iter().filter(|read| of_kind(read.process));
        line(label, reads.count());
    }
    line("reads in all", history.reads.len());
    let absent = |answer| answer == Answer::Absent;
    let absent = history.reads.iter().filter(|read| absent(read.answer));
    line("of these answered \"not found\"", absent.count());
    let mut writes: BTreeMap<_, usize> = BTreeMap::new();
    for write in acknowledged(history) {
        *writes.entry(write.kind).or_default() += 1;
    }
    for (kind, count) in &writes {
        line(kind.label(), count);
    }
    line("writes in all", writes.values().sum::<usize>());
    line(
        "further writes whose outcome nobody was told",
        history.writes.len() - acknowledged(history).count(),
    );
    line("processes", history.processes.len());
}

fn acknowledged(history: &History) -> impl Iterator<Item = &Write> {
    let written = |write: &&Write| write.acknowledged.is_some();
    history.writes.iter().filter(written)
}

fn print_faults(weather: &Weather) {
    println!("\nfaults");
    for kind in Kind::ALL {
        let of_kind = weather.faults.iter().filter(|fault| fault.kind == kind);
        line(kind.label(), of_kind.count());
    }
    line("faults in all", weather.faults.len());
}

fn print_staleness(verdict: &Verdict, bound: Duration) {
    println!("\nstaleness: for how long an answer had been replaced, in ms");
    line("the bound", milliseconds(bound));
    for (label, sorted) in [
        ("when the read began", &verdict.staleness),
        (
            "when it ended (slack: its own duration)",
            &verdict.staleness_at_end,
        ),
    ] {
        line(&format!("worst, {label}"), percentile(sorted, 1000));
        line(&format!("p99, {label}"), percentile(sorted, 990));
    }
}

fn print_propagation(history: &History, weather: &Weather) {
    println!("\npropagation: from a commit to its resolve in another process (library), in ms");
    let unheard: Vec<_> = weather
        .faults
        .iter()
        .filter(|fault| fault.kind == Kind::ListenersTerminated)
        .map(|fault| (fault.start, fault.end))
        .collect();
    for (label, windows) in [
        ("with listeners, no fault", &weather.calms),
        ("listeners terminated all the time", &unheard),
    ] {
        let delays = propagation::measure(history, windows, |slot| AGENTS.contains(&slot));
        line(&format!("{label}: samples"), delays.len());
        line(&format!("{label}: p50"), percentile(&delays, 500));
        line(&format!("{label}: p99"), percentile(&delays, 990));
        line(&format!("{label}: worst"), percentile(&delays, 1000));
    }
}

/// Failures that nothing excuses: PostgreSQL could be reached all the time.
fn print_failures(history: &History, weather: &Weather) -> usize {
    println!("\nfailures");
    let excused = |slot: Option<usize>, start: u64, end: u64| {
        weather.faults.iter().any(|fault| {
            let meets = match (fault.slot, slot) {
                (Some(met), Some(slot)) => met == slot,
                (Some(_), None) => false,
                (None, _) => true,
            };
            let overlaps = fault.start <= end && start <= fault.end + AFTERMATH;
            fault.kind.excuses_failures() && meets && overlaps
        })
    };
    let slot_of = |process: u16| history.processes[usize::from(process)].slot;
    let mut unneeded: BTreeMap<(&str, &str), (usize, u64)> = BTreeMap::new();
    let mut excused_count = 0;
    let mut note = |what, slot: Option<usize>, start, end, code: u16| {
        if excused(slot, start, end) {
            excused_count += 1;
        } else {
            let code = history.codes[usize::from(code)].as_str();
            unneeded.entry((what, code)).or_insert((0, end)).0 += 1;
        }
    };
    for read in &history.reads {
        if let Answer::Failed(code) = read.answer {
            let slot = slot_of(read.process);
            note(SLOTS[slot], Some(slot), read.start, read.end, code);
        }
    }
    for write in &history.writes {
        if let Some((end, code)) = write.failed {
            let slot = write.process.map(slot_of);
            note("a write", slot, write.start, end, code);
        }
    }
    line("with PostgreSQL out of reach", excused_count);
    for ((what, code), (count, first)) in &unneeded {
        line(&format!("not needed: {what}, {code}"), count);
        let before = weather
            .faults
            .iter()
            .rev()
            .find(|fault| fault.start <= *first);
        if let Some(fault) = before {
            let since = Duration::from_nanos(first - fault.start).as_millis();
            println!("    the first {since} ms after: {}", fault.kind.label());
        }
    }
    let sum = unneeded.values().map(|(count, _)| count).sum();
    line("not needed in all", sum);
    sum
}

fn print_violations(history: &History, verdict: &Verdict) -> bool {
    println!("\nviolations");
    for rule in Rule::ALL {
        let broken = verdict.violations.iter().filter(|v| v.rule == rule);
        line(rule.label(), broken.clone().count());
        for violation in broken.take(EXAMPLES) {
            print_example(history, violation);
        }
    }
    verdict.violations.is_empty()
}

fn print_example(history: &History, violation: &Violation) {
    let read = &violation.read;
    let (namespace, name) = &templates::all()[usize::from(read.template)];
    let slot = SLOTS[history.processes[usize::from(read.process)].slot];
    println!(
        "    {slot} (process {}) read {namespace}/{name} at {} ns for {} us and got {:?}",
        read.process,
        read.start,
        (read.end - read.start) / 1000,
        read.answer,
    );
    if let Some(number) = violation.successor {
        println!(
            "      replaced {} us before by write {number}: {:?}",
            violation.outdated_for / 1000,
            history.writes[number as usize],
        );
    }
}

/// How many of the processes that were to read, and to register, never did.
fn print_idle(history: &History) -> usize {
    println!("\nprocesses that did nothing");
    let slot_of = |process: u16| history.processes[usize::from(process)].slot;
    let has_read = |slot: usize| {
        let told = |read: &&Read| read.answer.state().is_some();
        let mut reads = history.reads.iter().filter(told);
        reads.any(|read| slot_of(read.process) == slot)
    };
    let has_registered =
        |slot: usize| acknowledged(history).any(|write| write.process.map(slot_of) == Some(slot));
    let mut idle = Vec::new();
    for (slot, name) in SLOTS.into_iter().enumerate() {
        if !has_read(slot) {
            idle.push(format!("{name} read nothing"));
        }
        if AGENTS.contains(&slot) && !has_registered(slot) {
            idle.push(format!("{name} registered nothing"));
        }
    }
    line("in all", idle.len());
    for what in &idle {
        println!("    {what}: this run proves nothing of it");
    }
    idle.len()
}

fn print_lost(weather: &Weather) {
    println!("\nprocesses that ended by themselves");
    line("in all", weather.lost.len());
    for error in &weather.lost {
        println!("    {error}");
    }
}

/// A percentile, in per mille, of ascending nanoseconds: as milliseconds.
fn percentile(ascending: &[u64], per_mille: usize) -> String {
    let Some(last) = ascending.len().checked_sub(1) else {
        return String::from("-");
    };
    milliseconds(Duration::from_nanos(ascending[last * per_mille / 1000]))
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}
