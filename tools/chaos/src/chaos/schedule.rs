//! Faults, one after another at random.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

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

/// Lets faults happen until the run ends. Returns when everything is well again: the times in which
/// nothing failed and all members listened for notifications.
pub(super) async fn run(run: &Run, seed: u64) -> Result<Vec<(u64, u64)>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut calms = Vec::new();
    let mut coming = Deck::of(Fault::all(Mode::Chaos));
    let mut faults = 0;
    while !run.is_ending() {
        if faults % FAULTS_BETWEEN_CALMS == 0 {
            calms.extend(calm(run).await?);
        }
        faults += 1;
        let fault = coming.draw(&mut random);
        let members = if fault == Fault::ProcessKilled {
            AGENTS
        } else {
            0..MEMBERS.len()
        };
        let member = fault.meets_one().then(|| random.random_range(members));
        let length = Duration::from_millis(random.random_range(LENGTH_MS));
        run.happen(fault, member, length).await?;
        clock::pause(&mut random, PAUSE_MS).await;
    }
    Ok(calms)
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
