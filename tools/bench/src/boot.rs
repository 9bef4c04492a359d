//! A worker's boot: finding and registering all templates, the first time and again.

use std::collections::HashSet;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use sqlx::{AssertSqlSafe, PgPool};
use tasker_shared::models::core::task_template::{TemplateDocument, TemplateLimits};
use tasker_test_support::{HeldFolder, TestDatabase};
use tokio::time::{sleep, timeout};

use crate::counters;
use crate::error::BenchError;
use crate::fixtures::{self, SMALL};
use crate::measure::{Effort, ms};
use crate::report::{Bar, Report};
use crate::world::{PATIENCE, World, migrated_pool, new_pool};

const TEMPLATES: usize = 1_000;
/// A checkpoint or a statistics page may fall into the time of a boot.
const WAL_NOISE: f64 = 16.0 * 1024.0;

/// What one boot took.
struct Boot {
    wall: Duration,
    statements: usize,
    sql_ms: f64,
    wal_bytes: f64,
}

pub(crate) async fn run(
    world: &World,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let folder = HeldFolder::create()?;
    let texts = write_files(folder.path())?;
    let mut first = Vec::new();
    let mut again = Vec::new();
    let mut changed = Vec::new();
    for round in 0..=effort.rounds {
        let database = TestDatabase::create().await?;
        let pool = migrated_pool(&database).await?;
        let parallel = ms(parse(&texts));
        let serial = ms(parse_on_one_core(&texts));
        let new = boot(world, &pool, folder.path(), TEMPLATES).await?;
        pool.close().await;
        let before = row_versions(&database).await?;
        // What a process that starts again does not have: open connections and their plans.
        let pool = new_pool(&database)?;
        let unchanged = boot(world, &pool, folder.path(), TEMPLATES).await?;
        pool.close().await;
        let after = row_versions(&database).await?;
        if round > 0 {
            first.push((new, parallel, serial));
            again.push((unchanged, parallel, serial));
            changed.push(before.symmetric_difference(&after).count());
        }
    }
    tell(report, "boot on 1,000 templates, first", &first, 2.0, 10.0);
    let unchanged = "boot on 1,000 templates, nothing changed";
    tell(report, unchanged, &again, 1.3, 3.0);
    let wal = again.iter().map(|(boot, _, _)| boot.wal_bytes).collect();
    report.alone(
        unchanged,
        "bytes of WAL",
        wal,
        Some(Bar::NeverOver(WAL_NOISE)),
    );
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let changed = changed.into_iter().map(|rows| rows as f64).collect();
    report.alone(unchanged, "rows written", changed, Some(Bar::Always(0.0)));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn tell(report: &mut Report, what: &str, boots: &[(Boot, f64, f64)], wall: f64, statements: f64) {
    let beside = |parse: fn(&(Boot, f64, f64)) -> f64| {
        boots
            .iter()
            .map(|boot| (ms(boot.0.wall), parse(boot)))
            .collect()
    };
    let bar = Some(Bar::AtMost(wall));
    report.compared(
        what,
        "ms",
        "the parse alone, all cores",
        beside(|boot| boot.1),
        bar,
    );
    report.compared(
        what,
        "ms",
        "the parse alone, one core",
        beside(|boot| boot.2),
        bar,
    );
    let in_sql = boots.iter().map(|boot| boot.0.sql_ms).collect();
    report.alone(format!("{what}, in PostgreSQL"), "ms", in_sql, None);
    let counts = boots.iter().map(|boot| boot.0.statements as f64).collect();
    report.alone(
        what,
        "SQL statements",
        counts,
        Some(Bar::NeverOver(statements)),
    );
}

async fn boot(
    world: &World,
    pool: &PgPool,
    folder: &Path,
    expected: usize,
) -> Result<Boot, BenchError> {
    // A worker comes to its boot with the connection that it has migrated the database on, at rest;
    // what is counted begins here.
    let process = world.process_on(pool.clone()).await?;
    let before = wal(pool).await?;
    until_at_rest(pool).await?;
    let started = Instant::now();
    let (found, sent) = counters::statements(async {
        Ok(process
            .registry
            .discover_and_register_templates(folder)
            .await?)
    })
    .await?;
    let wall = started.elapsed();
    let written = wal(pool).await? - before;
    process.stop().await;
    if found.invalidation.error.is_some() || !found.invalidation.attempted {
        return Err(BenchError::Unexpected {
            what: "the invalidation of a boot",
            expected: String::from("an attempt without an error"),
            found: format!("{:?}", found.invalidation),
        });
    }
    if found.registered.len() != expected {
        return Err(BenchError::Unexpected {
            what: "registered templates",
            expected: expected.to_string(),
            found: found.registered.len().to_string(),
        });
    }
    Ok(Boot {
        wall,
        statements: sent.len(),
        sql_ms: sent.iter().map(|statement| statement.seconds * 1e3).sum(),
        wal_bytes: written,
    })
}

/// Waits until the pool has seen that its connections are alive, which it does when it gets them back.
async fn until_at_rest(pool: &PgPool) -> Result<(), BenchError> {
    let at_rest = async {
        while pool.num_idle() < usize::try_from(pool.size()).unwrap_or(0) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, at_rest)
        .await
        .map_err(|_elapsed| sqlx::Error::PoolTimedOut.into())
}

/// Each row of Tasker's tables, with the transactions that made and last locked or changed it.
async fn row_versions(database: &TestDatabase) -> Result<HashSet<String>, BenchError> {
    let pool = new_pool(database)?;
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'tasker'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&pool).await?;
    let mut versions = HashSet::new();
    for table in tables {
        // Nobody else's words: the names of our own tables.
        let sql = AssertSqlSafe(format!(
            "SELECT '{table} ' || ctid || ' ' || xmin || ' ' || xmax FROM tasker.{table}"
        ));
        let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(&pool).await?;
        versions.extend(rows);
    }
    pool.close().await;
    Ok(versions)
}

