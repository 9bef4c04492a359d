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

use std::pin::Pin;
use std::process::ExitCode;

use clap::Parser;
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
    #[arg(long, value_name = "ROW", value_delimiter = ',', value_parser = ROWS.map(|(row, _)| row))]
    only: Vec<String>,
    /// Let PostgreSQL wait for the disk in `steps`, as in production. The bars are for a server that
    /// does not.
    #[arg(long)]
    fsync: bool,
}

/// Measures a row.
type Measure = for<'a> fn(&'a mut Bench) -> Pin<Box<dyn Future<Output = Result> + 'a>>;

/// The rows of the design's table, in the order in which they are measured.
const ROWS: [(&str, Measure); 12] = [
    ("warm", |bench| Box::pin(warm::measure(bench))),
    ("redis-hit", |bench| Box::pin(redis_hit::measure(bench))),
    ("cache-off", |bench| Box::pin(cache_off::measure(bench))),
    ("cold", |bench| Box::pin(cold::measure(bench))),
    ("boot", |bench| Box::pin(boot::measure(bench))),
    ("index", |bench| Box::pin(index::measure(bench))),
    ("idle", |bench| Box::pin(idle::measure(bench))),
    ("steps", |bench| Box::pin(steps::measure(bench))),
    ("steps-loaded", |bench| {
        Box::pin(steps::measure_loaded(bench))
    }),
    ("steps-snapshot", |bench| {
        Box::pin(steps::measure_snapshot(bench))
    }),
    ("analytics", |bench| {
        Box::pin(steps::measure_analytics(bench))
    }),
    // Last, because it leaves memory of a million keys in Redis.
    ("invalidation", |bench| {
        Box::pin(invalidation::measure(bench))
    }),
];

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
        for (row, measure) in ROWS {
            let is_wanted = options.only.is_empty() || options.only.iter().any(|it| it == row);
            if measured.is_ok() && is_wanted {
                measured = measure(&mut bench).await;
            }
        }
        // Rows before a failure are shown as well.
        bench.report.print();
        measured.map(|()| bench.report.all_are_met())
    })
}
