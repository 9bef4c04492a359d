//! What resolving, booting and invalidating cost, beside the least that they could.
//!
//! `cargo xtask bench` builds this with optimisation and runs it with a PostgreSQL and a Redis.
//! Everything is measured in one process: a figure of ours and its yardstick take turns, round by
//! round, so that what else the machine does falls on both.
//!
//! It measures the crates from outside, through what they offer to everybody.

#![expect(
    clippy::print_stdout,
    reason = "this program talks to the person who runs it"
)]

mod boot;
mod cold;
mod core_waits;
mod counters;
mod directory;
mod error;
mod fixtures;
mod invalidation;
mod letter;
mod measure;
mod redis_hit;
mod report;
mod svg;
mod tasks;
mod uncached;
mod warm;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tasker_web::causes;

use crate::error::BenchError;
use crate::measure::Effort;
use crate::report::Report;
use crate::world::World;

/// Measures Tasker beside its yardsticks.
#[derive(Debug, Parser)]
#[command(name = "tasker-bench", version)]
struct Options {
    /// Fewer rounds and smaller ones: figures that are good for a look.
    #[arg(long)]
    quick: bool,
    /// Write all rounds of all figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a picture of latency percentiles here.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "target/bench-latencies.svg"
    )]
    svg: PathBuf,
    /// Only these groups.
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    only: Vec<Group>,
}

/// What is measured, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Warm,
    Redis,
    Uncached,
    Cold,
    Boot,
    Tasks,
    Directory,
    // Last: it leaves Redis with a million keys to forget.
    Invalidation,
}

impl Group {
    async fn run(
        self,
        world: &World,
        effort: Effort,
        report: &mut Report,
    ) -> Result<(), BenchError> {
        match self {
            Self::Warm => warm::run(world, effort, report).await,
            Self::Redis => redis_hit::run(world, effort, report).await,
            Self::Uncached => uncached::run(world, effort, report).await,
            Self::Cold => cold::run(world, effort, report).await,
            Self::Boot => boot::run(world, effort, report).await,
            Self::Tasks => tasks::run(world, effort, report).await,
            Self::Directory => directory::run(world, effort, report).await,
            Self::Invalidation => invalidation::run(effort, report).await,
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), BenchError> {
    counters::install();
    // The services count into a recorder, so what is measured here does.
    tasker_web::recorder();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(BenchError::Runtime)?;
    let effort = Effort::new(options.quick);
    let only = options.only.iter().map(|group| format!("{group:?}"));
    let mut report = Report::new(options.quick, only.collect());
    let measured = runtime.block_on(measure(options, effort, &mut report));
    // What was measured before something failed is told as well.
    report.is_complete = measured.is_ok();
    report.print();
    let json = options.json.as_deref();
    let written = json.map_or(Ok(()), |path| report.write_json(path));
    let drawn = svg::write(&options.svg, report.latencies());
    measured.and(written).and(drawn)
}

async fn measure(options: &Options, effort: Effort, report: &mut Report) -> Result<(), BenchError> {
    let world = World::create().await?;
    report.machine.postgres = world.postgres_version().await?;
    report.machine.redis = world.redis_version().await?;
    for group in Group::value_variants() {
        if options.only.is_empty() || options.only.contains(group) {
            group.run(&world, effort, report).await?;
        }
    }
    Ok(())
}
