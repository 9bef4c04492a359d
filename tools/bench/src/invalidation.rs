//! Invalidating all templates in a Redis that holds a million keys of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::core_waits::CoreWaits;
use crate::error::BenchError;
use crate::fixtures::SMALL;
use crate::measure::{Effort, ms};
use crate::report::{Bar, Report};
use crate::world::World;

const NAMESPACE: &str = "doomed";
const TEMPLATES: usize = 1_000;
const OTHERS: usize = 1_000_000;
const BATCH: usize = 1_000;
/// A client of its own asks so often.
const PAUSE: Duration = Duration::from_micros(500);

/// What one invalidation took.
struct Invalidated {
    gone_ms: f64,
    whole_ms: f64,
    /// Round trips of another client meanwhile, the quickest first.
    gets: Vec<Get>,
}

/// A round trip of another client.
struct Get {
    took: Duration,
    /// How much of it the client or Redis was ready and had no core, where that is known.
    waited: Option<Duration>,
}

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<(), BenchError> {
    // Of its own, since all templates that are registered are deleted.
    let world = &World::create().await?;
    let mut redis = world.redis().await?;
    add_others(&mut redis).await?;
    let names = world.register(NAMESPACE, TEMPLATES, SMALL).await?;
    let keys: Vec<String> = names
        .iter()
        .map(|name| world.key(NAMESPACE, name))
        .collect();
    let keys = Arc::new(keys);
    let mut rounds = Vec::new();
    for _ in 0..effort.few_rounds() {
        world.fill(NAMESPACE, &names).await?;
        let invalidated = invalidate(world, &keys).await?;
        let quiet = quiet(world, Duration::from_secs_f64(invalidated.whole_ms / 1e3)).await?;
        rounds.push((invalidated, quiet));
    }
    tell(report, &rounds);
    remove_others(&mut redis).await
}

fn tell(report: &mut Report, rounds: &[(Invalidated, Vec<Get>)]) {
    let what = "invalidate_all_templates, 1,000 beside 1,000,000 others";
    let gone = rounds.iter().map(|(with, _)| with.gone_ms).collect();
    let label = format!("{what}: the templates' keys are gone");
    report.alone(label, "ms", gone, Some(Bar::NeverOver(20.0)));
    let whole = rounds.iter().map(|(with, _)| with.whole_ms).collect();
    report.alone(format!("{what}: with the sweep"), "ms", whole, None);
    for (share, name) in [(0.99, "99th percentile"), (1.0, "slowest")] {
        let pairs = rounds
            .iter()
            .map(|(with, quiet)| (at(&with.gets, share), at(quiet, share)))
            .collect();
        let label = format!("{what}: another client's GET, {name}");
        report.compared(label, "ms", "without the sweep", pairs, None);
    }
    let delays = rounds
        .iter()
        .map(|(with, quiet)| at(&with.gets, 1.0) - at(quiet, 0.5))
        .collect();
    let label = format!("{what}: the sweep's longest delay of a GET");
    report.alone(label, "ms", delays, Some(Bar::NeverOver(5.0)));
    let without_waits: Option<Vec<f64>> = rounds
        .iter()
        .map(|(with, quiet)| Some(longest_without_waits(&with.gets)? - at(quiet, 0.5)))
        .collect();
    if let Some(delays) = without_waits {
        let label = format!("{what}: that delay, when no one had to wait for a core");
        report.alone(label, "ms", delays, None);
    }
}

/// The longest round trip, less what the client and Redis waited for a core in it.
fn longest_without_waits(gets: &[Get]) -> Option<f64> {
    gets.iter()
        .map(|get| Some(ms(get.took.saturating_sub(get.waited?))))
        .try_fold(0.0, |longest, get| Some(f64::max(longest, get?)))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a small count"
)]
fn at(sorted: &[Get], share: f64) -> f64 {
    let place = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(place).map_or(f64::NAN, |get| ms(get.took))
}

async fn invalidate(world: &World, keys: &Arc<Vec<String>>) -> Result<Invalidated, BenchError> {
    let process = world.process().await?;
    let other = Other::start(world).await?;
    let mut watcher = world.redis().await?;
    let held: usize = watcher.exists(&**keys).await?;
    if held != keys.len() {
        return Err(BenchError::Unexpected {
            what: "keys in Redis before they are invalidated",
            expected: keys.len().to_string(),
            found: held.to_string(),
        });
    }
    let doomed = Arc::clone(keys);
    let started = Instant::now();
    let watching = tokio::spawn(async move {
        loop {
            let left: u64 = watcher.exists(&*doomed).await?;
            if left == 0 {
                return Ok::<_, BenchError>(started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let invalidation = process.registry.invalidate_all_templates().await;
    let whole = started.elapsed();
    let gone = watching.await??;
    let gets = other.stop().await?;
    process.stop().await;
    if let Some(error) = invalidation.error {
        return Err(BenchError::Unexpected {
            what: "the invalidation",
            expected: String::from("no error"),
            found: error,
        });
    }
    Ok(Invalidated {
        gone_ms: ms(gone),
        whole_ms: ms(whole),
        gets,
    })
}

/// The same client's round trips while nothing is swept.
async fn quiet(world: &World, time: Duration) -> Result<Vec<Get>, BenchError> {
    let other = Other::start(world).await?;
    tokio::time::sleep(time).await;
    other.stop().await
}

/// Another client of the same Redis, on a thread of its own: what delays it is Redis and not
/// the runtime that the sweep runs in.
struct Other {
    done: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Vec<Get>, redis::RedisError>>,
}

impl Other {
    async fn start(world: &World) -> Result<Self, BenchError> {
        let done = Arc::new(AtomicBool::new(false));
        let (client, told) = (
            redis::Client::open(world.redis_url.as_str())?,
            Arc::clone(&done),
        );
        let redis = CoreWaits::of_redis(&mut world.redis().await?).await?;
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut connection = client.get_connection()?;
            // Whoever waits for it has gone away only if nobody needs the answer.
            ready.send(()).ok();
            let own = CoreWaits::of_this_thread();
            let waits = || Some(own.so_far()? + redis.as_ref()?.so_far()?);
            let mut gets = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let before = waits();
                let started = Instant::now();
                let _: Option<String> = redis::cmd("GET").arg("other:1").query(&mut connection)?;
                let took = started.elapsed();
                let waited = waits()
                    .zip(before)
                    .map(|(now, before)| now.saturating_sub(before));
                gets.push(Get { took, waited });
                std::thread::sleep(PAUSE);
            }
            gets.sort_unstable_by_key(|get| get.took);
            Ok(gets)
        });
        is_ready.await.ok();
        Ok(Self { done, thread })
    }

    async fn stop(self) -> Result<Vec<Get>, BenchError> {
        self.done.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        Ok(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
    }
}

async fn add_others(redis: &mut MultiplexedConnection) -> Result<(), BenchError> {
    for batch in 0..OTHERS / BATCH {
        let pairs: Vec<(String, &str)> = (0..BATCH)
            .map(|number| (other(batch * BATCH + number), "somebody else's"))
            .collect();
        let () = redis.mset(&pairs).await?;
    }
    Ok(())
}

/// The server may be somebody's who needs the room.
async fn remove_others(redis: &mut MultiplexedConnection) -> Result<(), BenchError> {
    for batch in 0..OTHERS / BATCH {
        let keys: Vec<String> = (0..BATCH)
            .map(|number| other(batch * BATCH + number))
            .collect();
        let () = redis.unlink(keys).await?;
    }
    Ok(())
}

fn other(number: usize) -> String {
    format!("other:{number}")
}
