//! One row: a fault under load, once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::figures::{Figures, Measured};
use crate::error::{Failure, Result};
use crate::fault::Fault;
use crate::subject::load::Load;
use crate::subject::{CONNECTING, IN_USE_LIMIT, Subject, Subjects, cache_on, in_use, pool};
use crate::world::World;

/// Concurrent resolvers of the subject, and of the control without Redis: so many that a request of
/// it is nearly always under way.
const RESOLVERS: usize = 16;
const CONTROL_RESOLVERS: usize = 3;
/// Requests count after this, because caches and the pool fill until then.
const WARM_UP: Duration = Duration::from_millis(500);
const REGISTER_EVERY: Duration = Duration::from_millis(100);

/// Runs `fault` for `length` under load that begins and ends `around` it.
pub(super) async fn run(
    subjects: &Subjects,
    fault: Fault,
    local_tier: bool,
    length: Duration,
    around: Duration,
) -> Result<Figures> {
    let world = World::start(&subjects.postgres, fault.servers(length), 1).await?;
    if fault.is_at_boot() {
        fault.begin(&world).await?;
    }
    let postgres_slow = fault == Fault::PostgresSlow;
    let url = if postgres_slow {
        world.links[0].postgres.url().to_owned()
    } else {
        world.database_url()
    };
    let config = cache_on(&world, fault.is_on_redis_link(), local_tier);
    let subject = subjects.start(&url, config).await?;
    if !fault.is_at_boot() {
        subject.until_connected().await?;
    }
    // The control shares neither runtime nor pool with the subject, so that a cache layer that
    // blocks its runtime is not excused.
    let without_redis = Subject::without_redis(pool(&url)?);
    let control = Load::start(&subjects.control, &without_redis, CONTROL_RESOLVERS);
    let load = Load::start(&subjects.runtime, &subject, RESOLVERS);
    // With a slow PostgreSQL, registrations with and without Redis cannot be compared, because they
    // take different paths. A template that changes while it is loaded costs several round trips
    // then, which the control has at other moments.
    let registrar = (!postgres_slow).then_some(&subject);
    let registrations = Mutex::new(Vec::new());
    let registering = subjects.register(registrar, REGISTER_EVERY, &registrations);
    let play = async {
        tokio::time::sleep(WARM_UP).await;
        let began = Instant::now();
        if !fault.is_at_boot() {
            tokio::time::sleep(around).await;
        }
        let started = Instant::now();
        fault.happen(&world, &world.links, length).await?;
        let over = Instant::now();
        let used = tokio::time::timeout(IN_USE_LIMIT, in_use(&subject))
            .await
            .is_ok();
        let since = if fault.heals_itself() { started } else { over };
        let back = used.then(|| since.elapsed());
        tokio::time::sleep(around).await;
        Ok::<_, Failure>(([began, started, over], back))
    };
    let (times, back) = tokio::select! {
        outcome = play => outcome?,
        error = registering, if !postgres_slow || local_tier => return Err(error),
    };
    let figures = Figures::of(&Measured {
        times,
        samples: load.end().await?,
        control: control.end().await?,
        registrations: registrations
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
        back,
        late: subject.connected_in.saturating_sub(CONNECTING),
    });
    subjects.stop(without_redis).await?;
    subjects.stop(subject).await?;
    Ok(figures)
}
