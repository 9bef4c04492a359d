//! Random faults for a long time, and the resources that are in use afterwards.
//!
//! Two subjects, with and without the local tier, resolve under all faults that a running Redis can
//! have, while others register and invalidate. Each fault happens once before the levels are read
//! first, so that every pool and buffer has grown to its size. Levels are read while nothing is
//! requested and Redis is well.

pub(crate) mod levels;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::error::{Failure, Result};
use crate::fault::{Fault, Mode};
use crate::report::Misses;
use crate::subject::load::Load;
use crate::subject::{IN_USE_LIMIT, Subject, Subjects, cache_on, in_use};
use crate::templates::{STAYING, VERSION, name};
use crate::world::{Servers, World};
use levels::{Kind, Levels};

const RESOLVERS: usize = 8;
const REGISTER_EVERY: Duration = Duration::from_millis(200);
const INVALIDATE_EVERY: Duration = Duration::from_secs(1);
/// The length of a fault in the first lap.
const FIRST_LAP: Duration = Duration::from_secs(1);
const LENGTH_MS: std::ops::Range<u64> = 200..3000;
/// Load without a fault, before and after each.
const CALM: Duration = Duration::from_millis(300);
/// The limit for a request. PostgreSQL is up to 20 ms slower at each round trip, and the machine
/// may be busy; a request that hangs with Redis takes up to three seconds.
const LONGEST: Duration = Duration::from_secs(2);
/// The time that tasks may take to end after the shutdown.
const END_LIMIT: Duration = Duration::from_secs(15);
/// Nothing is requested for so long before levels are read, so that connections are replaced.
const SETTLE: Duration = Duration::from_secs(3);
/// Levels are printed after so many faults.
const PRINT_EVERY: usize = 50;

struct Soak<'a> {
    subjects: &'a Subjects,
    world: World,
    under_test: Vec<Subject>,
    faults: usize,
    requests: usize,
    failed: usize,
    longest: Duration,
    slowest_return: Duration,
    never_back: bool,
}

/// Runs for so long, and returns true if no request failed and all levels are even.
pub(crate) async fn run(subjects: &Subjects, length: Duration, seed: u64) -> Result<bool> {
    println!("random faults for {} s, seed {seed}", length.as_secs());
    let tasks = || subjects.runtime.metrics().num_alive_tasks();
    let idle_tasks = tasks();
    let mut soak = Soak::start(subjects).await?;
    let faults: Vec<Fault> = Fault::all(Mode::Soak).collect();
    for fault in &faults {
        soak.run(*fault, FIRST_LAP).await?;
    }
    let before = soak.levels().await?;
    println!("after each fault once:  {before}");

    let mut random = StdRng::seed_from_u64(seed);
    let started = Instant::now();
    while started.elapsed() < length {
        let fault = faults[random.random_range(0..faults.len())];
        let lasts = Duration::from_millis(random.random_range(LENGTH_MS));
        soak.run(fault, lasts).await?;
        if soak.faults % PRINT_EVERY == 0 {
            println!("after {} faults:  {}", soak.faults, soak.levels().await?);
        }
    }
    let after = soak.levels().await?;
    println!("at the end:  {after}");
    for subject in std::mem::take(&mut soak.under_test) {
        subjects.stop(subject).await?;
    }
    let stopped = Instant::now();
    while tasks() > idle_tasks && stopped.elapsed() < END_LIMIT {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "{} faults, {} requests, {} failed, the longest took {:.0?}; Redis was in use again after \
         {:.0?} at most",
        soak.faults, soak.requests, soak.failed, soak.longest, soak.slowest_return
    );
    let mut misses = Misses::default();
    after.compare(&before, &mut misses);
    misses.wrong(soak.failed > 0, "requests failed");
    misses.wrong(soak.longest > LONGEST, "a request took too long");
    misses.wrong(soak.never_back, "Redis was not in use again after a fault");
    misses.wrong(tasks() > idle_tasks, "tasks were left after the shutdown");
    Ok(misses.conclude(seed))
}

impl<'a> Soak<'a> {
    async fn start(subjects: &'a Subjects) -> Result<Self> {
        let world = World::start(&subjects.postgres, Servers::default(), 1).await?;
        let mut under_test = Vec::new();
        for local_tier in [true, false] {
            let config = cache_on(&world, true, local_tier);
            let subject = subjects
                .start(world.links[0].postgres.url(), config)
                .await?;
            subject.until_connected().await?;
            under_test.push(subject);
        }
        Ok(Self {
            subjects,
            world,
            under_test,
            faults: 0,
            requests: 0,
            failed: 0,
            longest: Duration::ZERO,
            slowest_return: Duration::ZERO,
            never_back: false,
        })
    }

    /// Lets `fault` happen for about `length` under load, and waits until Redis is in use again.
    async fn run(&mut self, fault: Fault, length: Duration) -> Result {
        let start = |subject| Load::start(&self.subjects.runtime, subject, RESOLVERS);
        let loads: Vec<Load> = self.under_test.iter().map(start).collect();
        let play = async {
            tokio::time::sleep(CALM).await;
            fault.happen(&self.world, &self.world.links, length).await?;
            let over = Instant::now();
            for subject in &self.under_test {
                tokio::time::timeout(IN_USE_LIMIT, in_use(subject))
                    .await
                    .ok();
            }
            let back = over.elapsed();
            tokio::time::sleep(CALM).await;
            Ok::<_, Failure>(back)
        };
        let registrar = Some(&self.under_test[0]);
        let back = tokio::select! {
            back = play => back?,
            error = self.subjects.register(registrar, REGISTER_EVERY, |_| {}) => return Err(error),
            () = self.invalidate() => return Ok(()),
        };
        self.faults += 1;
        self.slowest_return = self.slowest_return.max(back);
        self.never_back |= back >= IN_USE_LIMIT;
        for load in loads {
            for sample in load.end().await? {
                self.requests += 1;
                self.failed += usize::from(sample.failed);
                self.longest = self.longest.max(sample.took);
            }
        }
        Ok(())
    }

    /// Invalidates one template, a namespace and all templates in turn. Never ends. Redis may fail at
    /// the moment, so the results say nothing.
    async fn invalidate(&self) {
        let registry = &self.under_test[1].registry;
        loop {
            tokio::time::sleep(INVALIDATE_EVERY).await;
            registry.invalidate_cache(STAYING, &name(0), VERSION).await;
            tokio::time::sleep(INVALIDATE_EVERY).await;
            registry.invalidate_namespace_templates(STAYING).await;
            tokio::time::sleep(INVALIDATE_EVERY).await;
            registry.invalidate_all_templates().await;
        }
    }

    async fn levels(&self) -> Result<Levels> {
        tokio::time::sleep(SETTLE).await;
        for subject in &self.under_test {
            subject.until_connected().await?;
        }
        let mut levels = Levels::of_servers(&self.world).await?;
        levels.add_process("this process", "/proc/self")?;
        // This runtime runs registries and caches and nothing else.
        let tasks = self.subjects.runtime.metrics().num_alive_tasks();
        levels.add("the runtime", Kind::Tasks, tasks);
        Ok(levels)
    }
}
