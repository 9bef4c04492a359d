//! Tasks under random faults, and the judge's verdict on how they ran.
//!
//! A soak does the same without faults of processes, and compares the levels of their resources.
//!
//! Three workers and two orchestration services run as processes. Handlers note each attempt in a
//! table of their own and in their output, and commit some effects together with their results.

pub(crate) mod agent;
mod disturb;
mod history;
pub(crate) mod judge;
mod load;
mod members;
mod operators;
mod shapes;
mod summary;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tasker_test_support::PostgresServer;
use tokio::task::JoinSet;

use crate::clock::MILLISECOND;
use crate::error::Result;
use crate::processes::{Ending, Processes};
use crate::report::Misses;
use crate::soak::levels::Levels;
use crate::world::{Servers, World};
use disturb::Disturbed;
use history::History;
use members::{MEMBERS, ORCHESTRATIONS, STALENESS_MS};

/// The time that tasks may take to end when faults have stopped.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);
const SETTLE_POLL: Duration = Duration::from_millis(200);
/// The time in which each fault of servers and links happens once.
const FIRST_LAP: Duration = Duration::from_mins(2);
/// The time between two readings of levels.
const LAP: Duration = Duration::from_mins(5);
/// Nothing runs for so long before levels are read, so that idle threads end.
const IDLE: Duration = Duration::from_secs(15);

/// The state that load and faults share.
struct Chaos {
    world: World,
    processes: Processes,
    history: Mutex<History>,
    /// Requests for tasks that were not answered with 201, by status.
    refusals: Mutex<BTreeMap<String, usize>>,
    last_process: AtomicU16,
    last_marker: AtomicU32,
    ending: AtomicBool,
}

