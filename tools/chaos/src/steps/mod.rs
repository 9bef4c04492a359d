//! Tasks under random faults, and the judge's verdict on how they ran.
//!
//! A soak does the same without faults of processes, and compares the levels of their resources.
//!
//! Three workers and two orchestration services run as processes. Handlers note each attempt in their
//! output, and commit some effects together with their results.

pub(crate) mod agent;
mod disturb;
mod history;
pub(crate) mod judge;
pub(crate) mod levels;
mod load;
mod members;
mod operators;
mod shapes;
mod summary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::clock::{self, MILLISECOND};
use crate::error::Result;
use crate::report::Misses;
use crate::run::Notes;
use history::{History, Refusal};
use levels::Levels;
use members::{MEMBERS, ORCHESTRATIONS, STALENESS_MS};

/// The time that tasks may take to end when faults have stopped.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);
const SETTLE_POLL: Duration = Duration::from_millis(200);
/// A run of this length lets each fault happen, and must have noticed it.
const FAIR_LENGTH: Duration = Duration::from_mins(1);
/// The time between two readings of levels.
const LAP: Duration = Duration::from_mins(5);
/// Nothing runs for so long before levels are read, so that idle threads end.
const IDLE: Duration = Duration::from_secs(15);

type Chaos = crate::run::Run<History>;

/// A worker's words for a late result.
const REFUSED: &str = "a late result was refused";

impl Notes for History {
    fn started(&mut self, member: usize) -> u16 {
        self.processes.push(member);
        u16::try_from(self.processes.len() - 1).unwrap_or(u16::MAX)
    }

    fn ended(&mut self, process: u16, output: &str) {
        let process = usize::from(process);
        self.ends.insert(process, clock::now());
        self.runs.extend(agent::runs(process, output));
        self.refused += output.matches(REFUSED).count();
    }
}

impl Chaos {
    /// Notes a request that was not carried out.
    fn refused(
        &self,
        answer: &reqwest::Result<reqwest::Response>,
        to: &str,
        member: usize,
        start: u64,
    ) {
        let status = answer.as_ref().map_or("no answer".into(), |answer| {
            answer.status().as_str().to_owned()
        });
        let (status, end) = (status + to, clock::now());
        let refusal = Refusal {
            status,
            member,
            start,
            end,
        };
        self.note(|history| history.refusals.push(refusal));
    }
}

/// Runs tasks under faults, prints the report, and returns true if every promise held.
pub(crate) async fn run(length: Duration, seed: u64) -> Result<bool> {
    println!("chaos of steps for {length:?}, seed {seed}");
    let chaos = start().await?;
    let settled = disturb(&chaos, Some(length), seed, false).await?;
    let (history, mut misses) = report(&chaos, settled).await?;
    if length >= FAIR_LENGTH {
        summary::happened(&history, &mut misses);
    }
    Ok(misses.conclude(seed))
}

/// Runs tasks under faults of servers and links, in processes that stay. Returns true if every promise
/// held and all levels are even.
pub(crate) async fn soak(length: Duration, seed: u64) -> Result<bool> {
    println!("soak for {length:?}, seed {seed}");
    let chaos = start().await?;
    let mut settled = disturb(&chaos, None, seed, true).await?;
    let before = levels(&chaos).await?;
    println!("after each fault once: {before}");
    let mut after = before.clone();
    let started = Instant::now();
    while let Some(rest) = length.checked_sub(started.elapsed()) {
        let seed = seed.wrapping_add(1000 * rest.as_secs());
        let took = disturb(&chaos, Some(rest.min(LAP)), seed, true).await?;
        settled = settled.max(took);
        after = levels(&chaos).await?;
        println!("after {:.0?}: {after}", started.elapsed());
    }
    let without_redis = without_redis(&chaos).await;
    let (_, mut misses) = report(&chaos, settled).await?;
    for it in without_redis {
        misses.wrong(true, format!("Redis was not in use again: {it}"));
    }
    after.compare(&before, &mut misses);
    Ok(misses.conclude(seed))
}

/// Starts the servers and all members, with the templates.
async fn start() -> Result<Arc<Chaos>> {
    let chaos = Chaos::start(members::all()).await?;
    // The first service creates the schema.
    chaos.start_member(ORCHESTRATIONS.start).await?;
    let mut connection = chaos.world.connect().await?;
    let tables = sqlx::raw_sql(include_str!("schema.sql"));
    tables.execute(&mut connection).await?;
    load::prepare(&chaos, &mut connection).await?;
    for member in (0..MEMBERS.len()).filter(|member| *member != ORCHESTRATIONS.start) {
        chaos.start_member(member).await?;
    }
    Ok(chaos)
}

/// Runs tasks under faults for so long, or until each of servers and links happened once, and waits
/// until all have ended. Returns how long that took.
async fn disturb(
    chaos: &Arc<Chaos>,
    length: Option<Duration>,
    seed: u64,
    processes_stay: bool,
) -> Result<Duration> {
    let mut work = JoinSet::new();
    load::start(chaos, seed, &mut work);
    if let Some(length) = length {
        chaos.end_after(length, &mut work);
    }
    disturb::run(chaos, seed, processes_stay, length.is_none()).await?;
    // Panics if one of them did, which would go unnoticed otherwise.
    work.join_all().await;
    settle(chaos).await
}

/// Reads the levels while nothing runs.
async fn levels(chaos: &Chaos) -> Result<Levels> {
    tokio::time::sleep(IDLE).await;
    let mut levels = Levels::of_servers(&chaos.world).await?;
    chaos.processes.add_levels(&mut levels).await?;
    Ok(levels)
}

/// Returns the members that do not use Redis, with their reports of it.
async fn without_redis(chaos: &Chaos) -> Vec<String> {
    let mut found = Vec::new();
    for (member, name) in MEMBERS.into_iter().enumerate() {
        let url = format!("{}/health/detailed", chaos.processes.url(member));
        let report = get(chaos, &url).await.unwrap_or_default();
        let cache = &report["checks"]["cache"];
        if cache["enabled"] != true || cache["healthy"] != true {
            found.push(format!("{name}, {cache}"));
        }
    }
    found
}

/// Returns the answer to a request, if it is JSON.
async fn get(chaos: &Chaos, url: &str) -> Option<serde_json::Value> {
    let answer = chaos.processes.http.get(url).send().await;
    answer.ok()?.json().await.ok()
}

/// Stops all members, and prints the judge's verdict on the whole history.
async fn report(chaos: &Chaos, settled: Duration) -> Result<(History, Misses)> {
    answers(chaos).await;
    let (mut history, disturbed) = chaos.finish().await?;
    history.faults = disturbed.faults;
    history::read(&mut history, &mut chaos.world.connect().await?).await?;
    let verdict = judge::judge(&history, STALENESS_MS * MILLISECOND);
    let misses = summary::print(&history, &disturbed.lost, &verdict, settled);
    Ok((history, misses))
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
        let answer = get(chaos, &format!("{url}/v1/tasks/{id}")).await;
        let status = answer.and_then(|task| task["status"].as_str().map(str::to_owned));
        let status = status.unwrap_or_else(|| String::from("no answer"));
        chaos.note(|history| history.answered(id, &status));
    }
}
