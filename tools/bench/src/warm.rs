//! Warm resolves beside a bare `get` of a moka cache that holds the same values.

use std::hint::black_box;
use std::sync::Arc;

use futures::FutureExt;
use moka::sync::Cache;
use tasker_shared::registry::{TaskHandlerRegistry, Tier};
use tasker_shared::types::HandlerMetadata;

use crate::Bench;
use crate::error::{Result, expect};
use crate::fixtures::{LARGE, SMALL, VERSION};
use crate::measure::{rate, rounds};
use crate::report::Bar;
use crate::world::{Templates, resolve};

const OPERATIONS: usize = 200_000;
/// A prime number, so that each of the concurrent callers goes through all templates.
const TEMPLATES: usize = 101;

type Key = (String, String, String);

/// A moka cache with the keys of all its values.
type Bare = (Cache<Key, Arc<HandlerMetadata>>, Vec<Key>);

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (world, effort, report) = bench.parts();
    let process = world.process_on(&world.pool, false).await?;
    let registry = &process.registry;
    let operations = 0..effort.of(OPERATIONS);
    let mut sizes = Vec::new();
    for size in [SMALL, LARGE] {
        let namespace = format!("warm{}", size.bytes);
        let templates = world.register(&namespace, TEMPLATES, size).await?;
        let bare = Arc::new(warm_up(registry, &templates).await?);
        for concurrency in [1, 64] {
            let pairs = rounds(
                effort.rounds,
                || {
                    resolve(
                        registry,
                        &templates,
                        concurrency,
                        operations.clone(),
                        Tier::Local,
                    )
                },
                || get(&bare, concurrency, operations.len()),
            )
            .await?;
            let what = format!("warm resolve, {}, c={concurrency}", size.label);
            report.compared(what, "/s", "bare moka get", &pairs, Bar::AtLeast(0.4));
        }
        let what = format!("warm resolve, {}, allocations", size.label);
        let allocations = allocations(registry, &templates)?;
        report.alone(what, "", [allocations], Bar::Exactly(0.0));
        sizes.push(templates);
    }
    let pairs = rounds(
        effort.rounds,
        || resolve(registry, &sizes[1], 1, operations.clone(), Tier::Local),
        || resolve(registry, &sizes[0], 1, operations.clone(), Tier::Local),
    )
    .await?;
    let what = "warm resolve, 50 KB, c=1";
    report.compared(what, "/s", "the same, 2 KB", &pairs, Bar::AtLeast(0.9));
    process.stop().await;
    Ok(())
}

async fn warm_up(registry: &TaskHandlerRegistry, templates: &Templates) -> Result<Bare> {
    let Templates {
        namespace, names, ..
    } = templates;
    let cache = Cache::new(10_000);
    let mut keys = Vec::new();
    for name in names {
        let resolved = registry.resolve(namespace, name, VERSION).await?;
        let key = (namespace.clone(), name.clone(), VERSION.to_owned());
        cache.insert(key.clone(), resolved.metadata);
        keys.push(key);
    }
    cache.run_pending_tasks();
    Ok((cache, keys))
}

async fn get(bare: &Arc<Bare>, concurrency: usize, operations: usize) -> Result<f64> {
    rate(
        concurrency,
        0..operations,
        bare,
        |bare, numbers| async move {
            let (cache, keys) = &*bare;
            for number in numbers {
                black_box(cache.get(&keys[number % keys.len()]));
            }
            Ok(())
        },
    )
    .await
}

/// Returns the allocations of a resolve, counted over a thousand.
fn allocations(registry: &TaskHandlerRegistry, templates: &Templates) -> Result<f64> {
    const RESOLVES: usize = 1_000;
    let Templates {
        namespace, names, ..
    } = templates;
    let mut local = 0;
    let counted = allocation_counter::measure(|| {
        for name in names.iter().cycle().take(RESOLVES) {
            let resolved = registry.resolve(namespace, name, VERSION).now_or_never();
            local += usize::from(matches!(resolved, Some(Ok(found)) if found.tier == Tier::Local));
        }
    });
    expect("warm resolves", &RESOLVES, &local)?;
    Ok(counted.count_total as f64 / RESOLVES as f64)
}