impl Chaos {
    fn note<T>(&self, note: impl FnOnce(&mut History) -> T) -> T {
        note(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note_refusal(&self, status: String) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(status).or_default() += 1;
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    fn next_process(&self) -> u16 {
        self.last_process.fetch_add(1, Ordering::Relaxed)
    }
}

/// Runs tasks under faults, prints the report, and returns true if every promise held.
pub(crate) async fn run(length: Duration, seed: u64) -> Result<bool> {
    println!("chaos of steps for {length:?}, seed {seed}");
    let chaos = start().await?;
    let (disturbed, settled) = disturb(&chaos, length, seed, false).await?;
    Ok(report(&chaos, &disturbed, settled).await?.conclude(seed))
}

/// Runs tasks under faults of servers and links, in processes that stay. Returns true if every promise
/// held and all levels are even.
pub(crate) async fn soak(length: Duration, seed: u64) -> Result<bool> {
    println!("soak of steps for {length:?}, seed {seed}");
    let chaos = start().await?;
    let (mut disturbed, mut settled) = disturb(&chaos, FIRST_LAP, seed, true).await?;
    let before = levels(&chaos).await?;
    println!("after each fault once: {before}");
    let mut after = before.clone();
    let started = Instant::now();
    while let Some(rest) = length.checked_sub(started.elapsed()) {
        let seed = seed.wrapping_add(1000 * rest.as_secs());
        let (more, took) = disturb(&chaos, rest.min(LAP), seed, true).await?;
        disturbed.add(more);
        settled = settled.max(took);
        after = levels(&chaos).await?;
        println!("after {:.0?}: {after}", started.elapsed());
    }
    let mut misses = report(&chaos, &disturbed, settled).await?;
    after.compare(&before, &mut misses);
    Ok(misses.conclude(seed))
}

/// Starts the servers and all members, with the templates.
async fn start() -> Result<Arc<Chaos>> {
    let postgres = Arc::new(PostgresServer::start().await?);
    let world = World::start(&postgres, Servers::default(), MEMBERS.len()).await?;
    let chaos = Arc::new(Chaos {
        processes: Processes::new(&world, members::all(&world))?,
        world,
        history: Mutex::default(),
        refusals: Mutex::default(),
        last_process: AtomicU16::new(1),
        last_marker: AtomicU32::new(0),
        ending: AtomicBool::new(false),
    });
    // The first service creates the schema.
    chaos.start(ORCHESTRATIONS.start).await?;
    let mut connection = chaos.world.connect().await?;
    let tables = sqlx::raw_sql(include_str!("schema.sql"));
    tables.execute(&mut connection).await?;
    load::prepare(&chaos, &mut connection).await?;
    for member in (0..MEMBERS.len()).filter(|member| *member != ORCHESTRATIONS.start) {
        chaos.start(member).await?;
    }
    Ok(chaos)
}

/// Runs tasks under faults for so long, and waits until all have ended. Returns what happened, and how
/// long the end took.
async fn disturb(
    chaos: &Arc<Chaos>,
    length: Duration,
    seed: u64,
    processes_stay: bool,
) -> Result<(Disturbed, Duration)> {
    chaos.ending.store(false, Ordering::Relaxed);
    let mut work = JoinSet::new();
    load::start(chaos, seed, &mut work);
    let timer = Arc::clone(chaos);
    work.spawn(async move {
        tokio::time::sleep(length).await;
        timer.ending.store(true, Ordering::Relaxed);
    });
    let disturbed = disturb::run(chaos, seed, processes_stay).await?;
    // Panics if one of them did, which would go unnoticed otherwise.
    work.join_all().await;
    Ok((disturbed, settle(chaos).await?))
}

/// Reads the levels while nothing runs.
async fn levels(chaos: &Chaos) -> Result<Levels> {
    tokio::time::sleep(IDLE).await;
    let mut levels = Levels::of_servers(&chaos.world).await?;
    chaos.processes.add_levels(&mut levels).await?;
    Ok(levels)
}

/// Stops all members, and prints the judge's verdict on the whole history.
async fn report(chaos: &Chaos, disturbed: &Disturbed, settled: Duration) -> Result<Misses> {
    answers(chaos).await;
    for member in 0..MEMBERS.len() {
        chaos.end(member, Ending::Stop).await?;
    }
    let mut history = chaos.note(std::mem::take);
    history::read(&mut history, &mut chaos.world.connect().await?).await?;
    let verdict = judge::judge(&history, STALENESS_MS * MILLISECOND);
    let refusals = chaos.refusals.lock();
    let refusals = std::mem::take(&mut *refusals.unwrap_or_else(PoisonError::into_inner));
    let misses = summary::print(&history, disturbed, &refusals, &verdict, settled);
    Ok(misses)
}

/// Waits until every task has ended. Returns how long that took.
async fn settle(chaos: &Chaos) -> Result<Duration> {
    let started = Instant::now();
    let mut connection = chaos.world.connect().await?;
    loop {
        let running: i64 =
            sqlx::query_scalar("SELECT count(*) FROM tasker.tasks WHERE ended_at IS NULL")
                .fetch_one(&mut connection)
                .await?;
        if running == 0 || started.elapsed() > SETTLE_LIMIT {
            return Ok(started.elapsed());
        }
        tokio::time::sleep(SETTLE_POLL).await;
    }
}

/// Asks a service how each task ended that it had answered with 201.
async fn answers(chaos: &Chaos) {
    let tasks: Vec<_> = chaos.note(|history| {
        let tasks = history.tasks.iter();
        let asked = tasks.filter(|(_, task)| task.asked.is_some());
        asked.map(|(id, _)| *id).collect()
    });
    let url = chaos.processes.url(ORCHESTRATIONS.start);
    for id in tasks {
        let request = chaos.processes.http.get(format!("{url}/v1/tasks/{id}"));
        let answer: Option<serde_json::Value> = match request.send().await {
            Ok(answer) => answer.json().await.ok(),
            Err(_) => None,
        };
        let status = answer.and_then(|task| task["status"].as_str().map(str::to_owned));
        let status = status.unwrap_or_else(|| String::from("no answer"));
        chaos.note(|history| history.tasks.entry(id).or_default().answered = Some(status));
    }
}
