//! Faults of servers and links, one after another, and faults of processes beside them.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tasker_test_support::TestkitError;

use super::history::process_of;
use super::members::{LEASE_SECONDS, MEMBERS, WORKERS};
use super::{Chaos, agent};
use crate::clock;
use crate::error::{Failure, Result};
use crate::fault::{Deck, Fault, Mode};
use crate::processes::Ending;

const LENGTH_MS: std::ops::Range<u64> = 300..2500;
const PAUSE_MS: std::ops::Range<u64> = 200..1500;
/// A frozen process stays so past its lease.
const FREEZE_MS: std::ops::Range<u64> = 1000 * LEASE_SECONDS + 200..1000 * LEASE_SECONDS + 3000;
/// A process that cannot start is started again so often.
const START_ATTEMPTS: u32 = 20;
const START_PAUSE: Duration = Duration::from_millis(500);
const PROCESS_PAUSE_MS: std::ops::Range<u64> = 500..3000;

/// The faults of a run, and what was observed about processes.
#[derive(Debug, Default)]
pub(super) struct Disturbed {
    pub(super) faults: BTreeMap<Fault, usize>,
    /// Processes that ended although they were not ended.
    pub(super) lost: Vec<TestkitError>,
}

impl Disturbed {
    pub(super) fn add(&mut self, other: Self) {
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.lost.extend(other.lost);
    }
}

/// Lets faults happen until the run ends: of servers and links, and of processes unless they must
/// stay. Returns when everything is well again.
pub(super) async fn run(chaos: &Chaos, seed: u64, processes_stay: bool) -> Result<Disturbed> {
    let of_processes = async {
        if processes_stay {
            return Ok(Disturbed::default());
        }
        processes(chaos, seed ^ 1).await
    };
    let (faults, mut disturbed) = tokio::try_join!(servers(chaos, seed), of_processes)?;
    let lost = chaos.processes.lost().await;
    disturbed.add(Disturbed { faults, lost });
    Ok(disturbed)
}

async fn servers(chaos: &Chaos, seed: u64) -> Result<BTreeMap<Fault, usize>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut happened = BTreeMap::new();
    let mut deck = Deck::of(Fault::all(Mode::Steps).filter(|fault| !fault.is_of_process()));
    while !chaos.is_ending() {
        let fault = deck.draw(&mut random);
        let member = random.random_range(0..MEMBERS.len());
        let links = if fault.meets_one() {
            &chaos.world.links[member..=member]
        } else {
            &chaos.world.links
        };
        let length = Duration::from_millis(random.random_range(LENGTH_MS));
        fault.happen(&chaos.world, links, length).await?;
        *happened.entry(fault).or_default() += 1;
        clock::pause(&mut random, PAUSE_MS).await;
    }
    Ok(happened)
}

async fn processes(chaos: &Chaos, seed: u64) -> Result<Disturbed> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut disturbed = Disturbed::default();
    let mut deck = Deck::of(Fault::all(Mode::Steps).filter(|fault| fault.is_of_process()));
    while !chaos.is_ending() {
        clock::pause(&mut random, PROCESS_PAUSE_MS).await;
        let fault = deck.draw(&mut random);
        // Mostly workers.
        let member = random.random_range(0..MEMBERS.len());
        let ending = match fault {
            Fault::ProcessFrozen => {
                freeze(chaos, member, &mut random).await?;
                *disturbed.faults.entry(fault).or_default() += 1;
                continue;
            }
            Fault::ProcessStopped => Ending::Stop,
            _ => Ending::Kill,
        };
        disturbed.lost.extend(chaos.end(member, ending).await?);
        *disturbed.faults.entry(fault).or_default() += 1;
        clock::pause(&mut random, LENGTH_MS).await;
        chaos.start(member).await?;
    }
    Ok(disturbed)
}

async fn freeze(chaos: &Chaos, member: usize, random: &mut StdRng) -> Result {
    let length = Duration::from_millis(random.random_range(FREEZE_MS));
    let start = clock::now();
    let frozen = chaos.processes.freeze(member, length).await?;
    if let Some(process) = frozen.filter(|_| WORKERS.contains(&member)) {
        let freeze = (process_of(process), start, clock::now());
        chaos.note(|history| history.freezes.push(freeze));
    }
    Ok(())
}

impl Chaos {
    /// Starts a member as a new process, as a supervisor does: again if it ends because PostgreSQL
    /// cannot be reached.
    pub(super) async fn start(&self, member: usize) -> Result {
        let mut attempt = 1;
        loop {
            let number = self.next_process();
            match self.processes.start(member, number).await {
                Err(error) if attempt < START_ATTEMPTS && has_exited(&error) => {
                    attempt += 1;
                    tokio::time::sleep(START_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Ends the process of a member and notes its output. Returns an error if it had ended by itself
    /// before.
    pub(super) async fn end(&self, member: usize, ending: Ending) -> Result<Option<TestkitError>> {
        let (process, output, lost) = self.processes.end(member, ending).await?;
        let moment = clock::now();
        self.note(|history| {
            history.ends.insert(process_of(process), moment);
            history.spans.extend(agent::spans(process, &output));
            history.refused += output.matches(REFUSED).count();
        });
        Ok(lost)
    }
}

/// Returns true if a process ended before it was ready.
fn has_exited(error: &Failure) -> bool {
    let error = error.downcast_ref::<TestkitError>();
    matches!(error, Some(TestkitError::Exited { .. }))
}

/// A worker's words for a late result.
const REFUSED: &str = "a late result was refused";
