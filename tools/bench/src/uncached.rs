//! Resolves with the cache off, beside one bare statement; and what a cache in the process alone
//! is worth.

use std::hint::black_box;
use std::sync::Arc;

use sqlx::PgPool;

use crate::counters;
use crate::error::BenchError;
use crate::fixtures::{LARGE, SMALL, VERSION};
use crate::letter::Letter;
use crate::measure::{Effort, latencies, load, rate, rounds};
use crate::report::{Bar, Report};
use crate::world::World;

const BARE: &str = "SELECT n.name, t.name, t.version, t.named_task_uuid, t.configuration::text
    FROM tasker.named_tasks t JOIN tasker.task_namespaces n USING (task_namespace_uuid)
    WHERE n.name = $1 AND t.name = $2 AND t.version = $3";

/// A template to ask for again and again.
#[derive(Clone)]
struct Target {
    namespace: Arc<str>,
    name: Arc<str>,
}

pub(crate) async fn run(
    world: &World,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    for size in [SMALL, LARGE] {
        let namespace = format!("uncached{}", size.bytes);
        let names = world.register(&namespace, 1, size).await?;
        let target = Target {
            namespace: namespace.into(),
            name: names[0].as_str().into(),
        };
        let operations = effort.of(2_000);
        for concurrency in [1, 16, 64, 256] {
            let pairs = rounds(
                effort.rounds,
                || ours(world, &target, concurrency, operations),
                || bare(&world.pool, &target, concurrency, operations),
            )
            .await?;
            report.compared(
                format!("resolve, cache off, {}, c={concurrency}", size.label),
                "/s",
                "bare joined SELECT",
                pairs,
                Some(Bar::AtLeast(0.85)),
            );
        }
        if size == SMALL {
            let letter = Letter::connect(world.pool.clone(), &world.redis_url).await?;
            let pairs = rounds(
                effort.rounds,
                || ours(world, &target, 16, operations),
                || two_queries(&letter, &target, 16, operations),
            )
            .await?;
            let what = "resolve, cache off, 2 KB, c=16";
            report.compared(what, "/s", "the letter of the specification", pairs, None);
            statements(world, &target, report).await?;
            without_redis(world, &target, effort, report).await?;
            latency(world, &target, operations, report).await?;
        }
    }
    Ok(())
}

async fn ours(
    world: &World,
    target: &Target,
    concurrency: usize,
    operations: usize,
) -> Result<f64, BenchError> {
    let (registry, target) = (Arc::new(world.uncached()), target.clone());
    let took = load(concurrency, operations, move |_| {
        let (registry, target) = (Arc::clone(&registry), target.clone());
        async move {
            black_box(
                registry
                    .resolve(&target.namespace, &target.name, VERSION)
                    .await?,
            );
            Ok(())
        }
    });
    Ok(rate(operations, took.await?))
}

async fn bare(
    pool: &PgPool,
    target: &Target,
    concurrency: usize,
    operations: usize,
) -> Result<f64, BenchError> {
    let (pool, target) = (pool.clone(), target.clone());
    let took = load(concurrency, operations, move |_| {
        let (pool, target) = (pool.clone(), target.clone());
        async move {
            let row: (String, String, String, uuid::Uuid, String) = sqlx::query_as(BARE)
                .bind(&*target.namespace)
                .bind(&*target.name)
                .bind(VERSION)
                .fetch_one(&pool)
                .await?;
            black_box(row);
            Ok(())
        }
    });
    Ok(rate(operations, took.await?))
}

async fn two_queries(
    letter: &Letter,
    target: &Target,
    concurrency: usize,
    operations: usize,
) -> Result<f64, BenchError> {
    let (letter, target) = (letter.clone(), target.clone());
    let took = load(concurrency, operations, move |_| {
        let (letter, target) = (letter.clone(), target.clone());
        async move {
            let (namespace, name) = (&target.namespace, &target.name);
            black_box(letter.read_database(namespace, name, VERSION).await?);
            Ok(())
        }
    });
    Ok(rate(operations, took.await?))
}

#[expect(clippy::cast_precision_loss, reason = "the count is small")]
async fn statements(world: &World, target: &Target, report: &mut Report) -> Result<(), BenchError> {
    let registry = world.uncached();
    let ((), sent) = counters::statements(async {
        registry
            .resolve(&target.namespace, &target.name, VERSION)
            .await?;
        Ok(())
    })
    .await?;
    report.alone(
        "resolve, cache off, SQL statements",
        "",
        vec![sent.len() as f64],
        Some(Bar::NeverOver(1.0)),
    );
    Ok(())
}

async fn without_redis(
    world: &World,
    target: &Target,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let process = world.process_without_redis().await?;
    let (registry, warm) = (Arc::clone(&process.registry), target.clone());
    let operations = effort.of(200_000);
    let pairs = rounds(
        effort.rounds,
        || {
            let (registry, warm) = (Arc::clone(&registry), warm.clone());
            async move {
                let took = load(1, operations, move |_| {
                    let (registry, warm) = (Arc::clone(&registry), warm.clone());
                    async move {
                        black_box(
                            registry
                                .resolve(&warm.namespace, &warm.name, VERSION)
                                .await?,
                        );
                        Ok(())
                    }
                });
                Ok(rate(operations, took.await?))
            }
        },
        || ours(world, target, 1, effort.of(1_000)),
    )
    .await?;
    process.stop().await;
    report.compared(
        "cache on, Redis absent, warm, c=1",
        "/s",
        "cache off",
        pairs,
        Some(Bar::AtLeast(100.0)),
    );
    Ok(())
}

async fn latency(
    world: &World,
    target: &Target,
    operations: usize,
    report: &mut Report,
) -> Result<(), BenchError> {
    let (registry, asked) = (Arc::new(world.uncached()), target.clone());
    let sorted = latencies(16, operations, move |_| {
        let (registry, asked) = (Arc::clone(&registry), asked.clone());
        async move {
            black_box(
                registry
                    .resolve(&asked.namespace, &asked.name, VERSION)
                    .await?,
            );
            Ok(())
        }
    });
    report.add_latencies("resolve, cache off, 2 KB, c=16", sorted.await?);
    Ok(())
}