/// Bytes of WAL since the cluster was made.
async fn wal(pool: &PgPool) -> Result<f64, BenchError> {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}

fn write_files(folder: &Path) -> Result<Vec<Vec<u8>>, BenchError> {
    fixtures::names("template", TEMPLATES)
        .iter()
        .map(|name| {
            let text = yaml(&fixtures::document("boot", name, SMALL));
            let path = folder.join(format!("{name}.yaml"));
            std::fs::write(&path, &text).map_err(|source| BenchError::File { path, source })?;
            Ok(text.into_bytes())
        })
        .collect()
}

/// Block YAML, as people write it.
fn yaml(value: &serde_json::Value) -> String {
    let mut text = String::new();
    write_yaml(&mut text, value, 0);
    text
}

fn write_yaml(text: &mut String, value: &serde_json::Value, indent: usize) {
    use serde_json::Value;
    let pad = " ".repeat(indent);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                text.push('\n');
                text.push_str(&pad);
                text.push_str(key);
                text.push(':');
                write_yaml(text, value, indent + 2);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push('\n');
                text.push_str(&pad);
                text.push('-');
                write_yaml(text, item, indent + 2);
            }
        }
        // JSON is YAML.
        scalar => {
            text.push(' ');
            text.push_str(&scalar.to_string());
        }
    }
}

fn parse(texts: &[Vec<u8>]) -> Duration {
    let started = Instant::now();
    let parsed: Vec<_> = texts
        .par_iter()
        .map(|text| TemplateDocument::from_yaml(text, TemplateLimits::default()))
        .collect();
    let took = started.elapsed();
    black_box(parsed);
    took
}

fn parse_on_one_core(texts: &[Vec<u8>]) -> Duration {
    let started = Instant::now();
    let parsed: Vec<_> = texts
        .iter()
        .map(|text| TemplateDocument::from_yaml(text, TemplateLimits::default()))
        .collect();
    let took = started.elapsed();
    black_box(parsed);
    took
}
