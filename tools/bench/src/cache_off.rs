//! Resolves without a cache, beside one bare statement.

use std::hint::black_box;
use std::sync::Arc;

use tasker_shared::registry::{TaskHandlerRegistry, Tier};

use crate::Bench;
use crate::counters;
use crate::error::Result;
use crate::fixtures::{LARGE, SMALL, VERSION};
use crate::measure::{rate, rounds};
use crate::report::Bar;
use crate::world::{Templates, World, resolve};

const BARE: &str = "SELECT n.name, t.name, t.version, t.named_task_uuid, t.configuration::text
    FROM tasker.named_tasks t JOIN tasker.task_namespaces n USING (task_namespace_uuid)
    WHERE n.name = $1 AND t.name = $2 AND t.version = $3";

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (counting, effort, report) = bench.parts();
    // A server of its own, because counting slows short statements down.
    let world = &World::create_with(counting.redis_url.clone(), &[]).await?;
    let registry = Arc::new(TaskHandlerRegistry::new(world.pool.clone()));
    for size in [SMALL, LARGE] {
        let namespace = format!("uncached{}", size.bytes);
        let templates = world.register(&namespace, 1, size).await?;
        for concurrency in [1, 64] {
            let operations = 0..effort.of(2_000);
            let pairs = rounds(
                effort.rounds,
                || {
                    resolve(
                        &registry,
                        &templates,
                        concurrency,
                        operations.clone(),
                        Tier::Database,
                    )
                },
                || bare(world, &templates, concurrency, operations.len()),
            )
            .await?;
            let what = format!("resolve, cache off, {}, c={concurrency}", size.label);
            report.compared(what, "/s", "bare joined SELECT", &pairs, Bar::AtLeast(0.75));
        }
        let templates = counting.register(&namespace, 1, size).await?;
        let registry = Arc::new(TaskHandlerRegistry::new(counting.pool.clone()));
        // Opens all connections, because each is set up by a statement.
        resolve(&registry, &templates, 64, 0..64, Tier::Database).await?;
        let one = resolve(&registry, &templates, 1, 0..1, Tier::Database);
        let (_, sent) = counters::statements(&counting.pool, counters::ALL, one).await?;
        let what = format!("resolve, cache off, {}", size.label);
        report.alone(what, "statements", [sent.count], Bar::Exactly(1.0));
    }
    Ok(())
}

async fn bare(
    world: &World,
    templates: &Arc<Templates>,
    concurrency: usize,
    operations: usize,
) -> Result<f64> {
    let shared = Arc::new((world.pool.clone(), Arc::clone(templates)));
    rate(
        concurrency,
        0..operations,
        &shared,
        |shared, numbers| async move {
            let (pool, templates) = &*shared;
            for _ in numbers {
                let row: (String, String, String, uuid::Uuid, String) = sqlx::query_as(BARE)
                    .bind(&templates.namespace)
                    .bind(&templates.names[0])
                    .bind(VERSION)
                    .fetch_one(pool)
                    .await?;
                black_box(row);
            }
            Ok(())
        },
    )
    .await
}
