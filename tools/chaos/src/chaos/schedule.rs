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

/// Lets faults happen until the run ends. Returns when everything is well again.
pub(super) async fn run(run: &Run, seed: u64) -> Result {
    let mut random = StdRng::seed_from_u64(seed);
    let mut coming = Deck::of(Fault::all(Mode::Chaos));
    while !run.is_ending() {
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
    Ok(())
}
