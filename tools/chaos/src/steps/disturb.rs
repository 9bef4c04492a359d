//! Faults of servers and links, one after another, and faults of processes beside them.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Chaos;
use super::members::{LEASE_SECONDS, MEMBERS, WORKERS};
use crate::clock;
use crate::error::Result;
use crate::fault::{Deck, Fault, Mode};

const LENGTH_MS: Range<u64> = 300..2500;
/// Some links fail for longer than a lease.
const LINK_MS: Range<u64> = 300..1000 * LEASE_SECONDS + 3000;
const PAUSE_MS: Range<u64> = 200..800;
/// A frozen process stays so past its lease.
const FREEZE_MS: Range<u64> = 1000 * LEASE_SECONDS + 200..1000 * LEASE_SECONDS + 3000;
const PROCESS_PAUSE_MS: Range<u64> = 500..3000;

/// Lets faults happen until the run ends: of servers and links, and of processes unless they must
/// stay. Returns when everything is well again.
pub(super) async fn run(chaos: &Chaos, seed: u64, processes_stay: bool) -> Result {
    let of_processes = async {
        if processes_stay {
            return Ok(());
        }
        processes(chaos, seed ^ 1).await
    };
    tokio::try_join!(servers(chaos, seed, processes_stay), of_processes)?;
    Ok(())
}

async fn servers(chaos: &Chaos, seed: u64, processes_stay: bool) -> Result {
    let mut random = StdRng::seed_from_u64(seed);
    let all = || Fault::all(Mode::Steps).filter(|fault| !fault.is_of_process());
    // Steps hardly use Redis, so its faults are one card together if processes fail as well.
    let cards = if processes_stay { usize::MAX } else { 1 };
    let of_redis = || all().filter(|fault| fault.is_of_redis());
    let others = all().filter(|fault| !fault.is_of_redis());
    let mut deck = Deck::of(others.chain(of_redis().take(cards)));
    let mut redis_deck = Deck::of(of_redis());
    while !chaos.is_ending() {
        let mut fault = deck.draw(&mut random);
        if fault.is_of_redis() {
            fault = redis_deck.draw(&mut random);
        }
        let member = random.random_range(0..MEMBERS.len());
        let length = match fault {
            Fault::PostgresLink(_) => LINK_MS,
            _ => LENGTH_MS,
        };
        happen(chaos, fault, member, length, &mut random).await?;
        clock::pause(&mut random, PAUSE_MS).await;
    }
    Ok(())
}

async fn processes(chaos: &Chaos, seed: u64) -> Result {
    let mut random = StdRng::seed_from_u64(seed);
    let all = || Fault::all(Mode::Steps).filter(|fault| fault.is_of_process());
    let mut deck = Deck::of(all());
    let mut workers_first = all().count();
    while !chaos.is_ending() {
        clock::pause(&mut random, PROCESS_PAUSE_MS).await;
        let fault = deck.draw(&mut random);
        // Mostly workers, and each fault meets one of them first.
        let members = if workers_first > 0 {
            WORKERS
        } else {
            0..MEMBERS.len()
        };
        workers_first = workers_first.saturating_sub(1);
        let length = match fault {
            Fault::ProcessFrozen => FREEZE_MS,
            _ => LENGTH_MS,
        };
        let member = random.random_range(members);
        happen(chaos, fault, member, length, &mut random).await?;
    }
    Ok(())
}

async fn happen(
    chaos: &Chaos,
    fault: Fault,
    member: usize,
    length: Range<u64>,
    random: &mut StdRng,
) -> Result {
    let member = fault.meets_one().then_some(member);
    let length = Duration::from_millis(random.random_range(length));
    chaos.happen(fault, member, length).await
}
