//! `cargo xtask chaos`: real processes on a real PostgreSQL and a real Redis, while everything
//! fails at random; and a judge over what was read and written.
//!
//! The judge knows nothing of Tasker, and takes from PostgreSQL what was committed in which order,
//! noted by triggers of this program's own. This program depends on none of Tasker's crates: the
//! processes that use the library are an example program of `tasker-shared`.

mod agents;
mod audit;
mod clock;
mod faults;
mod history;
mod judge;
mod old_redis;
mod propagation;
mod readers;
mod recorder;
mod report;
mod service;
mod stage;
mod templates;
mod timeline;
mod writers;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::task::JoinSet;

use crate::cargo::{cargo, succeed};
use crate::error::XtaskError;
use agents::Agents;
use recorder::Recorder;
use stage::{AGENTS, SLOTS, Stage};

const DEFAULT_LENGTH: Duration = Duration::from_mins(1);
/// How long agents may take to start while nothing is wrong.
const READY_LIMIT: Duration = Duration::from_mins(1);
const READY_POLL: Duration = Duration::from_millis(50);

/// How to run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    /// How long to go on, in minutes. Default: one.
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: Option<u64>,
    /// How long to go on, in seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// What decides which faults come and what is read and written. Default: another each time.
    #[arg(long)]
    seed: Option<u64>,
    /// The bound, in milliseconds; 0 asks for linearizable reads.
    #[arg(long, default_value_t = 1000)]
    max_staleness_ms: u32,
}

/// Builds the processes, lets things go wrong, and judges. Fails if anything was not as promised.
pub(crate) async fn run(options: Options) -> Result<ExitCode, XtaskError> {
    build().await?;
    let length = match (options.minutes, options.seconds) {
        (Some(minutes), _) => Duration::from_mins(minutes),
        (_, Some(seconds)) => Duration::from_secs(seconds),
        _ => DEFAULT_LENGTH,
    };
    let seed = options.seed.unwrap_or_else(rand::random);
    let bound = Duration::from_millis(options.max_staleness_ms.into());
    println!(
        "chaos for {} s, seed {seed}, max_staleness_ms {}",
        length.as_secs(),
        options.max_staleness_ms
    );

    // Dropped last: the tasks hold the stage as well.
    let mut tasks = JoinSet::new();
    let recorder = Arc::new(Recorder::default());
    let (agents, address) = Agents::listen(Arc::clone(&recorder), &mut tasks).await?;
    let stage = Arc::new(Stage::set(options.max_staleness_ms, &address).await?);
    let mut connection = stage.connect().await?;
    audit::install(&mut connection).await?;
    writers::prepare(&mut connection, &recorder).await?;
    drop(connection);
    for slot in AGENTS {
        stage.start_agent(slot).await?;
    }
    until_ready(&stage, &agents).await?;

    let mut work = JoinSet::new();
    readers::start(&stage, &recorder, seed, &mut work);
    writers::start(&stage, &agents, &recorder, seed, &mut work);
    let clock = Arc::clone(&stage);
    work.spawn(async move {
        tokio::time::sleep(length).await;
        clock.end();
    });
    let weather = faults::rage(&stage, seed).await?;
    // A reader or a writer that panicked would go unnoticed else.
    work.join_all().await;
    agents.end().await;

    let mut history = recorder.take();
    history.changes = audit::read(&mut stage.connect().await?).await?;
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    let verdict = judge::judge(&mut history, nanos);
    let good = report::print(&history, &weather, &verdict, bound);
    println!("\n{} (seed {seed})", if good { "held" } else { "NOT held" });
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Waits until all agents are there.
async fn until_ready(stage: &Stage, agents: &Agents) -> Result<(), XtaskError> {
    let start = Instant::now();
    while let Some(missing) = agents.missing() {
        if let Some(lost) = stage.lost().await.pop() {
            return Err(lost.into());
        }
        if start.elapsed() > READY_LIMIT {
            return Err(XtaskError::NotReady {
                service: SLOTS[missing],
                seconds: READY_LIMIT.as_secs(),
                log: stage.log(missing).await,
            });
        }
        tokio::time::sleep(READY_POLL).await;
    }
    Ok(())
}

/// What runs must be of the same source as this program, and of the same profile.
async fn build() -> Result<(), XtaskError> {
    println!("building the processes");
    let mut build = cargo();
    build.arg("build");
    // In one go: by themselves the packages would want other features of what they depend on.
    for package in ["tasker-shared", "tasker-worker", "tasker-orchestration"] {
        build.args(["--package", package]);
    }
    build.args(["--bins", "--example", "chaos_agent"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    succeed(build).await
}
