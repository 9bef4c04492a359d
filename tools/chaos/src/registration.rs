//! Registering while Redis is down: what it costs, and whether anybody is served the old body
//! afterwards.
//!
//! A registration commits in PostgreSQL and then deletes the template's entry in Redis, for at
//! most the budget. Each round has a process of its own whose breaker knows nothing yet, sets a
//! registration beside one of a process without Redis, and lets another process ask for the template
//! from the commit on. That process reads Redis each time. A Redis that was killed comes back with
//! the old body, and the process must have met and refused it; one that was frozen executes the
//! delete first when it runs on.

use std::time::{Duration, Instant};

use tasker_shared::registry::TaskHandlerRegistry;

use crate::error::FaultsError;
use crate::fault::{Fault, Stage};
use crate::templates::{NAMESPACE, VERSION, document, name};
use crate::verdict::{self, Miss};
use crate::world::{LocalTier, Process, World, config, without_local_tier};

/// How much slower a registration may be.
const SLOWER: Duration = Duration::from_millis(30);
/// Past this a busy machine is no excuse. A registration that hangs until Redis is back takes what is
/// left of the outage.
const SLOWER_CEILING: Duration = Duration::from_millis(500);
/// How long a Redis is down in which another process would look for the template.
const OUTAGE: Duration = Duration::from_secs(1);
/// When in the outage templates are registered.
const INTO_OUTAGE: Duration = Duration::from_millis(200);
/// How long the other process goes on asking after the bound. It has Redis in use again meanwhile.
const WATCH: Duration = Duration::from_millis(1500);

/// What registering under one fault came to.
struct Outcome {
    without: Vec<Duration>,
    with: Vec<Duration>,
    /// The longest that the cache layer held up a registration.
    in_cache: Duration,
    /// How long after the commit another process was still served the old body.
    old_until: Duration,
    /// In how many rounds the cache layer told of a delete.
    with_delete: usize,
    /// In how many rounds the other process met the old body in Redis, and refused it.
    with_old_body: usize,
}

