//! The state that the parts of a run with processes share: those that ask, and those that disturb.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tasker_test_support::{Exited, PostgresServer};
use tokio::task::JoinSet;

use crate::clock;
use crate::error::{Failure, Result};
use crate::fault::{Fault, Happened};
use crate::processes::{Ending, Member, Processes};
use crate::world::{Servers, World};

/// A process that cannot start is started again so often.
const START_ATTEMPTS: u32 = 20;
const START_PAUSE: Duration = Duration::from_millis(500);

/// The length of most faults, and the pause before one, in milliseconds.
pub(crate) const LENGTH_MS: Range<u64> = 300..2500;
pub(crate) const PAUSE_MS: Range<u64> = 200..800;

/// The notes of a mode about its processes.
pub(crate) trait Notes: Default + Send + 'static {
    /// Notes a process that starts, and returns its number.
    fn started(&mut self, member: usize) -> u16;

    /// Notes a process that has ended.
    fn ended(&mut self, process: u16, output: &str);
}

pub(crate) struct Run<H> {
    pub(crate) world: World,
    pub(crate) processes: Processes,
    notes: Mutex<H>,
    disturbed: Mutex<Disturbed>,
    ending: AtomicBool,
}

/// The faults of a run, and the processes that ended although they were not ended.
#[derive(Debug, Default)]
pub(crate) struct Disturbed {
    pub(crate) faults: Vec<Happened>,
    pub(crate) lost: Vec<Exited>,
}

impl<H: Notes> Run<H> {
    /// Starts the servers, and a link for each member.
    pub(crate) async fn start(members: Vec<Member>) -> Result<Arc<Self>> {
        let postgres = Arc::new(PostgresServer::start().await?);
        let world = World::start(&postgres, Servers::default(), members.len()).await?;
        Ok(Arc::new(Self {
            processes: Processes::new(&world, members)?,
            world,
            notes: Mutex::default(),
            disturbed: Mutex::default(),
            ending: AtomicBool::new(false),
        }))
    }

    pub(crate) fn note<T>(&self, note: impl FnOnce(&mut H) -> T) -> T {
        note(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn disturbed<T>(&self, note: impl FnOnce(&mut Disturbed) -> T) -> T {
        note(
            &mut self
                .disturbed
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Ends the run after so long.
    pub(crate) fn end_after(self: &Arc<Self>, length: Duration, work: &mut JoinSet<()>) {
        self.ending.store(false, Ordering::Relaxed);
        let run = Arc::clone(self);
        work.spawn(async move {
            tokio::time::sleep(length).await;
            run.ending.store(true, Ordering::Relaxed);
        });
    }

    /// Stops all members, and returns all that was noted.
    pub(crate) async fn finish(&self) -> Result<(H, Disturbed)> {
        for member in 0..self.world.links.len() {
            self.end(member, Ending::Stop).await?;
        }
        Ok((self.note(std::mem::take), self.disturbed(std::mem::take)))
    }

    /// Starts a member as a new process, as a supervisor does: again if it ends because PostgreSQL
    /// cannot be reached. Returns the number of the process.
    pub(crate) async fn start_member(&self, member: usize) -> Result<u16> {
        let mut attempt = 1;
        loop {
            let number = self.note(|notes| notes.started(member));
            match self.processes.start(member, number).await {
                Err(error) if attempt < START_ATTEMPTS && has_exited(&error) => {
                    attempt += 1;
                    tokio::time::sleep(START_PAUSE).await;
                }
                outcome => return outcome.map(|()| number),
            }
        }
    }

    /// Ends the process of a member. Notes its output, and whether it had ended by itself before.
    async fn end(&self, member: usize, ending: Ending) -> Result {
        let (process, output, lost) = self.processes.end(member, ending).await?;
        self.note(|notes| notes.ended(process, &output));
        self.disturbed(|disturbed| disturbed.lost.extend(lost));
        Ok(())
    }

    /// Lets faults happen until the run ends, one after another: those that `next` returns, with the
    /// members of which each may meet one, and the milliseconds that it may last. Ends the run if `next`
    /// returns none. Returns when all is well again.
    pub(crate) async fn disturb(
        &self,
        seed: u64,
        pause: Range<u64>,
        mut next: impl FnMut(&mut StdRng) -> Option<(Fault, Range<usize>, Range<u64>)>,
    ) -> Result {
        let mut random = StdRng::seed_from_u64(seed);
        while !self.is_ending() {
            clock::pause(&mut random, pause.clone()).await;
            let Some((fault, members, length)) = next(&mut random) else {
                self.ending.store(true, Ordering::Relaxed);
                break;
            };
            let member = fault.meets_one().then(|| random.random_range(members));
            let length = Duration::from_millis(random.random_range(length));
            self.happen(fault, member, length).await?;
        }
        Ok(())
    }

    /// Lets a fault happen for so long, to one member or to all. Returns when all is well again.
    async fn happen(&self, fault: Fault, member: Option<usize>, length: Duration) -> Result {
        let start = clock::now();
        match (fault, member) {
            (Fault::ProcessKilled | Fault::ProcessStopped, Some(member)) => {
                let ending = match fault {
                    Fault::ProcessKilled => Ending::Kill,
                    _ => Ending::Stop,
                };
                self.end(member, ending).await?;
                tokio::time::sleep(length).await;
                self.start_member(member).await?;
            }
            (Fault::ProcessFrozen, Some(member)) => self.processes.freeze(member, length).await?,
            _ => {
                let links = match member {
                    Some(member) => &self.world.links[member..=member],
                    None => &self.world.links,
                };
                fault.happen(&self.world, links, length).await?;
            }
        }
        let end = clock::now();
        let happened = Happened {
            fault,
            member,
            start,
            end,
        };
        self.disturbed(|disturbed| disturbed.faults.push(happened));
        Ok(())
    }
}

/// Returns true if a process ended before it was ready.
fn has_exited(error: &Failure) -> bool {
    error.is::<Exited>()
}
