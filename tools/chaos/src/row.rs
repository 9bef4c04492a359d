//! One row: a fault under load, once.

use std::time::{Duration, Instant};

use tasker_shared::cache::CacheService;

use tasker_test_support::RedisServer;

use crate::control::Control;
use crate::error::FaultsError;
use crate::fault::{Fault, Stage};
use crate::figures::{Figures, Times};
use crate::load::Load;
use crate::templates::{COUNT, document, keys, name};
use crate::verdict::BACK_CEILING;
use crate::world::{LocalTier, Process, World, config};

/// How long requests run before they count: caches and the pool fill meanwhile.
const WARM_UP: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(5);
/// Somebody else registers so often a changed template, which the process then has to load.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// How long the parts of a row are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) before: Duration,
    pub(crate) fault: Duration,
    pub(crate) after: Duration,
    /// `connection_timeout_seconds`.
    pub(crate) connecting: u32,
}

/// What a row came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    /// From the moment at which Redis was well until it was in use again, or from that of the loss
    /// if it gets well by itself; `None` if it was not within fifteen seconds.
    pub(crate) back: Option<Duration>,
    /// What `from_config_graceful` took.
    pub(crate) connected_in: Duration,
}

/// Runs `fault` under load.
pub(crate) async fn run(
    world: &World,
    fault: Fault,
    local_tier: LocalTier,
    lengths: Lengths,
) -> Result<Outcome, FaultsError> {
    let slowed = fault.needs_postgres().then(|| world.database.url());
    let stage = Stage::set(fault, lengths.fault, slowed).await?;
    fault.before_boot(&stage).await?;
    let redis_url = if fault.is_on_the_way() {
        stage.proxy.url().to_owned()
    } else {
        stage.redis.url()
    };
    let database_url = stage.database_url(world);
    let mut config = config(&redis_url, local_tier, lengths.connecting);
    if let (Some(cluster), Some(redis)) = (&stage.cluster, &mut config.redis) {
        redis.mode = String::from("cluster");
        redis.url = cluster.url();
        redis.nodes = cluster.addresses().split_off(1);
    }
    if let (Some(watched), Some(redis)) = (&stage.sentinel, &mut config.redis) {
        let sentinels = watched.sentinels();
        redis.mode = String::from("sentinel");
        redis.url = sentinels[0].url();
        redis.nodes = sentinels[1..].iter().map(RedisServer::address).collect();
        watched
            .primary_name()
            .clone_into(&mut redis.sentinel_master_name);
    }
    let process = world.process(database_url, &config).await?;
    let control = Control::start(database_url.to_owned())?;
    if !fault.is_at_boot() {
        process.until_connected().await?;
    }
    let load = Load::start(&world.subject, &process.registry);
    // A template that changes while it is loaded costs a slow PostgreSQL several round trips, which
    // the control has at other moments.
    let changes = !fault.needs_postgres() || local_tier == LocalTier::On;
    let (times, back) = tokio::select! {
        outcome = play(fault, &stage, &process, &load, local_tier, lengths) => outcome?,
        error = write(world), if changes => return Err(error),
    };
    let connected_in = process.connected_in;
    let samples = load.end().await?;
    let control = control.end().await?;
    let observed = world.observer.take();
    process.stop(&world.subject).await?;
    Ok(Outcome {
        figures: Figures::of(times, &samples, &control, &observed),
        back,
        connected_in,
    })
}

async fn play(
    fault: Fault,
    stage: &Stage,
    process: &Process,
    load: &Load,
    local_tier: LocalTier,
    lengths: Lengths,
) -> Result<(Times, Option<Duration>), FaultsError> {
    tokio::time::sleep(WARM_UP).await;
    let began = Instant::now();
    if !fault.is_at_boot() {
        tokio::time::sleep(lengths.before).await;
    }
    let struck = Instant::now();
    fault.happen(stage, lengths.fault).await?;
    let over = Instant::now();
    let since = if fault.heals_itself() { struck } else { over };
    let used = if stage.cluster.is_some() {
        all_primaries_in_use(process).await
    } else {
        in_use(process, load, local_tier).await
    };
    let back = used.then(|| since.elapsed());
    tokio::time::sleep(lengths.after).await;
    let times = Times {
        began,
        fault: struck,
        over,
        ended: Instant::now(),
    };
    Ok((times, back))
}

/// Waits until Redis is in use: until it answers a request, or, where requests are answered from
/// memory, until the cache layer says that it answers.
async fn in_use(process: &Process, load: &Load, local_tier: LocalTier) -> bool {
    let answered = load.redis_answers();
    let used = async {
        loop {
            let used = match local_tier {
                LocalTier::Off => load.redis_answers() > answered,
                LocalTier::On => {
                    process.provider.is_enabled()
                        && matches!(process.provider.health_check().await, Ok(true))
                }
            };
            if used {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(BACK_CEILING, used).await.is_ok()
}

/// Waits until each template's node answers for it.
async fn all_primaries_in_use(process: &Process) -> bool {
    let used = async {
        for key in keys() {
            while process.provider.get(&key).await.is_err() {
                tokio::time::sleep(POLL).await;
            }
        }
    };
    tokio::time::timeout(BACK_CEILING, used).await.is_ok()
}

/// Registers changed templates until dropped; ends with an error only.
async fn write(world: &World) -> FaultsError {
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        let name = name(rand::random_range(0..COUNT));
        let registered = match document(&name, rand::random()) {
            Ok(document) => world.writer.register_task_template(&document).await,
            Err(error) => return error,
        };
        if let Err(error) = registered {
            return error.into();
        }
    }
}