/// Runs and prints the rows; says whether the bars are met.
pub(crate) async fn run(
    world: &World,
    rounds: usize,
    times_count: bool,
) -> Result<bool, FaultsError> {
    println!();
    println!(
        "| registering while Redis is | rounds | without Redis: median / longest | with it | slower: \
         median | longest wait for Redis | old body elsewhere for | bars |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    let mut met = true;
    for (what, fault) in [("killed", Fault::Kill), ("frozen", Fault::Freeze)] {
        let mut attempt = 1;
        let mut misses = run_row(world, what, fault, rounds).await?;
        while verdict::wants_another(attempt, &misses, times_count) {
            misses = run_row(world, &format!("{what}, again"), fault, rounds).await?;
            attempt += 1;
        }
        met &= verdict::holds(&misses, times_count);
    }
    Ok(met)
}

async fn run_row(
    world: &World,
    what: &str,
    fault: Fault,
    rounds: usize,
) -> Result<Vec<Miss>, FaultsError> {
    let outcome = measure(world, fault, rounds).await?;
    let misses = misses(&outcome, fault);
    let (without, with) = (spread(&outcome.without), spread(&outcome.with));
    let verdict = verdict::text(&misses);
    println!(
        "| {what} | {rounds} | {:.1?} / {:.1?} | {:.1?} / {:.1?} | {:.1?} | {:.1?} | {:.0?} | {verdict} |",
        without.0,
        without.1,
        with.0,
        with.1,
        slower(&outcome),
        outcome.in_cache,
        outcome.old_until,
    );
    Ok(misses)
}

fn misses(outcome: &Outcome, fault: Fault) -> Vec<Miss> {
    let mut misses = Vec::new();
    let rounds = outcome.with.len();
    // A Redis that was killed closes its connections, after which nothing is sent to it.
    if fault == Fault::Freeze && outcome.with_delete < rounds {
        misses.push(Miss {
            what: format!("{} of {rounds} deletes were observed", outcome.with_delete),
            of_time: false,
        });
    }
    if fault == Fault::Kill && outcome.with_old_body == 0 {
        misses.push(Miss {
            what: String::from("another process never met the old body, so nothing is shown"),
            of_time: false,
        });
    }
    let slower = slower(outcome);
    if slower > SLOWER {
        misses.push(Miss {
            what: format!("registrations are {slower:?} slower"),
            of_time: slower <= SLOWER_CEILING,
        });
    }
    if outcome.in_cache > SLOWER {
        misses.push(Miss {
            what: format!("a registration waited {:?} for Redis", outcome.in_cache),
            of_time: outcome.in_cache <= SLOWER_CEILING,
        });
    }
    let bound = bound();
    if outcome.old_until > bound {
        misses.push(Miss {
            what: format!(
                "another process served the old body {:?} after the commit",
                outcome.old_until
            ),
            of_time: false,
        });
    }
    misses
}

fn bound() -> Duration {
    Duration::from_millis(without_local_tier().max_staleness_ms)
}

async fn measure(world: &World, fault: Fault, rounds: usize) -> Result<Outcome, FaultsError> {
    let mut outcome = Outcome {
        without: Vec::new(),
        with: Vec::new(),
        in_cache: Duration::ZERO,
        old_until: Duration::ZERO,
        with_delete: 0,
        with_old_body: 0,
    };
    for _ in 0..rounds {
        let stage = Stage::set(fault, OUTAGE, None).await?;
        let settings = config(&stage.redis.url(), LocalTier::Off, 1);
        let without = world.process_without_redis().await?;
        let writer = world.process(world.database.url(), &settings).await?;
        let reader = world.process(world.database.url(), &settings).await?;
        writer.until_connected().await?;
        reader.until_connected().await?;
        let (other, watched) = (name(1), name(0));
        // The old body is in Redis, and is there again after a restart.
        revision(&reader.registry, &watched).await?;
        reader.provider.flush_fills(WATCH).await;
        if stage.ask::<u64>(&redis::cmd("DBSIZE")).await? != 1 {
            return Err(FaultsError::RedisNotUsed);
        }
        drop(world.observer.take());

        let (happened, registered) = tokio::join!(fault.happen(&stage, OUTAGE), async {
            tokio::time::sleep(INTO_OUTAGE).await;
            let beside = register(world, &without, &other).await?;
            let registered = register(world, &writer, &watched).await?;
            let in_cache = world.observer.take().deletes;
            let old_until = watch(&reader, &watched, &registered).await?;
            Ok::<_, FaultsError>((beside, registered, in_cache, old_until))
        });
        happened?;
        let (beside, registered, in_cache, old_until) = registered?;
        outcome.without.push(beside.took);
        outcome.with.push(registered.took);
        let longest = in_cache.iter().map(|delete| delete.took).max();
        outcome.in_cache = outcome.in_cache.max(longest.unwrap_or_default());
        outcome.old_until = outcome.old_until.max(old_until);
        outcome.with_delete += usize::from(!in_cache.is_empty());
        outcome.with_old_body += usize::from(world.observer.take().refused_bodies > 0);
        for process in [without, writer, reader] {
            process.stop(&world.subject).await?;
        }
    }
    Ok(outcome)
}

struct Registered {
    revision: u64,
    took: Duration,
    committed: Instant,
}

/// Registers changed content from within the subject's runtime.
async fn register(world: &World, process: &Process, name: &str) -> Result<Registered, FaultsError> {
    let revision = rand::random::<u32>().into();
    let document = document(name, revision)?;
    let registry = std::sync::Arc::clone(&process.registry);
    let registering = world.subject.spawn(async move {
        let started = Instant::now();
        registry.register_task_template(&document).await?;
        Ok::<_, FaultsError>(started.elapsed())
    });
    let took = registering.await??;
    Ok(Registered {
        revision,
        took,
        committed: Instant::now(),
    })
}

/// How long after the commit the last request began that was answered with an older revision.
async fn watch(
    reader: &Process,
    name: &str,
    registered: &Registered,
) -> Result<Duration, FaultsError> {
    let mut old_until = Duration::ZERO;
    while registered.committed.elapsed() < bound() + WATCH {
        let asked = registered.committed.elapsed();
        if revision(&reader.registry, name).await? != registered.revision {
            old_until = asked;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(old_until)
}

async fn revision(registry: &TaskHandlerRegistry, name: &str) -> Result<u64, FaultsError> {
    let found = registry.get_template(NAMESPACE, name, VERSION).await?;
    let document: serde_json::Value = serde_json::from_str(found.document.get())?;
    Ok(document["task_handler"]["initialization"]["revision"]
        .as_u64()
        .unwrap_or_default())
}

fn slower(outcome: &Outcome) -> Duration {
    let (with, without) = (spread(&outcome.with).0, spread(&outcome.without).0);
    with.saturating_sub(without)
}

/// The median and the longest.
fn spread(durations: &[Duration]) -> (Duration, Duration) {
    let spread = crate::figures::Spread::of(durations.iter().copied());
    (spread.p50, spread.max)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, misses};
    use crate::fault::Fault;
    use crate::verdict::{holds, wants_another};

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn outcome(with: Duration, in_cache: Duration, old_until: Duration) -> Outcome {
        Outcome {
            without: vec![ms(15)],
            with: vec![with],
            in_cache,
            old_until,
            with_delete: 1,
            with_old_body: 1,
        }
    }

    #[test]
    fn a_registration_within_the_budget_misses_nothing() {
        for fault in [Fault::Kill, Fault::Freeze] {
            assert_eq!(misses(&outcome(ms(40), ms(26), ms(900)), fault), []);
        }
    }

    #[test]
    fn a_registration_that_hangs_with_redis_is_no_machines_fault() {
        let late = misses(&outcome(ms(60), ms(40), ms(0)), Fault::Freeze);
        assert_eq!(late.len(), 2);
        assert!(wants_another(1, &late, true), "{late:?}");
        assert!(holds(&late, false), "{late:?}");
        for hanging in [
            outcome(ms(516), ms(26), ms(0)),
            outcome(ms(40), ms(501), ms(0)),
            outcome(ms(40), ms(26), ms(1001)),
        ] {
            let hanging = misses(&hanging, Fault::Freeze);
            assert!(!wants_another(1, &hanging, true), "{hanging:?}");
            assert!(!holds(&hanging, false), "{hanging:?}");
        }
    }

    #[test]
    fn rounds_in_which_nothing_could_be_seen_show_nothing() {
        let mut blind = outcome(ms(40), ms(26), ms(0));
        blind.with_delete = 0;
        assert!(!holds(&misses(&blind, Fault::Freeze), false));
        blind.with_old_body = 0;
        assert!(!holds(&misses(&blind, Fault::Kill), false));
    }
}
