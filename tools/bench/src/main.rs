//! Measures the rows of the design's table, each with its bar: `cargo xtask bench [--only ROW] >
//! table.md`.
//!
//! Our figure and its yardstick are measured in turns, in one process and run, so that other load
//! on the machine falls on both. Progress goes to standard error, the table to standard output. The
//! exit code is 1 if a bar was missed.

#![expect(
    clippy::print_stdout,
    reason = "this program talks to the person who runs it"
)]
#![expect(clippy::cast_precision_loss, reason = "counts are small")]

mod boot;
mod cache_off;
mod cold;
mod counters;
mod error;
mod fixtures;
mod idle;
mod index;
mod invalidation;
mod measure;
mod redis_hit;
mod report;
mod steps;
mod warm;
mod world;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use metrics_exporter_prometheus::PrometheusBuilder;
use tasker_test_support::causes;

use crate::error::Result;
use crate::measure::Effort;
use crate::report::Report;
use crate::world::World;

/// Measures Tasker beside its yardsticks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// Fewer and smaller rounds: figures for a first look.
    #[arg(long)]
    quick: bool,
    /// Only these rows.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<Row>,
    /// Let PostgreSQL wait for the disk in `steps`, as in production. The bars are for a server that
    /// does not.
    #[arg(long)]
    fsync: bool,
}

/// A row of the design's table, in the order in which they are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    Warm,
    RedisHit,
    CacheOff,
    Cold,
    Boot,
    Index,
    Idle,
    Steps,
    StepsLoaded,
    StepsSnapshot,
    Analytics,
    // Last, because it leaves memory of a million keys in Redis.
    Invalidation,
}

/// Everything that a row needs to be measured.
struct Bench {
    world: World,
    effort: Effort,
    report: Report,
    fsync: bool,
}

impl Bench {
    fn parts(&mut self) -> (&World, Effort, &mut Report) {
        (&self.world, self.effort, &mut self.report)
    }
}

impl Row {
    async fn measure(self, bench: &mut Bench) -> Result {
        match self {
            Self::Warm => warm::measure(bench).await,
            Self::RedisHit => redis_hit::measure(bench).await,
            Self::CacheOff => cache_off::measure(bench).await,
            Self::Cold => cold::measure(bench).await,
            Self::Boot => boot::measure(bench).await,
            Self::Index => index::measure(bench).await,
            Self::Idle => idle::measure(bench).await,
            Self::Steps => steps::measure(bench).await,
            Self::StepsLoaded => steps::measure_loaded(bench).await,
            Self::StepsSnapshot => steps::measure_snapshot(bench).await,
            Self::Analytics => steps::measure_analytics(bench).await,
            Self::Invalidation => invalidation::measure(bench).await,
        }
    }
}

fn main() -> ExitCode {
    if let Some(code) = steps::become_service() {
        return code;
    }
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Returns `true` if all bars are met.
fn run(options: &Options) -> Result<bool> {
    counters::install();
    // Services record metrics, so registries do it here too.
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::set_global_recorder(recorder).expect("no other recorder is installed");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let world = World::create().await?;
        let mut bench = Bench {
            report: Report::new(&world.servers().await?, options.quick),
            effort: Effort::new(options.quick),
            fsync: options.fsync,
            world,
        };
        let mut measured = Ok(());
        for row in Row::value_variants() {
            if measured.is_ok() && (options.only.is_empty() || options.only.contains(row)) {
                measured = row.measure(&mut bench).await;
            }
        }
        // Rows before a failure are shown as well.
        bench.report.print();
        measured.map(|()| bench.report.all_are_met())
    })
}
