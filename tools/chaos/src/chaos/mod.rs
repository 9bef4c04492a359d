//! Real processes under random faults, and the judge's verdict on every read.
//!
//! Two agents read and register through the library, a worker and an orchestration service are read
//! over HTTP, and two writers send SQL. The judge takes the order of commits from triggers of this
//! mode's own ([`audit`]).

pub(crate) mod agent;
mod audit;
mod members;
mod readers;
mod schedule;
mod summary;
mod writers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use tasker_test_support::{PostgresServer, TestkitError};
use tokio::task::JoinSet;

use crate::Course;
use crate::clock;
use crate::error::Result;
use crate::judge::history::History;
use crate::judge::judge;
use crate::processes::{Ending, Processes};
use crate::world::{Servers, World};
use members::{AGENTS, MEMBERS, ORCHESTRATION, WORKER};

/// A run, and its bound.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) course: Course,
    /// The bound, in milliseconds; 0 demands linearizable reads.
    #[arg(long, default_value_t = 1000, conflicts_with = "steps")]
    max_staleness_ms: u32,
}

/// The state that readers, writers and faults share.
struct Run {
    world: World,
    processes: Processes,
    history: Mutex<History>,
    ending: AtomicBool,
}

impl Run {
    fn note<T>(&self, note: impl FnOnce(&mut History) -> T) -> T {
        note(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Starts a member as a new process, and returns the number of the process.
    async fn start(&self, member: usize) -> Result<u16> {
        // The orchestration service reads the versions of a template from PostgreSQL before it asks
        // the registry.
        let process = self.note(|history| history.process(member, member == ORCHESTRATION));
        self.processes.start(member, process).await?;
        Ok(process)
    }

    /// Kills an agent and notes its output. Returns an error if it had ended by itself before.
    async fn kill(&self, member: usize) -> Result<Option<TestkitError>> {
        let (process, output, lost) = self.processes.end(member, Ending::Kill).await?;
        self.note(|history| {
            for line in output.lines() {
                agent::note(history, process, line);
            }
        });
        Ok(lost)
    }
}

/// Runs processes under faults, prints the report, and returns true if every promise held.
pub(crate) async fn run(options: Options) -> Result<bool> {
    let (length, seed) = (options.course.length(1), options.course.seed());
    let bound = options.max_staleness_ms;
    println!("chaos for {length:?}, seed {seed}, max_staleness_ms {bound}");

    let postgres = Arc::new(PostgresServer::start().await?);
    let world = World::start(&postgres, Servers::default(), MEMBERS.len()).await?;
    let run = Arc::new(Run {
        processes: Processes::new(&world, members::all(bound))?,
        world,
        history: Mutex::default(),
        ending: AtomicBool::new(false),
    });
    let mut work = JoinSet::new();
    for service in [WORKER, ORCHESTRATION] {
        let process = run.start(service).await?;
        readers::start(&run, service, process, seed, &mut work);
    }
    let mut connection = run.world.connect().await?;
    audit::install(&mut connection).await?;
    let prepared = writers::prepare(&run, &mut connection).await;
    prepared.ok_or("the templates could not be written")?;
    drop(connection);
    for agent in AGENTS {
        run.start(agent).await?;
    }
    writers::start(&run, seed, &mut work);
    let timer = Arc::clone(&run);
    work.spawn(async move {
        tokio::time::sleep(length).await;
        timer.ending.store(true, Ordering::Relaxed);
    });
    let mut happened = schedule::run(&run, seed).await?;
    // Panics if a reader or a writer did, which would go unnoticed otherwise.
    work.join_all().await;
    happened.lost.extend(run.processes.lost().await);
    for agent in AGENTS {
        run.kill(agent).await?;
    }

    let mut history = run.note(std::mem::take);
    history.changes = audit::read(&mut run.world.connect().await?).await?;
    let verdict = judge(&mut history, u64::from(bound) * clock::MILLISECOND);
    Ok(summary::print(&history, &happened, &verdict, bound).conclude(seed))
}
