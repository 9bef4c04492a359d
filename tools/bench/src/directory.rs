//! A directory of a hundred thousand templates.

use std::sync::Arc;
use std::time::Instant;

use sqlx::{AssertSqlSafe, PgPool, Row};
use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::DatabaseConfig;
use tasker_shared::database::pool;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::TestDatabase;

use crate::counters::{self, Statement};
use crate::error::BenchError;
use crate::fixtures::VERSION;
use crate::measure::{Effort, Pair, load, ms, rate, rounds};
use crate::report::{Bar, Report};
use crate::world::{World, migrated_pool};

const TEMPLATES: usize = 100_000;
const OPERATIONS: usize = 200_000;
/// How many polls PostgreSQL explains.
const EXPLAINED: usize = 20;
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

/// What reading the directory took.
struct Loaded {
    wall_ms: f64,
    held_mib: f64,
    peak_mib: f64,
}

pub(crate) async fn run(
    world: &World,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let database = TestDatabase::create().await?;
    let pool = migrated_pool(&database).await?;
    sqlx::query(INSERT)
        .bind(i32::try_from(TEMPLATES).unwrap_or(i32::MAX))
        .execute(&pool)
        .await?;
    let mut loads = Vec::new();
    for round in 0..=effort.few_rounds() {
        let url = database.url().to_owned();
        let loaded = tokio::task::spawn_blocking(move || load_index(&url)).await??;
        if round > 0 {
            loads.push(loaded);
        }
    }
    let figures = |of: fn(&Loaded) -> f64| loads.iter().map(of).collect();
    let what = "directory of 100,000 templates, full load";
    report.alone(
        what,
        "ms",
        figures(|l| l.wall_ms),
        Some(Bar::AtMost(1_500.0)),
    );
    report.alone(
        what,
        "MiB held",
        figures(|l| l.held_mib),
        Some(Bar::NeverOver(60.0)),
    );
    report.alone(what, "MiB at the peak", figures(|l| l.peak_mib), None);
    idle_polls(world, &pool, report).await?;
    warm(world, &pool, effort, report).await
}

fn local(
    world_pool: PgPool,
    config: tasker_shared::config::tasker::CacheConfig,
) -> TaskHandlerRegistry {
    TaskHandlerRegistry::with_cache(world_pool, Arc::new(CacheProvider::noop()), config)
}

/// Reads the directory in a runtime of one thread, whose allocations can be counted.
fn load_index(url: &str) -> Result<Loaded, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::Runtime)?;
    let config = DatabaseConfig {
        url: url.to_owned(),
        ..DatabaseConfig::default()
    };
    let mut kept = None;
    let mut wall_ms = 0.0;
    let counted = allocation_counter::measure(|| {
        kept = Some(runtime.block_on(async {
            let registry = local(pool::create(&config)?, enabled());
            let started = Instant::now();
            registry
                .resolve("namespace_7", "template_7", VERSION)
                .await?;
            wall_ms = ms(started.elapsed());
            Ok::<_, BenchError>(registry)
        }));
    });
    if let Some(registry) = kept {
        runtime.block_on(registry?.shutdown());
    }
    #[expect(clippy::cast_precision_loss, reason = "there is less memory than that")]
    let mib = |bytes: i64| bytes as f64 / MIB;
    Ok(Loaded {
        wall_ms,
        held_mib: mib(counted.bytes_current),
        peak_mib: mib(counted.bytes_max.cast_signed()),
    })
}

fn enabled() -> tasker_shared::config::tasker::CacheConfig {
    tasker_shared::config::tasker::CacheConfig {
        enabled: true,
        ..Default::default()
    }
}

