//! The first resolve of a template in a process, with its body in Redis.

use std::hint::black_box;
use std::sync::Arc;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tasker_shared::models::core::task_template::TaskTemplate;
use tasker_shared::registry::Tier;
use tasker_shared::types::Document;

use crate::error::BenchError;
use crate::fixtures::{LARGE, SMALL, Size, VERSION};
use crate::letter::Letter;
use crate::measure::{Effort, latencies, load, rate, rounds};
use crate::report::{Bar, Report};
use crate::world::World;

/// Templates of one size; each is resolved once a round.
struct Cold {
    namespace: String,
    names: Arc<Vec<String>>,
    keys: Arc<Vec<String>>,
}

/// How many of them are resolved before a round is measured: whoever allocates first tidies up what the
/// other side of the comparison has left behind, which is the work of neither.
const UNMEASURED: usize = 512;

pub(crate) async fn run(
    world: &World,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    for (size, count) in [(SMALL, 4_000), (LARGE, 400)] {
        let cold = prepare(world, size, UNMEASURED + effort.of(count)).await?;
        let bare = world.redis().await?;
        let letter = Letter::connect(world.pool.clone(), &world.redis_url).await?;
        // Its misses, which fill Redis.
        by_the_letter(&letter, &cold, 16).await?;
        for concurrency in [1, 16, 64, 256] {
            // What is judged has more rounds: one takes 30 ms and is off by half as often as not.
            let is_judged = concurrency == 64;
            let count = effort.rounds * if is_judged { 3 } else { 1 };
            let pairs = rounds(
                count,
                || ours(world, &cold, concurrency),
                || get_and_parse(&bare, &cold, concurrency),
            )
            .await?;
            let limit = if size == SMALL { 1.3 } else { 1.2 };
            report.compared(
                format!("first resolve, Redis hit, {}, c={concurrency}", size.label),
                "us each",
                "bare GET and one parse",
                times(pairs),
                is_judged.then_some(Bar::AtMost(limit)),
            );
            if is_judged {
                let pairs = rounds(
                    count,
                    || ours(world, &cold, concurrency),
                    || get_and_read(&bare, &cold, concurrency),
                )
                .await?;
                report.compared(
                    format!("first resolve, Redis hit, {}, c={concurrency}", size.label),
                    "us each",
                    "bare GET and a parse that keeps the text",
                    times(pairs),
                    None,
                );
            }
            let pairs = rounds(
                count,
                || ours(world, &cold, concurrency),
                || by_the_letter(&letter, &cold, concurrency),
            )
            .await?;
            report.compared(
                format!("first resolve, Redis hit, {}, c={concurrency}", size.label),
                "/s",
                "the letter of the specification",
                pairs,
                (is_judged && size == SMALL).then_some(Bar::AtLeast(1.5)),
            );
        }
        latency(world, &cold, &bare, size, report).await?;
    }
    Ok(())
}

fn times(rates: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    rates
        .into_iter()
        .map(|(ours, theirs)| (1e6 / ours, 1e6 / theirs))
        .collect()
}

async fn prepare(world: &World, size: Size, count: usize) -> Result<Cold, BenchError> {
    let namespace = format!("cold{}", size.bytes);
    let names = world.register(&namespace, count, size).await?;
    world.fill(&namespace, &names).await?;
    let keys = names.iter().map(|name| world.key(&namespace, name));
    Ok(Cold {
        keys: Arc::new(keys.collect()),
        namespace,
        names,
    })
}

async fn ours(world: &World, cold: &Cold, concurrency: usize) -> Result<f64, BenchError> {
    let process = world.process().await?;
    let names = Arc::clone(&cold.names);
    let registry = Arc::clone(&process.registry);
    let namespace: Arc<str> = cold.namespace.as_str().into();
    let per_second = measured(concurrency, names.len(), move |number| {
        let (registry, names) = (Arc::clone(&registry), Arc::clone(&names));
        let namespace = Arc::clone(&namespace);
        async move {
            let resolved = registry
                .resolve(&namespace, &names[number], VERSION)
                .await?;
            expect_redis(resolved.tier)
        }
    })
    .await?;
    process.stop().await;
    Ok(per_second)
}

