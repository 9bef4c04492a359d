//! Faults of servers and links, one after another, and faults of processes beside them.

use std::ops::Range;

use super::Chaos;
use super::members::{LEASE_SECONDS, MEMBERS, WORKERS};
use crate::error::Result;
use crate::fault::{Deck, Fault, Mode};
use crate::run::{LENGTH_MS, PAUSE_MS};

/// Some links fail for longer than a lease.
const LINK_MS: Range<u64> = 300..1000 * LEASE_SECONDS + 3000;
/// Redis fails for longer than a creator's answer may take, too.
const REDIS_MS: Range<u64> = 300..8000;
/// A frozen process stays so past its lease.
const FREEZE_MS: Range<u64> = 1000 * LEASE_SECONDS + 200..1000 * LEASE_SECONDS + 3000;
const PROCESS_PAUSE_MS: Range<u64> = 500..3000;

/// Lets faults happen until the run ends: of servers and links, and of processes unless they must
/// stay. Ends the run after each once if it is the first lap. Returns when everything is well again.
pub(super) async fn run(
    chaos: &Chaos,
    seed: u64,
    processes_stay: bool,
    is_first_lap: bool,
) -> Result {
    let (of_processes, of_servers): (Vec<_>, Vec<_>) =
        Fault::all(Mode::Steps).partition(|fault| fault.is_of_process());
    let (of_redis, others): (Vec<_>, Vec<_>) = of_servers
        .into_iter()
        .partition(|fault| fault.is_of_redis());
    // Steps hardly use Redis, so its faults are one card together if processes fail as well.
    let cards = if processes_stay { of_redis.len() } else { 1 };
    let cards = others.into_iter().chain(of_redis[..cards].iter().copied());
    let mut left = if is_first_lap {
        cards.clone().count()
    } else {
        usize::MAX
    };
    let mut deck = Deck::of(cards);
    let mut redis_deck = Deck::of(of_redis.into_iter());
    let servers = chaos.disturb(seed, PAUSE_MS, |random| {
        left = left.checked_sub(1)?;
        let mut fault = deck.draw(random);
        if fault.is_of_redis() {
            fault = redis_deck.draw(random);
        }
        let length = match fault {
            Fault::PostgresLink(_) => LINK_MS,
            _ if fault.is_of_redis() => REDIS_MS,
            _ => LENGTH_MS,
        };
        Some((fault, 0..MEMBERS.len(), length))
    });
    if processes_stay {
        return servers.await;
    }
    // Mostly workers, and each fault meets one of them first.
    let mut workers_first = of_processes.len();
    let mut deck = Deck::of(of_processes.into_iter());
    let processes = chaos.disturb(seed ^ 1, PROCESS_PAUSE_MS, |random| {
        let members = match workers_first {
            0 => 0..MEMBERS.len(),
            _ => WORKERS,
        };
        workers_first = workers_first.saturating_sub(1);
        let fault = deck.draw(random);
        let length = match fault {
            Fault::ProcessFrozen => FREEZE_MS,
            _ => LENGTH_MS,
        };
        Some((fault, members, length))
    });
    tokio::try_join!(servers, processes)?;
    Ok(())
}