/// Polls of a directory at rest: with their way to the database and back, and what the database itself
/// says that it spends on one.
async fn idle_polls(world: &World, pool: &PgPool, report: &mut Report) -> Result<(), BenchError> {
    let registry = local(pool.clone(), world.cache_config());
    registry
        .resolve("namespace_7", "template_7", VERSION)
        .await?;
    let ((), sent) = counters::statements(async {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        Ok(())
    })
    .await?;
    registry.shutdown().await;
    let polls: Vec<&Statement> = sent.iter().filter(|sent| sent.is_poll()).collect();
    let what = "directory of 100,000 templates, idle poll";
    let Some(first) = polls.first() else {
        return Err(BenchError::Unexpected {
            what: "polls of a directory at rest",
            expected: String::from("some"),
            found: String::from("none"),
        });
    };
    let inside = explained(pool, first.text()).await?;
    let bar = Some(Bar::AtMost(1.0));
    report.alone(format!("{what}, in PostgreSQL"), "ms", inside, bar);
    let whole = polls.iter().map(|poll| poll.seconds * 1e3).collect();
    report.alone(format!("{what} with its round trip"), "ms", whole, None);
    Ok(())
}

/// How long PostgreSQL plans and executes this poll when there is no news, in milliseconds. It is
/// prepared, as the registry's is.
async fn explained(pool: &PgPool, statement: &str) -> Result<Vec<f64>, BenchError> {
    let mut connection = pool.acquire().await?;
    // Nobody else's words: the text is the registry's own.
    let prepare = AssertSqlSafe(format!("PREPARE idle_poll (bigint, uuid) AS {statement}"));
    sqlx::raw_sql(prepare).execute(&mut *connection).await?;
    let last = "SELECT format('EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE idle_poll (%s, %L)',
                              sequence, stamp)
                FROM tasker.template_commits ORDER BY sequence DESC LIMIT 1";
    let explain: String = sqlx::query_scalar(last).fetch_one(&mut *connection).await?;
    let mut took = Vec::new();
    for _ in 0..EXPLAINED {
        let explain = sqlx::raw_sql(AssertSqlSafe(explain.clone()));
        let plan: serde_json::Value = explain.fetch_one(&mut *connection).await?.try_get(0)?;
        let times = ["Planning Time", "Execution Time"].map(|time| plan[0][time].as_f64());
        took.push(times.into_iter().flatten().sum());
    }
    Ok(took)
}

async fn warm(
    world: &World,
    pool: &PgPool,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let large = Arc::new(local(pool.clone(), world.cache_config()));
    let small = world.local_process().await;
    let names = world
        .register("beside", 100, crate::fixtures::SMALL)
        .await?;
    let small_names: Vec<_> = names
        .iter()
        .map(|name| (String::from("beside"), name.clone()))
        .collect();
    let large_names: Vec<_> = (0..100)
        .map(|number| (format!("namespace_{number}"), format!("template_{number}")))
        .collect();
    let operations = effort.of(OPERATIONS);
    let (large_names, small_names) = (Arc::new(large_names), Arc::new(small_names));
    let pairs: Vec<Pair> = rounds(
        effort.rounds,
        || resolve(&large, &large_names, operations),
        || resolve(&small.registry, &small_names, operations),
    )
    .await?;
    report.compared(
        "warm resolve beside 100,000 templates, c=1",
        "/s",
        "beside few",
        pairs,
        Some(Bar::AtLeast(0.9)),
    );
    large.shutdown().await;
    small.stop().await;
    Ok(())
}

async fn resolve(
    registry: &Arc<TaskHandlerRegistry>,
    names: &Arc<Vec<(String, String)>>,
    operations: usize,
) -> Result<f64, BenchError> {
    let (registry, names) = (Arc::clone(registry), Arc::clone(names));
    let took = load(1, operations, move |number| {
        let (registry, names) = (Arc::clone(&registry), Arc::clone(&names));
        async move {
            let (namespace, name) = &names[number % names.len()];
            std::hint::black_box(registry.resolve(namespace, name, VERSION).await?);
            Ok(())
        }
    });
    Ok(rate(operations, took.await?))
}
