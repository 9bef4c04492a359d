//! Faults at random for a long time, and what is left of them.
//!
//! Two processes, one with and one without the local tier, resolve under all faults that the table
//! has for a running process, one after the other, while others register and invalidate. Each
//! fault comes once before the levels are read first: by then every pool and buffer has been as
//! large as it gets. They are read while nothing is asked and Redis is well.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tasker_shared::cache::CacheService;

use crate::error::FaultsError;
use crate::fault::{Fault, Stage};
use crate::levels::{Levels, tasks};
use crate::load::Load;
use crate::templates::{COUNT, NAMESPACE, VERSION, document, name};
use crate::verdict::BACK_CEILING;
use crate::world::{LocalTier, Process, World, config};

/// Those that can happen to a Redis that was not prepared for them.
const FAULTS: [Fault; 14] = [
    Fault::Kill,
    Fault::KillEmpty,
    Fault::Freeze,
    Fault::Slow,
    Fault::Stalls,
    Fault::Refused,
    Fault::BlackHole,
    Fault::HalfOpen,
    Fault::Full,
    Fault::Replica,
    Fault::Password,
    Fault::Flush,
    Fault::Flapping,
    Fault::PostgresSlow,
];
const RESOLVERS: usize = 8;
const REGISTER_EVERY: Duration = Duration::from_millis(200);
const INVALIDATE_EVERY: Duration = Duration::from_secs(1);
/// How long a fault lasts in the first lap.
const FIRST_LAP: Duration = Duration::from_secs(1);
/// What a request may take. PostgreSQL is up to 20 ms slower at each round trip, and the machine may
/// be busy; a request that hangs with Redis takes up to three seconds.
const LONGEST: Duration = Duration::from_secs(2);
/// How long what is left after the shutdown may take to end.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long nothing is asked before levels are read: what was under way ends, and places without
/// a connection get one.
const SETTLE: Duration = Duration::from_secs(3);
/// What an interval of this many faults came to is printed.
const REPORT_EVERY: usize = 50;

/// What happened so far.
#[derive(Debug, Default)]
struct Tally {
    faults: usize,
    requests: usize,
    failed: usize,
    longest: Duration,
    slowest_return: Duration,
    never_back: usize,
}

/// What runs for the whole time.
struct Soak<'a> {
    world: &'a World,
    stage: Stage,
    processes: [Process; 2],
    tally: Tally,
}

/// Goes on for `length`; says whether no request failed and everything is level.
pub(crate) async fn run(world: &World, length: Duration, seed: u64) -> Result<bool, FaultsError> {
    println!("random faults for {} s, seed {seed}", length.as_secs());
    let idle_tasks = tasks(&world.subject);
    let mut soak = Soak::begin(world).await?;
    for fault in FAULTS {
        soak.let_happen(fault, FIRST_LAP).await?;
    }
    let before = soak.levels().await?;
    println!("after each fault once:  {before}");

    let mut random = StdRng::seed_from_u64(seed);
    let started = Instant::now();
    while started.elapsed() < length {
        let fault = FAULTS[random.random_range(0..FAULTS.len())];
        let lasts = Duration::from_millis(random.random_range(200..3000));
        soak.let_happen(fault, lasts).await?;
        if soak.tally.faults % REPORT_EVERY == 0 {
            println!(
                "after {} faults:  {}",
                soak.tally.faults,
                soak.levels().await?
            );
        }
    }
    let after = soak.levels().await?;
    println!("at the end:  {after}");
    let tally = soak.end().await?;
    println!(
        "{} faults, {} requests, {} failed, the longest took {:.0?}; Redis was in use again after \
         {:.0?} at most",
        tally.faults, tally.requests, tally.failed, tally.longest, tally.slowest_return
    );

    let mut misses = after.misses(before);
    if tally.failed > 0 {
        misses.push(format!("{} requests failed", tally.failed));
    }
    if tally.longest > LONGEST {
        misses.push(format!("a request took {:.0?}", tally.longest));
    }
    if tally.never_back > 0 {
        misses.push(format!(
            "Redis was not in use again {} times",
            tally.never_back
        ));
    }
    if let Some(left) = tasks_left(world, idle_tasks).await {
        misses.push(format!("{left} tasks were left after the shutdown"));
    }
    for miss in &misses {
        println!("**missed**: {miss}");
    }
    println!(
        "{} (seed {seed})",
        if misses.is_empty() {
            "level"
        } else {
            "NOT level"
        }
    );
    Ok(misses.is_empty())
}