/// How many operations a second, once those that are not measured are done.
async fn measured<F, Fut>(
    concurrency: usize,
    operations: usize,
    operation: F,
) -> Result<f64, BenchError>
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), BenchError>> + Send,
{
    load(concurrency, UNMEASURED, operation.clone()).await?;
    let measured = operations - UNMEASURED;
    let rest = move |number| operation(UNMEASURED + number);
    Ok(rate(measured, load(concurrency, measured, rest).await?))
}

fn expect_redis(tier: Tier) -> Result<(), BenchError> {
    if tier == Tier::Redis {
        return Ok(());
    }
    Err(BenchError::Unexpected {
        what: "the tier of a resolve",
        expected: Tier::Redis.label().to_owned(),
        found: tier.label().to_owned(),
    })
}

/// The parse is of the body into the typed view, which is what callers work with.
async fn get_and_parse(
    redis: &MultiplexedConnection,
    cold: &Cold,
    concurrency: usize,
) -> Result<f64, BenchError> {
    let (redis, keys) = (redis.clone(), Arc::clone(&cold.keys));
    measured(concurrency, cold.keys.len(), move |number| {
        let (mut redis, keys) = (redis.clone(), Arc::clone(&keys));
        async move {
            let text: String = redis.get(&keys[number]).await?;
            let body = text.split_once('\n').map_or("", |(_, body)| body);
            black_box(serde_json::from_str::<TaskTemplate>(body)?);
            Ok(())
        }
    })
    .await
}

/// The same with the parse of the registry, which keeps the text.
async fn get_and_read(
    redis: &MultiplexedConnection,
    cold: &Cold,
    concurrency: usize,
) -> Result<f64, BenchError> {
    let (redis, keys) = (redis.clone(), Arc::clone(&cold.keys));
    measured(concurrency, cold.keys.len(), move |number| {
        let (mut redis, keys) = (redis.clone(), Arc::clone(&keys));
        async move {
            let text: String = redis.get(&keys[number]).await?;
            let start = text.find('\n').map_or(0, |end| end + 1);
            black_box(Document::read::<TaskTemplate>(&text[start..])?);
            Ok(())
        }
    })
    .await
}

async fn by_the_letter(
    letter: &Letter,
    cold: &Cold,
    concurrency: usize,
) -> Result<f64, BenchError> {
    let (letter, names) = (letter.clone(), Arc::clone(&cold.names));
    let namespace: Arc<str> = cold.namespace.as_str().into();
    measured(concurrency, cold.names.len(), move |number| {
        let (mut letter, names) = (letter.clone(), Arc::clone(&names));
        let namespace = Arc::clone(&namespace);
        async move {
            black_box(letter.resolve(&namespace, &names[number], VERSION).await?);
            Ok(())
        }
    })
    .await
}

async fn latency(
    world: &World,
    cold: &Cold,
    bare: &MultiplexedConnection,
    size: Size,
    report: &mut Report,
) -> Result<(), BenchError> {
    let process = world.process().await?;
    let (registry, names) = (Arc::clone(&process.registry), Arc::clone(&cold.names));
    let namespace: Arc<str> = cold.namespace.as_str().into();
    let sorted = latencies(64, names.len(), move |number| {
        let (registry, names) = (Arc::clone(&registry), Arc::clone(&names));
        let namespace = Arc::clone(&namespace);
        async move {
            black_box(
                registry
                    .resolve(&namespace, &names[number], VERSION)
                    .await?,
            );
            Ok(())
        }
    })
    .await?;
    report.add_latencies(
        format!("first resolve, Redis, {}, c=64", size.label),
        sorted,
    );
    process.stop().await;
    let (bare, keys) = (bare.clone(), Arc::clone(&cold.keys));
    let sorted = latencies(64, keys.len(), move |number| {
        let (mut bare, keys) = (bare.clone(), Arc::clone(&keys));
        async move {
            let text: String = bare.get(&keys[number]).await?;
            black_box(text);
            Ok(())
        }
    })
    .await?;
    report.add_latencies(format!("bare GET, {}, c=64", size.label), sorted);
    Ok(())
}
