//! The index of a hundred thousand templates.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::registry::TaskHandlerRegistry;

use crate::Bench;
use crate::counters;
use crate::error::{Failure, Result};
use crate::fixtures::VERSION;
use crate::idle::resolve_for;
use crate::measure::ms;
use crate::report::Bar;
use crate::world::{World, migrated_pool, new_pool};

const TEMPLATES: i32 = 100_000;
const POLLED_FOR: Duration = Duration::from_secs(10);
const MIB: f64 = 1024.0 * 1024.0;

const INSERT: &str = r"
    WITH namespaces AS (
        INSERT INTO tasker.task_namespaces (name)
        SELECT 'namespace_' || i FROM generate_series(0, 99) i
        RETURNING task_namespace_uuid, name
    )
    INSERT INTO tasker.named_tasks (task_namespace_uuid, name, version, configuration)
    SELECT n.task_namespace_uuid, 'template_' || i, '1.0.0',
           jsonb_build_object('name', 'template_' || i, 'steps', '[]'::jsonb)
    FROM generate_series(0, $1 - 1) i JOIN namespaces n ON n.name = 'namespace_' || i % 100
";

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (world, effort, report) = bench.parts();
    let database = world.database().await?;
    let pool = migrated_pool(&database).await?;
    sqlx::query(INSERT).bind(TEMPLATES).execute(&pool).await?;
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for round in 0..=effort.few_rounds() {
        let url = database.url().to_owned();
        let (took, mib) = tokio::task::spawn_blocking(move || load(&url)).await??;
        if round > 0 {
            times.push(took);
            sizes.push(mib);
        }
    }
    let what = "index of 100,000 templates, load";
    report.alone(what, "ms", times, Bar::AtMost(1_500.0));
    report.alone(what, "MiB", sizes, Bar::NeverOver(60.0));
    let idle = idle_poll(world, &pool).await?;
    let what = "index of 100,000 templates, idle poll";
    report.alone(what, "ms of the database's time", [idle], Bar::AtMost(1.0));
    Ok(())
}

/// Loads the index in a runtime of one thread, whose allocations can be counted. Returns the
/// milliseconds that it took and the MiB that it holds.
fn load(url: &str) -> Result<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let config = CacheConfig {
        enabled: true,
        ..CacheConfig::default()
    };
    let mut loaded = None;
    let counted = allocation_counter::measure(|| {
        loaded = Some(runtime.block_on(async {
            let provider = Arc::new(CacheProvider::noop());
            let registry = TaskHandlerRegistry::with_cache(new_pool(url)?, provider, config);
            let started = Instant::now();
            registry
                .resolve("namespace_7", "template_7", VERSION)
                .await?;
            Ok::<_, Failure>((registry, started.elapsed()))
        }));
    });
    let mut took = Duration::ZERO;
    if let Some(loaded) = loaded {
        let (registry, elapsed) = loaded?;
        runtime.block_on(registry.shutdown());
        took = elapsed;
    }
    let mib = counted.bytes_current as f64 / MIB;
    Ok((ms(took), mib))
}

/// Returns the milliseconds that PostgreSQL spends on a poll while nothing changes.
async fn idle_poll(world: &World, pool: &PgPool) -> Result<f64> {
    let process = world.process_on(pool, false).await?;
    process.load_index().await;
    let resolving = resolve_for(&process.registry, "namespace_7", "template_7", POLLED_FOR);
    let ((), polls) = counters::statements(pool, counters::ALL, resolving).await?;
    process.stop().await;
    Ok(polls.ms / polls.count)
}
