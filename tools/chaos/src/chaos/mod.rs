//! Real processes under random faults, and the judge's verdict on every read.
//!
//! Two agents read and register through the library, a worker and an orchestration service are read
//! over HTTP, and two writers send SQL. The judge takes the order of commits from triggers of this
//! mode's own ([`audit`]).

pub(crate) mod agent;
mod audit;
mod members;
mod readers;
mod summary;
mod writers;

use clap::Args;
use tokio::task::JoinSet;

use crate::Course;
use crate::clock;
use crate::error::Result;
use crate::fault::{Deck, Fault, Mode};
use crate::judge::history::History;
use crate::judge::judge;
use crate::run::{LENGTH_MS, Notes, PAUSE_MS};
use members::{AGENTS, MEMBERS, ORCHESTRATION, WORKER};

/// A run, and its bound.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) course: Course,
    /// Run tasks in processes of workers and services, and judge how they end, instead of reads.
    #[arg(long)]
    pub(crate) steps: bool,
    /// The bound, in milliseconds; 0 demands linearizable reads.
    #[arg(long, default_value_t = 1000, conflicts_with = "steps")]
    max_staleness_ms: u32,
}

type Run = crate::run::Run<History>;

impl Notes for History {
    fn started(&mut self, member: usize) -> u16 {
        // The orchestration service reads the versions of a template from PostgreSQL before it asks
        // the registry.
        self.process(member, member == ORCHESTRATION)
    }

    fn ended(&mut self, process: u16, output: &str) {
        for line in output.lines() {
            agent::note(self, process, line);
        }
    }
}

/// Runs processes under faults, prints the report, and returns true if every promise held.
pub(crate) async fn run(options: Options) -> Result<bool> {
    let (length, seed) = (options.course.length(1), options.course.seed());
    let bound = options.max_staleness_ms;
    println!("chaos for {length:?}, seed {seed}, max_staleness_ms {bound}");

    let run = Run::start(members::all(bound)).await?;
    let mut work = JoinSet::new();
    for service in [WORKER, ORCHESTRATION] {
        let process = run.start_member(service).await?;
        readers::start(&run, service, process, seed, &mut work);
    }
    let mut connection = run.world.connect().await?;
    audit::install(&mut connection).await?;
    let prepared = writers::prepare(&run, &mut connection).await;
    prepared.ok_or("the templates could not be written")?;
    drop(connection);
    for agent in AGENTS {
        run.start_member(agent).await?;
    }
    writers::start(&run, seed, &mut work);
    run.end_after(length, &mut work);
    let mut deck = Deck::of(Fault::all(Mode::Chaos));
    run.disturb(seed, PAUSE_MS, |random| {
        let fault = deck.draw(random);
        let members = match fault {
            Fault::ProcessKilled => AGENTS,
            _ => 0..MEMBERS.len(),
        };
        Some((fault, members, LENGTH_MS))
    })
    .await?;
    // Panics if a reader or a writer did, which would go unnoticed otherwise.
    work.join_all().await;
    let (mut history, disturbed) = run.finish().await?;
    history.changes = audit::read(&mut run.world.connect().await?).await?;
    let verdict = judge(&mut history, u64::from(bound) * clock::MILLISECOND);
    Ok(summary::print(&history, &disturbed, &verdict, bound).conclude(seed))
}
