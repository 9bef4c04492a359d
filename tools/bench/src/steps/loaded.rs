//! The same figures with a million finished tasks and a hundred thousand queued steps.

use sqlx::{Connection, PgConnection};
use tasker_test_support::PostgresServer;

use super::fleet::{CONCURRENCY, Fleet};
use super::{SINGLE_TASKS, TASKS, fans, with_cpu};
use crate::Bench;
use crate::error::Result;
use crate::measure::{Effort, rounds};
use crate::report::{Bar, Report, Spread};

const FINISHED: usize = 1_000_000;
const QUEUED: usize = 100_000;
/// The load is inserted in this many parts, because each is one transaction.
const PARTS: i32 = 10;

/// Finished tasks and their rows. Ids are made from times of the last 30 days, as those of real tasks are.
const INSERT_FINISHED: &str = include_str!("finished.sql");
/// Half of the steps wait for a worker with another handler, half for their time.
const INSERT_QUEUED: &str = include_str!("queued.sql");

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (_, effort, report) = bench.parts();
    let server = PostgresServer::start().await?;
    let empty = Fleet::start(&server, 1).await?;
    let loaded = Fleet::start(&server, 1).await?;
    load(&loaded, effort).await?;
    compare(&loaded, &empty, effort, report).await?;
    let what = "memory of a worker, 1,000,000 finished and 100,000 queued";
    let pair = [(loaded.workers_mib(), empty.workers_mib())];
    report.compared(what, "MiB", "empty database", &pair, Bar::AtMost(1.3));
    Ok(())
}

async fn load(fleet: &Fleet, effort: Effort) -> Result {
    load_finished(fleet, effort).await?;
    let mut connection = loading(fleet).await?;
    let queued = i32::try_from(effort.of(QUEUED)).unwrap_or(i32::MAX);
    sqlx::query(INSERT_QUEUED)
        .bind(queued)
        .execute(&mut connection)
        .await?;
    settle(connection).await
}

/// Inserts a million finished tasks.
pub(super) async fn load_finished(fleet: &Fleet, effort: Effort) -> Result {
    let mut connection = loading(fleet).await?;
    let per_part = i32::try_from(effort.of(FINISHED)).unwrap_or(i32::MAX) / PARTS;
    for part in 0..PARTS {
        let insert = sqlx::query(INSERT_FINISHED)
            .bind(part * per_part)
            .bind(per_part)
            .bind(PARTS * per_part);
        insert.execute(&mut connection).await?;
    }
    settle(connection).await
}

async fn loading(fleet: &Fleet) -> Result<PgConnection> {
    let options = fleet.pool.connect_options();
    let mut connection = PgConnection::connect_with(&options).await?;
    // Without the checks of foreign keys, which hold by construction.
    for setting in [
        "SET session_replication_role = replica",
        "SET statement_timeout = 0",
        "SET synchronous_commit = off",
    ] {
        sqlx::query(setting).execute(&mut connection).await?;
    }
    Ok(connection)
}

async fn settle(mut connection: PgConnection) -> Result {
    for order in ["VACUUM (ANALYZE)", "CHECKPOINT"] {
        sqlx::query(order).execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(())
}

async fn compare(loaded: &Fleet, empty: &Fleet, effort: Effort, report: &mut Report) -> Result {
    const YARDSTICK: &str = "empty database";
    let single = async |fleet: &Fleet| {
        let times = fleet.times(effort.of(SINGLE_TASKS)).await?;
        Ok(Spread::of(times).median)
    };
    let pairs = rounds(effort.few_rounds(), || single(loaded), || single(empty)).await?;
    let what = "task of 4 steps, c=1, median, loaded";
    report.compared(what, "ms", YARDSTICK, &pairs, Bar::AtMost(1.3));

    let tasks = effort.of(TASKS);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let pairs = rounds(
        effort.few_rounds(),
        async || {
            let (rate, used) = with_cpu(loaded.tasks_per_second(tasks), tasks).await?;
            ours.push(used);
            Ok(rate)
        },
        async || {
            let (rate, used) = with_cpu(empty.tasks_per_second(tasks), tasks).await?;
            theirs.push(used);
            Ok(rate)
        },
    )
    .await?;
    let what = format!("tasks of 4 steps, c={CONCURRENCY}, loaded");
    report.compared(what, "/s", YARDSTICK, &pairs, Bar::AtLeast(1.0 / 1.3));
    let used: Vec<_> = ours.into_iter().zip(theirs).skip(1).collect();
    let what = "CPU of a task, c=64, loaded";
    report.compared(what, "ms", YARDSTICK, &used, Bar::AtMost(1.3));

    let pairs = rounds(
        effort.few_rounds(),
        || fans(loaded, effort),
        || fans(empty, effort),
    )
    .await?;
    let what = "steps of a fan-out, loaded";
    report.compared(what, "/s", YARDSTICK, &pairs, Bar::AtLeast(1.0 / 1.3));
    Ok(())
}
