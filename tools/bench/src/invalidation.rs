//! Invalidating all templates in a Redis that holds a million keys of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tasker_test_support::RedisServer;

use crate::Bench;
use crate::error::{Failure, Result, expect};
use crate::fixtures::SMALL;
use crate::measure::ms;
use crate::report::Bar;
use crate::world::{Templates, World};

const TEMPLATES: usize = 1_000;
const OTHERS: usize = 1_000_000;
const BATCH: usize = 1_000;
/// Between the GETs of the other client.
const PAUSE: Duration = Duration::from_micros(500);

/// The costs of one invalidation.
struct Invalidation {
    gone_ms: f64,
    delay_ms: f64,
}

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (_, effort, report) = bench.parts();
    // A database of its own, because all registered templates are invalidated, and a Redis of its
    // own, because a million keys are added.
    let server = RedisServer::start().await?;
    let world = &World::create_with(server.url(), &[]).await?;
    let mut redis = world.redis().await?;
    add_others(&mut redis).await?;
    let templates = world.register("invalidated", TEMPLATES, SMALL).await?;
    let mut rounds = Vec::new();
    for _ in 0..effort.few_rounds() {
        world.fill(&templates).await?;
        rounds.push(invalidate(world, &templates).await?);
    }
    let what = "invalidate 1,000 beside 1,000,000 keys";
    let gone = rounds.iter().map(|round| round.gone_ms);
    report.alone(
        format!("{what}, keys gone"),
        "ms",
        gone,
        Bar::NeverOver(20.0),
    );
    let delay = rounds.iter().map(|round| round.delay_ms);
    let what = format!("{what}, longest delay of another client's GET");
    report.alone(what, "ms", delay, Bar::NeverOver(5.0));
    Ok(())
}

async fn invalidate(world: &World, templates: &Arc<Templates>) -> Result<Invalidation> {
    let process = world.process().await?;
    let mut watcher = world.redis().await?;
    let held: usize = watcher.exists(&templates.keys).await?;
    expect("cached templates", &TEMPLATES, &held)?;
    let other = OtherClient::start(&world.redis_url)?;
    let shared = Arc::clone(templates);
    let started = Instant::now();
    let watching = tokio::spawn(async move {
        while watcher.exists::<_, u64>(&shared.keys).await? > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, Failure>(started.elapsed())
    });
    let invalidation = process.registry.invalidate_all_templates().await;
    let whole = started.elapsed();
    let gone = watching.await??;
    let during = other.stop().await?;
    process.stop().await;
    expect("invalidation error", &None, &invalidation.error)?;

    let other = OtherClient::start(&world.redis_url)?;
    tokio::time::sleep(whole).await;
    let quiet = other.stop().await?;
    let slowest = during.last().copied().unwrap_or_default();
    let usual = quiet.get(quiet.len() / 2).copied().unwrap_or_default();
    Ok(Invalidation {
        gone_ms: ms(gone),
        delay_ms: ms(slowest.saturating_sub(usual)),
    })
}

/// Another client, on a thread of its own, so that it waits for Redis and not for our runtime.
struct OtherClient {
    is_done: Arc<AtomicBool>,
    thread: JoinHandle<redis::RedisResult<Vec<Duration>>>,
}

impl OtherClient {
    fn start(url: &str) -> Result<Self> {
        let is_done = Arc::new(AtomicBool::new(false));
        let (done, client) = (Arc::clone(&is_done), redis::Client::open(url)?);
        let mut connection = client.get_connection()?;
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let started = Instant::now();
                let _: Option<String> = redis::cmd("GET").arg("other:1").query(&mut connection)?;
                took.push(started.elapsed());
                std::thread::sleep(PAUSE);
            }
            took.sort_unstable();
            Ok(took)
        });
        Ok(Self { is_done, thread })
    }

    /// Returns the durations of all GETs, the shortest first.
    async fn stop(self) -> Result<Vec<Duration>> {
        self.is_done.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        Ok(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
    }
}

async fn add_others(redis: &mut MultiplexedConnection) -> Result {
    for batch in 0..OTHERS / BATCH {
        let keys = (0..BATCH).map(|number| format!("other:{}", batch * BATCH + number));
        let pairs: Vec<(String, &str)> = keys.map(|key| (key, "another's value")).collect();
        let () = redis.mset(&pairs).await?;
    }
    Ok(())
}
