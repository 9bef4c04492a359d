//! Real processes under random faults, and the judge's verdict on every read.
//!
//! Two agents read and register through the library, a worker and an orchestration service are read
//! over HTTP, and two writers send SQL. The judge takes the order of commits from triggers of this
//! mode's own ([`audit`]).

pub(crate) mod agent;
mod audit;
mod collector;
mod processes;
mod readers;
mod schedule;
mod summary;
mod writers;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use tasker_test_support::PostgresServer;
use tokio::task::JoinSet;

use crate::clock;
use crate::error::ChaosError;
use crate::fault::Fault;
use crate::judge::history::History;
use crate::judge::judge;
use crate::world::World;
use collector::Collector;
use processes::{AGENTS, MEMBERS, ORCHESTRATION, Processes, WORKER};

/// How to run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    /// How long faults happen, in minutes. Default: one.
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: Option<u64>,
    /// How long faults happen, in seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Decides which faults happen and which templates are read and written. Default: random.
    #[arg(long)]
    seed: Option<u64>,
    /// The bound, in milliseconds; 0 demands linearizable reads.
    #[arg(long, default_value_t = 1000)]
    max_staleness_ms: u32,
}

/// The state that readers, writers and faults share.
struct Run {
    world: World,
    processes: Processes,
    history: Arc<Mutex<History>>,
    ending: AtomicBool,
    sql_writes: AtomicU32,
}

impl Run {
    fn note<T>(&self, note: impl FnOnce(&mut History) -> T) -> T {
        noted(&self.history, note)
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }
}

fn noted<T>(history: &Mutex<History>, note: impl FnOnce(&mut History) -> T) -> T {
    note(&mut history.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Runs processes under faults, prints the report, and returns true if every promise held.
pub(crate) async fn run(options: Options) -> Result<bool, ChaosError> {
    let seconds = options.seconds.unwrap_or(60 * options.minutes.unwrap_or(1));
    let seed = options.seed.unwrap_or_else(rand::random);
    let bound = options.max_staleness_ms;
    println!("chaos for {seconds} s, seed {seed}, max_staleness_ms {bound}");

    let postgres = Arc::new(PostgresServer::start().await?);
    let history = Arc::new(Mutex::new(History::default()));
    let collector = Collector::listen(Arc::clone(&history)).await?;
    let world = World::start(&postgres, Fault::Nothing, Duration::ZERO, MEMBERS.len()).await?;
    let processes = Processes::new(&world, &collector.address, bound, &history)?;
    for member in [WORKER, ORCHESTRATION] {
        processes.start(member).await?;
    }
    let run = Arc::new(Run {
        world,
        processes,
        history,
        ending: AtomicBool::new(false),
        sql_writes: AtomicU32::new(0),
    });
    let mut connection = run.world.connect().await?;
    audit::install(&mut connection).await?;
    writers::prepare(&run, &mut connection).await?;
    drop(connection);
    for agent in AGENTS {
        run.processes.start(agent).await?;
    }
    collector.until_connected(AGENTS.len()).await?;

    let mut work = JoinSet::new();
    readers::start(&run, seed, &mut work);
    writers::start(&run, seed, &mut work);
    let timer = Arc::clone(&run);
    work.spawn(async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        timer.ending.store(true, Ordering::Relaxed);
    });
    let happened = schedule::run(&run, seed).await?;
    // Panics if a reader or a writer did, which would go unnoticed otherwise.
    work.join_all().await;
    collector.end().await;

    let mut history = run.note(std::mem::take);
    history.changes = audit::read(&mut run.world.connect().await?).await?;
    let verdict = judge(&mut history, u64::from(bound) * clock::MILLISECOND);
    Ok(summary::print(&history, &happened, &verdict, bound).conclude(seed))
}
