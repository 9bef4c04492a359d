//! The table: one row for each fault of Redis and local tier, with the delays that requests notice.

mod figures;
mod row;
#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::error::Result;
use crate::fault::{Fault, Mode};
use crate::subject::Subjects;
use figures::Figures;

/// Which rows, and how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these rows.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
    /// The length of each fault. Default: 10, with `--quick` 1.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// Shorter rows, as CI runs them. They fail by wrong results, and by times past their ceiling
    /// only.
    #[arg(long)]
    quick: bool,
}

fn names() -> PossibleValuesParser {
    Fault::all(Mode::Faults).map(Fault::name).into()
}

/// Runs the rows and prints each when it is done. Returns true if every bar is met.
pub(crate) async fn run(subjects: &Subjects, options: &Options) -> Result<bool> {
    println!("Times in ms.\n");
    let headings = Figures::default().columns().map(|(heading, _)| heading);
    println!("| fault | local tier | {} | bars |", headings.join(" | "));
    println!("| --- | --- {}| --- |", "| ---: ".repeat(headings.len()));
    let mut met = true;
    for fault in Fault::all(Mode::Faults) {
        let is_wanted =
            options.only.is_empty() || options.only.iter().any(|name| name == fault.name());
        for local_tier in [true, false].into_iter().filter(|_| is_wanted) {
            met &= run_row(subjects, fault, local_tier, options).await?;
        }
    }
    Ok(met)
}

async fn run_row(
    subjects: &Subjects,
    fault: Fault,
    local_tier: bool,
    options: &Options,
) -> Result<bool> {
    let (seconds, around) = if options.quick { (1, 300) } else { (10, 2000) };
    let length = Duration::from_secs(options.seconds.unwrap_or(seconds));
    let around = Duration::from_millis(around);
    let figures = row::run(subjects, fault, local_tier, length, around).await?;
    let misses = figures.misses(fault, local_tier);
    let tier = if local_tier { "on" } else { "off" };
    let columns = figures.columns().map(|(_, value)| value).join(" | ");
    println!("| {} | {tier} | {columns} | {misses} |", fault.label());
    Ok(misses.hold(!options.quick))
}
