//! The report of a run.

use strum::VariantArray;

use super::members::{AGENTS, MEMBERS};
use crate::fault::{Happened, Mode};
use crate::judge::history::{Answer, History, Write};
use crate::judge::{Rule, Verdict, Violation};
use crate::report::{self, EXAMPLES, Misses, line, percentile};
use crate::run::Disturbed;
use crate::templates;

/// Prints everything, and returns the promises that did not hold.
pub(super) fn print(
    history: &History,
    disturbed: &Disturbed,
    verdict: &Verdict,
    bound: u32,
) -> Misses {
    let mut misses = Misses::default();
    operations(history, &mut misses);
    report::faults(Mode::Chaos, &disturbed.faults);
    staleness(verdict, bound);
    failures(history, &disturbed.faults, &mut misses);
    misses.lost(&disturbed.lost);
    violations(history, verdict, &mut misses);
    misses
}

/// Prints reads and writes. A member that read nothing, or did not register, proves nothing.
fn operations(history: &History, misses: &mut Misses) {
    println!("\noperations");
    for (member, name) in MEMBERS.into_iter().enumerate() {
        let of_member = |process: u16| history.processes[usize::from(process)].member == member;
        let reads = history.reads.iter().filter(|read| of_member(read.process));
        line(format!("reads, {name}"), reads.clone().count());
        let answered = reads.filter(|read| read.answer.state().is_some()).count();
        misses.wrong(answered == 0, format!("{name} was never answered a read"));
        let registered = acknowledged(history).any(|write| write.process.is_some_and(of_member));
        let idle = AGENTS.contains(&member) && !registered;
        misses.wrong(idle, format!("{name} registered nothing"));
    }
    line("writes", acknowledged(history).count());
    misses.wrong(history.changes.len() < 2, "no change was committed");
}

fn acknowledged(history: &History) -> impl Iterator<Item = &Write> {
    let writes = history.writes.values();
    writes.filter(|write| write.acknowledged.is_some())
}

fn staleness(verdict: &Verdict, bound: u32) {
    println!("\nstaleness: for how long an answer had been replaced, in ms");
    line("the bound", bound);
    let (began, ended) = (&verdict.staleness, &verdict.staleness_at_end);
    line("worst, when the read began", percentile(began, 1000));
    line("p99, when the read began", percentile(began, 990));
    line("worst, when it ended", percentile(ended, 1000));
    line("p99, when it ended", percentile(ended, 990));
}

/// Reports failures that nothing excuses, because PostgreSQL could be reached all the time.
fn failures(history: &History, faults: &[Happened], misses: &mut Misses) {
    println!("\nfailures");
    let is_excused = |member: Option<usize>, start: u64, end: u64| {
        let mut faults = faults.iter();
        faults.any(|it| it.excuses(member, start, end))
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
    let (excused, unneeded): (Vec<_>, Vec<_>) = reads
        .chain(writes)
        .partition(|(member, start, end, _)| is_excused(*member, *start, *end));
    line("with PostgreSQL out of reach", excused.len());
    line("not needed", unneeded.len());
    misses.wrong(!unneeded.is_empty(), "failures that were not needed");
    for (member, start, _, code) in unneeded.into_iter().take(EXAMPLES) {
        let name = member.map_or("a writer", |member| MEMBERS[member]);
        let code = &history.codes[usize::from(code)];
        let before = faults.iter().rfind(|it| it.start <= start);
        println!("    {name}: {code} at {start} ns, after {before:?}");
    }
}

fn violations(history: &History, verdict: &Verdict, misses: &mut Misses) {
    println!("\nviolations");
    for &rule in Rule::VARIANTS {
        let broken = verdict.violations.iter().filter(|it| it.rule == rule);
        misses.rule(rule, broken, |it| example(history, it));
    }
    misses.wrong(verdict.staleness.is_empty(), "no read could be judged");
}

fn example(history: &History, violation: &Violation) {
    let read = &violation.read;
    let (namespace, name) = &templates::all()[usize::from(read.template)];
    let member = MEMBERS[history.processes[usize::from(read.process)].member];
    println!("    {member} read {namespace}/{name}: {read:?}");
    let (since, number) = (violation.outdated_for / 1000, violation.successor);
    let successor = number.and_then(|number| history.writes.get(&number));
    println!("      replaced {since} us before by write {number:?}: {successor:?}");
}
