//! Faults, one after another at random.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tasker_test_support::TestkitError;

use super::Run;
use super::members::{AGENTS, MEMBERS};
use crate::clock;
use crate::error::Result;
use crate::fault::{Deck, Fault, Mode};

const LENGTH_MS: std::ops::Range<u64> = 300..2500;
const PAUSE_MS: std::ops::Range<u64> = 200..800;
/// A calm comes after so many faults.
const FAULTS_BETWEEN_CALMS: usize = 8;
const CALM: Duration = Duration::from_secs(3);
const LISTENER_POLL: Duration = Duration::from_millis(50);
/// The time that listeners may take to be back. One that was lost silently notices after ten
/// seconds.
const LISTENER_LIMIT: u64 = 15 * clock::SECOND;

/// A fault that happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Happened {
    pub(super) fault: Fault,
    /// The member that it met; `None`: all.
    pub(super) member: Option<usize>,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The faults of a run, and everything that was observed about processes meanwhile.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) faults: Vec<Happened>,
    /// Times in which nothing failed and all members listened for notifications.
    pub(super) calms: Vec<(u64, u64)>,
    /// Processes that ended although they were not killed.
    pub(super) lost: Vec<TestkitError>,
}

/// Lets faults happen until the run ends. Returns when everything is well again.
pub(super) async fn run(run: &Run, seed: u64) -> Result<Schedule> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut schedule = Schedule::default();
    let mut coming = Deck::of(Fault::all(Mode::Chaos));
    while !run.is_ending() {
        if schedule.faults.len() % FAULTS_BETWEEN_CALMS == 0 {
            schedule.calms.extend(calm(run).await?);
        }
        let fault = coming.draw(&mut random);
        let members = if fault == Fault::ProcessKilled {
            AGENTS
        } else {
            0..MEMBERS.len()
        };
        let member = fault.meets_one().then(|| random.random_range(members));
        let length = Duration::from_millis(random.random_range(LENGTH_MS));
        let start = clock::now();
        let lost = happen(run, fault, member, length).await?;
        schedule.lost.extend(lost);
        let end = clock::now();
        schedule.faults.push(Happened {
            fault,
            member,
            start,
            end,
        });
        let pause = random.random_range(PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Ok(schedule)
}

async fn happen(
    run: &Run,
    fault: Fault,
    member: Option<usize>,
    length: Duration,
) -> Result<Option<TestkitError>> {
    match (fault, member) {
        (Fault::ProcessKilled, Some(member)) => {
            let lost = run.kill(member).await?;
            tokio::time::sleep(length).await;
            run.start(member).await?;
            return Ok(lost);
        }
        (Fault::ProcessFrozen, Some(member)) => {
            run.processes.freeze(member, length).await?;
        }
        _ => {
            let links = match member {
                Some(member) => &run.world.links[member..=member],
                None => &run.world.links,
            };
            fault.happen(&run.world, links, length).await?;
        }
    }
    Ok(None)
}

/// Lets nothing happen for a while once all members listen, and returns when that was.
async fn calm(run: &Run) -> Result<Option<(u64, u64)>> {
    let began = clock::now();
    let members = i64::try_from(MEMBERS.len()).unwrap_or(i64::MAX);
    while run.world.listeners().await? < members {
        if clock::now() - began > LISTENER_LIMIT || run.is_ending() {
            return Ok(None);
        }
        tokio::time::sleep(LISTENER_POLL).await;
    }
    let start = clock::now();
    tokio::time::sleep(CALM).await;
    Ok(Some((start, clock::now())))
}
