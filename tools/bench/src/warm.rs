//! Warm resolves, beside a bare `get` of a moka cache that holds the same bodies.

use std::hint::black_box;
use std::sync::Arc;

use futures::FutureExt;
use moka::sync::Cache;
use tasker_shared::registry::Tier;
use tasker_shared::types::HandlerMetadata;

use crate::error::BenchError;
use crate::fixtures::{LARGE, SMALL, VERSION};
use crate::measure::{Effort, latencies, load, rate, rounds};
use crate::report::{Bar, Report};
use crate::world::{Process, World};

const NAMESPACE: &str = "warm";
const OPERATIONS: usize = 200_000;
/// As many as a service with many workflows has. A prime, so that each of the callers goes through all of
/// them, and how often two want the same at once is no accident of their order.
const TEMPLATES: usize = 101;

type Key = (String, String, String);

pub(crate) async fn run(
    world: &World,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let process = world.local_process().await;
    let mut warmed = Vec::new();
    for size in [SMALL, LARGE] {
        let namespace = format!("{NAMESPACE}{}", size.bytes);
        let names = world.register(&namespace, TEMPLATES, size).await?;
        let (keys, cache) = warm_up(&process, &namespace, &names).await?;
        for concurrency in [1, 16, 64, 256] {
            let pairs = rounds(
                effort.rounds,
                || ours(&process, &keys, concurrency, effort.of(OPERATIONS)),
                || bare(&cache, &keys, concurrency, effort.of(OPERATIONS)),
            )
            .await?;
            let bar = matches!(concurrency, 1 | 64).then_some(Bar::AtLeast(0.5));
            report.compared(
                format!("warm resolve, {}, c={concurrency}", size.label),
                "/s",
                "bare moka get",
                pairs,
                bar,
            );
        }
        let allocated = allocations(&process, &keys)?;
        report.alone(
            format!("warm resolve, {}, allocations", size.label),
            "",
            vec![allocated],
            Some(Bar::NeverOver(0.0)),
        );
        if size == SMALL {
            latency(&process, &keys, effort, report).await?;
        }
        warmed.push(keys);
    }
    if let [small, large] = &warmed[..] {
        same_for_both_sizes(&process, small, large, effort, report).await?;
    }
    process.stop().await;
    Ok(())
}

async fn warm_up(
    process: &Process,
    namespace: &str,
    names: &[String],
) -> Result<(Arc<Vec<Key>>, Cache<Key, Arc<HandlerMetadata>>), BenchError> {
    let cache = Cache::new(10_000);
    let mut keys = Vec::new();
    for name in names {
        let metadata = process
            .registry
            .resolve(namespace, name, VERSION)
            .await?
            .metadata;
        let key = (namespace.to_owned(), name.clone(), VERSION.to_owned());
        cache.insert(key.clone(), metadata);
        keys.push(key);
    }
    cache.run_pending_tasks();
    Ok((Arc::new(keys), cache))
}

async fn ours(
    process: &Process,
    keys: &Arc<Vec<Key>>,
    concurrency: usize,
    operations: usize,
) -> Result<f64, BenchError> {
    let (registry, keys) = (Arc::clone(&process.registry), Arc::clone(keys));
    let took = load(concurrency, operations, move |number| {
        let (registry, keys) = (Arc::clone(&registry), Arc::clone(&keys));
        async move {
            let (namespace, name, version) = &keys[number % keys.len()];
            black_box(registry.resolve(namespace, name, version).await?);
            Ok(())
        }
    });
    Ok(rate(operations, took.await?))
}

async fn bare(
    cache: &Cache<Key, Arc<HandlerMetadata>>,
    keys: &Arc<Vec<Key>>,
    concurrency: usize,
    operations: usize,
) -> Result<f64, BenchError> {
    // As the registry is shared: a clone of the cache itself is five counters.
    let (cache, keys) = (Arc::new(cache.clone()), Arc::clone(keys));
    let took = load(concurrency, operations, move |number| {
        let (cache, keys) = (Arc::clone(&cache), Arc::clone(&keys));
        async move {
            black_box(cache.get(&keys[number % keys.len()]));
            Ok(())
        }
    });
    Ok(rate(operations, took.await?))
}

/// Allocations of a thousand resolves, for each.
#[expect(clippy::cast_precision_loss, reason = "the count is small")]
fn allocations(process: &Process, keys: &[Key]) -> Result<f64, BenchError> {
    const RESOLVES: usize = 1_000;
    let mut warm = 0;
    let counted = allocation_counter::measure(|| {
        for number in 0..RESOLVES {
            let (namespace, name, version) = &keys[number % keys.len()];
            let resolved = process.registry.resolve(namespace, name, version);
            let resolved = black_box(resolved.now_or_never());
            warm += usize::from(matches!(resolved, Some(Ok(found)) if found.tier == Tier::Local));
        }
    });
    if warm != RESOLVES {
        return Err(BenchError::Unexpected {
            what: "warm resolves whose allocations were counted",
            expected: RESOLVES.to_string(),
            found: warm.to_string(),
        });
    }
    Ok(counted.count_total as f64 / RESOLVES as f64)
}

async fn same_for_both_sizes(
    process: &Process,
    small: &Arc<Vec<Key>>,
    large: &Arc<Vec<Key>>,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let operations = effort.of(OPERATIONS);
    for concurrency in [1, 64] {
        let pairs = rounds(
            effort.rounds,
            || ours(process, large, concurrency, operations),
            || ours(process, small, concurrency, operations),
        )
        .await?;
        report.compared(
            format!("warm resolve, {}, c={concurrency}", LARGE.label),
            "/s",
            "the same, 2 KB",
            pairs,
            Some(Bar::AtLeast(0.9)),
        );
    }
    Ok(())
}

async fn latency(
    process: &Process,
    keys: &Arc<Vec<Key>>,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let (registry, keys) = (Arc::clone(&process.registry), Arc::clone(keys));
    let sorted = latencies(1, effort.of(100_000), move |number| {
        let (registry, keys) = (Arc::clone(&registry), Arc::clone(&keys));
        async move {
            let (namespace, name, version) = &keys[number % keys.len()];
            black_box(registry.resolve(namespace, name, version).await?);
            Ok(())
        }
    });
    report.add_latencies("warm resolve, 2 KB, c=1", sorted.await?);
    Ok(())
}