impl<'a> Soak<'a> {
    async fn begin(world: &'a World) -> Result<Self, FaultsError> {
        let stage = Stage::set(Fault::Calm, Duration::ZERO, Some(world.database.url())).await?;
        let mut processes = Vec::new();
        for local_tier in [LocalTier::On, LocalTier::Off] {
            let config = config(stage.proxy.url(), local_tier, 1);
            let process = world.process(stage.database_url(world), &config).await?;
            process.until_connected().await?;
            processes.push(process);
        }
        let processes = processes
            .try_into()
            .map_err(|_| FaultsError::RedisNotUsed)?;
        Ok(Self {
            world,
            stage,
            processes,
            tally: Tally::default(),
        })
    }

    /// Has `fault` happen for about `length` under load, and waits until Redis is in use again.
    async fn let_happen(&mut self, fault: Fault, length: Duration) -> Result<(), FaultsError> {
        let loads = self
            .processes
            .each_ref()
            .map(|process| Load::with_resolvers(&self.world.subject, &process.registry, RESOLVERS));
        let play = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            fault.happen(&self.stage, length).await?;
            let over = Instant::now();
            let back = tokio::time::timeout(BACK_CEILING, self.until_in_use()).await;
            let back = back.is_ok().then(|| over.elapsed());
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok::<_, FaultsError>(back)
        };
        let back = tokio::select! {
            back = play => back?,
            error = self.register() => return Err(error),
            () = self.invalidate() => None,
        };
        self.tally.faults += 1;
        match back {
            Some(back) => self.tally.slowest_return = self.tally.slowest_return.max(back),
            None => self.tally.never_back += 1,
        }
        for load in loads {
            let samples = load.end().await?;
            self.tally.requests += samples.len();
            self.tally.failed += samples.iter().filter(|sample| sample.failed).count();
            let longest = samples.iter().map(|sample| sample.took).max();
            self.tally.longest = self.tally.longest.max(longest.unwrap_or_default());
        }
        // It would grow for as long as this runs.
        drop(self.world.observer.take());
        Ok(())
    }

    async fn until_in_use(&self) {
        for process in &self.processes {
            while !matches!(process.provider.health_check().await, Ok(true)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Registers changed templates through a process under test; ends with an error only.
    async fn register(&self) -> FaultsError {
        loop {
            tokio::time::sleep(REGISTER_EVERY).await;
            let name = name(rand::random_range(0..COUNT));
            let document = match document(&name, rand::random()) {
                Ok(document) => document,
                Err(error) => return error,
            };
            let registry = std::sync::Arc::clone(&self.processes[0].registry);
            let registering = self
                .world
                .subject
                .spawn(async move { registry.register_task_template(&document).await });
            match registering.await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.into(),
                Err(error) => return error.into(),
            }
        }
    }

    /// Invalidates one template, a namespace and all in turn; what Redis makes of it is its
    /// matter. Never ends.
    async fn invalidate(&self) {
        for turn in 0_usize.. {
            tokio::time::sleep(INVALIDATE_EVERY).await;
            let registry = std::sync::Arc::clone(&self.processes[1].registry);
            let invalidating = self.world.subject.spawn(async move {
                match turn % 3 {
                    0 => {
                        registry
                            .invalidate_cache(NAMESPACE, &name(0), VERSION)
                            .await
                    }
                    1 => registry.invalidate_namespace_templates(NAMESPACE).await,
                    _ => registry.invalidate_all_templates().await,
                }
            });
            let _ = invalidating.await;
        }
    }

    async fn levels(&self) -> Result<Levels, FaultsError> {
        tokio::time::sleep(SETTLE).await;
        for process in &self.processes {
            process.until_connected().await?;
        }
        Levels::read(self.world, &self.stage).await
    }

    async fn end(self) -> Result<Tally, FaultsError> {
        for process in self.processes {
            process.stop(&self.world.subject).await?;
        }
        Ok(self.tally)
    }
}

/// How many tasks are left that were not there before anything began, once those that end have.
async fn tasks_left(world: &World, before: usize) -> Option<usize> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = tasks(&world.subject).saturating_sub(before);
        if left == 0 {
            return None;
        }
        if Instant::now() > deadline {
            return Some(left);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
