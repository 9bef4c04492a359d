//! One row: a fault under load, once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tasker_shared::cache::CacheService;

use super::control::Control;
use super::figures::{BACK_CEILING, Figures, Measured, Times};
use crate::error::ChaosError;
use crate::fault::Fault;
use crate::subject::load::Load;
use crate::subject::{LocalTier, Subject, Subjects, cache_on};
use crate::world::World;

/// Concurrent resolvers.
const RESOLVERS: usize = 16;
/// Requests count after this, because caches and the pool fill until then.
const WARM_UP: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(5);
const REGISTER_EVERY: Duration = Duration::from_millis(50);

/// The lengths of a row's parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    pub(super) before: Duration,
    pub(super) fault: Duration,
    pub(super) after: Duration,
    /// `connection_timeout_seconds`.
    pub(super) connecting: u32,
}

/// Runs `fault` under load.
pub(super) async fn run(
    subjects: &Subjects,
    fault: Fault,
    local_tier: LocalTier,
    lengths: Lengths,
) -> Result<Figures, ChaosError> {
    let world = World::start(&subjects.postgres, fault, lengths.fault, 1).await?;
    if fault.is_at_boot() {
        fault.begin(&world).await?;
    }
    let postgres_slow = fault == Fault::PostgresSlow;
    let database_url = if postgres_slow {
        world.links[0].postgres.url().to_owned()
    } else {
        world.database_url()
    };
    let config = cache_on(
        &world,
        fault.is_on_redis_link(),
        local_tier,
        lengths.connecting,
    );
    let subject = subjects.start(database_url.clone(), config).await?;
    if !fault.is_at_boot() {
        subject.until_connected().await?;
    }
    let control = Control::start(database_url, subjects.commits.clone())?;
    let load = Load::start(
        &subjects.runtime,
        &subject.registry,
        &subjects.commits,
        RESOLVERS,
    );
    // With a slow PostgreSQL, registrations with and without Redis cannot be compared, because they
    // take different paths. A template that changes while it is loaded costs several round trips then,
    // which the control has at other moments.
    let registrar = (!postgres_slow).then_some(&subject);
    let changes = !postgres_slow || local_tier == LocalTier::On;
    let registrations = Mutex::new(Vec::new());
    let registrations_so_far = || registrations.lock().unwrap_or_else(PoisonError::into_inner);
    let registering = subjects.register(registrar, REGISTER_EVERY, |registration| {
        registrations_so_far().push(registration);
    });
    let (times, back) = tokio::select! {
        outcome = play(fault, &world, &subject, &load, local_tier, lengths) => outcome?,
        error = registering, if changes => return Err(error),
    };
    let measured = Measured {
        times,
        samples: load.end().await?,
        control: control.end().await?,
        observed: subjects.observer.take(),
        registrations: std::mem::take(&mut registrations_so_far()),
        back,
        connected_in: subject.connected_in,
    };
    subjects.stop(subject).await?;
    Ok(Figures::of(&measured))
}

async fn play(
    fault: Fault,
    world: &World,
    subject: &Subject,
    load: &Load,
    local_tier: LocalTier,
    lengths: Lengths,
) -> Result<(Times, Option<Duration>), ChaosError> {
    tokio::time::sleep(WARM_UP).await;
    let began = Instant::now();
    if !fault.is_at_boot() {
        tokio::time::sleep(lengths.before).await;
    }
    let started = Instant::now();
    fault.happen(world, &world.links, lengths.fault).await?;
    let over = Instant::now();
    let answered = load.redis_answers();
    let used = async {
        match local_tier {
            _ if world.cluster.is_some() => until_all_primaries_answer(subject).await,
            // Requests are answered from memory, so the cache layer is asked.
            LocalTier::On => subject.until_in_use().await,
            LocalTier::Off => {
                while load.redis_answers() == answered {
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    };
    let used = tokio::time::timeout(BACK_CEILING, used).await.is_ok();
    let since = if fault.heals_itself() { started } else { over };
    let back = used.then(|| since.elapsed());
    tokio::time::sleep(lengths.after).await;
    Ok((
        Times {
            began,
            fault: started,
            over,
        },
        back,
    ))
}

/// Waits until a key of each node of the cluster is answered.
async fn until_all_primaries_answer(subject: &Subject) {
    // So many keys that each primary has several.
    for number in 0..64 {
        let key = format!("answered:{number}");
        while subject.provider.get(&key).await.is_err() {
            tokio::time::sleep(POLL).await;
        }
    }
}
