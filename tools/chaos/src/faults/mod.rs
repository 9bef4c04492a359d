//! The table: one row for each fault of Redis and local tier, with the delays that requests notice.

mod control;
pub(crate) mod figures;
mod row;
#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::Args;

use crate::error::ChaosError;
use crate::fault::{Fault, Mode};
use crate::report::{Misses, ms};
use crate::subject::{LocalTier, Subjects, cache};
use figures::{ADDED, BACK, BACK_BY_ITSELF, Figures, Spread, TOUCHED};
use row::Lengths;

/// How often a row is run until it holds. A machine that was busy once is not busy each time, and a
/// regression is there each time.
const ATTEMPTS: usize = 3;

/// Which rows, and how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these rows. An unknown name lists the known ones.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// How long each fault lasts. Default: 10, with `--quick` 1.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// Shorter rows, as CI runs them.
    #[arg(long)]
    quick: bool,
}

impl Options {
    fn lengths(&self) -> Lengths {
        let (fault, around, connecting) = if self.quick {
            (1, 300, 1)
        } else {
            (10, 2000, 5)
        };
        Lengths {
            before: Duration::from_millis(around),
            fault: Duration::from_secs(self.seconds.unwrap_or(fault)),
            after: Duration::from_millis(around),
            connecting,
        }
    }
}

/// Runs the rows and prints each when it is done. Returns true if every bar is met.
pub(crate) async fn run(subjects: &Subjects, options: &Options) -> Result<bool, ChaosError> {
    let known: Vec<&str> = Fault::all(Mode::Faults).map(Fault::name).collect();
    if let Some(name) = options
        .only
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        return Err(ChaosError::NoSuchRow {
            name: name.clone(),
            known: known.join(", "),
        });
    }
    let lengths = options.lengths();
    head(lengths, options.quick);
    let mut met = true;
    for fault in Fault::all(Mode::Faults) {
        let wanted =
            options.only.is_empty() || options.only.iter().any(|name| name == fault.name());
        for local_tier in LocalTier::BOTH.into_iter().filter(|_| wanted) {
            met &= run_row(subjects, fault, local_tier, lengths, !options.quick).await?;
        }
    }
    Ok(met)
}

async fn run_row(
    subjects: &Subjects,
    fault: Fault,
    local_tier: LocalTier,
    mut lengths: Lengths,
    times_count: bool,
) -> Result<bool, ChaosError> {
    if fault == Fault::BootAbsent {
        // Redis starts after five of ten seconds.
        lengths.fault = lengths.fault.div_f64(2.0).max(Duration::from_secs(1));
    }
    let bound = Duration::from_millis(cache(local_tier).max_staleness_ms);
    let mut attempt = 1;
    loop {
        let figures = row::run(subjects, fault, local_tier, lengths).await?;
        let misses = figures.misses(fault, local_tier, lengths.connecting, bound);
        let again = if attempt == 1 { "" } else { ", again" };
        print(
            &format!("{}{again}", fault.label()),
            local_tier,
            &figures,
            &misses,
        );
        if !wants_another(attempt, &misses, times_count) {
            return Ok(misses.hold(times_count));
        }
        attempt += 1;
    }
}

/// Returns true if a row is run again: it did not hold, and a busy machine can be the only reason.
fn wants_another(attempt: usize, misses: &Misses, times_count: bool) -> bool {
    attempt < ATTEMPTS && !misses.hold(times_count) && misses.are_of_time()
}

fn head(lengths: Lengths, quick: bool) {
    println!(
        "Each fault lasts about {:?}, under 16 resolvers. Times in ms, p50 / p99 / longest. Bars: 0 \
         failed, at most {} added to any request, at most {:.0}% touched in the first second and in \
         all, 0 while the breaker is open, in use again within {} ms, {} ms after the loss of a primary.",
        lengths.fault,
        ms(ADDED),
        TOUCHED * 100.0,
        BACK.as_millis(),
        BACK_BY_ITSELF.as_millis(),
    );
    if quick {
        println!(
            "Rows as short as these fail by wrong results, and by times past their ceiling only."
        );
    }
    println!(
        "\n| fault | local tier | requests | failed | before | during | after | added | in cache \
         | touched: first second / all / open | opened | start | back | registering: slower / wait \
         | outdated for | bars |"
    );
    println!("| --- | --- {}| --- |", "| ---: ".repeat(13));
}

fn print(label: &str, local_tier: LocalTier, figures: &Figures, misses: &Misses) {
    let texts: Vec<&str> = misses.0.iter().map(|miss| miss.text.as_str()).collect();
    let bars = match texts[..] {
        [] => String::from("met"),
        _ => format!("**missed**: {}", texts.join(", ")),
    };
    let back = figures.back.map_or_else(
        || String::from("never"),
        |back| back.as_millis().to_string(),
    );
    println!(
        "| {label} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1}% / {:.1}% / {} | {} | {} | {back} \
         | {} / {} | {} | {bars} |",
        local_tier.label(),
        figures.requests(),
        figures.failed,
        spread(figures.before),
        spread(figures.during),
        spread(figures.after),
        ms(figures.added),
        ms(figures.in_cache),
        figures.touched_at_onset * 100.0,
        figures.touched * 100.0,
        figures.touched_while_open,
        figures.openings,
        figures.connected_in.as_millis(),
        ms(figures.slower),
        ms(figures.delete),
        figures.outdated_for.as_millis(),
    );
}

fn spread(spread: Spread) -> String {
    if spread.count == 0 {
        return String::from("-");
    }
    let [p50, p99, max] = [spread.p50, spread.p99, spread.max].map(ms);
    format!("{p50} / {p99} / {max}")
}
