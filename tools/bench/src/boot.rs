//! A worker's boot: registering a folder of templates, the first time and again.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_shared::models::core::task_template::{TemplateDocument, TemplateLimits};
use tasker_test_support::HeldFolder;
use tokio::time::{sleep, timeout};

use crate::Bench;
use crate::counters;
use crate::error::{Result, expect};
use crate::fixtures::{self, SMALL};
use crate::measure::ms;
use crate::report::{Bar, Report};
use crate::world::{PATIENCE, World, migrated_pool, new_pool};

const TEMPLATES: usize = 1_000;
/// Not those of deferred triggers, which run in no other statement and count as a client's.
const OF_CLIENTS: &str = r"^(?!.*(NEW\.|namespace_uuids|template_clock_lock))";

/// The costs of one boot.
struct Boot {
    ms: f64,
    statements: f64,
    wal_bytes: f64,
}

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (world, effort, report) = bench.parts();
    let folder = HeldFolder::create()?;
    let texts = write_files(folder.path())?;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    let mut parses = Vec::new();
    for round in 0..=effort.rounds {
        let database = world.database().await?;
        let pool = migrated_pool(&database).await?;
        let parse = ms(parse_on_one_core(&texts));
        let new = boot(world, &pool, folder.path()).await?;
        pool.close().await;
        // A process that starts again has neither open connections nor their plans.
        let pool = new_pool(database.url())?;
        let unchanged = boot(world, &pool, folder.path()).await?;
        pool.close().await;
        // The first round warms up.
        if round > 0 {
            first.push(new);
            again.push(unchanged);
            parses.push(parse);
        }
    }
    let what = "boot on 1,000 templates, first";
    add(report, what, &first, &parses, (5.0, 10.0));
    let what = "boot on 1,000 templates, nothing changed";
    add(report, what, &again, &parses, (2.0, 4.0));
    let wal = again.iter().map(|boot| boot.wal_bytes);
    report.alone(what, "bytes of WAL", wal, Bar::Exactly(0.0));
    Ok(())
}

fn add(
    report: &mut Report,
    what: &str,
    boots: &[Boot],
    parses: &[f64],
    (times_the_parse, statements): (f64, f64),
) {
    let pairs: Vec<_> = boots
        .iter()
        .zip(parses)
        .map(|(boot, parse)| (boot.ms, *parse))
        .collect();
    let bar = Bar::AtMost(times_the_parse);
    report.compared(what, "ms", "the parse alone, one core", &pairs, bar);
    let counts = boots.iter().map(|boot| boot.statements);
    report.alone(what, "statements", counts, Bar::NeverOver(statements));
}

async fn boot(world: &World, pool: &PgPool, folder: &Path) -> Result<Boot> {
    // A worker has migrated the database before, so it has one connection, which is idle.
    let process = world.process_on(pool, true).await?;
    let discovering = async {
        until_idle(pool).await?;
        let started = Instant::now();
        let registry = &process.registry;
        let found = registry.discover_and_register_templates(folder).await?;
        Ok((found, started.elapsed()))
    };
    let ((found, took), sent) = counters::statements(pool, OF_CLIENTS, discovering).await?;
    process.stop().await;
    expect("invalidation", &true, &found.invalidation.attempted)?;
    expect("invalidation error", &None, &found.invalidation.error)?;
    expect("registered templates", &TEMPLATES, &found.registered.len())?;
    Ok(Boot {
        ms: ms(took),
        statements: sent.count,
        wal_bytes: sent.wal_bytes,
    })
}

/// Waits until the pool has checked the connections that were returned to it.
async fn until_idle(pool: &PgPool) -> Result {
    let idle = async {
        while pool.num_idle() < usize::try_from(pool.size()).unwrap_or(0) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let idle = timeout(PATIENCE, idle).await;
    idle.map_err(|_elapsed| sqlx::Error::PoolTimedOut.into())
}

fn write_files(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let names = fixtures::names(TEMPLATES);
    let files = names.iter().map(|name| {
        let text = fixtures::yaml("boot", name, SMALL);
        let path = folder.join(format!("{name}.yaml"));
        std::fs::write(path, &text)?;
        Ok(text.into_bytes())
    });
    files.collect()
}

fn parse_on_one_core(texts: &[Vec<u8>]) -> Duration {
    let started = Instant::now();
    for text in texts {
        let parsed = TemplateDocument::from_yaml(text, TemplateLimits::default());
        black_box(parsed).ok();
    }
    started.elapsed()
}
