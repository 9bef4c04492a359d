//! A forgotten transaction: while its snapshot is open, PostgreSQL keeps every row of the queue
//! that has died since.

use sqlx::{Connection, PgConnection, PgPool};
use tasker_test_support::PostgresServer;

use super::fleet::Fleet;
use super::second_half;
use crate::Bench;
use crate::error::Result;
use crate::measure::rounds;
use crate::report::{Bar, Spread};

/// The run is divided in so many rounds.
const ROUNDS: usize = 10;
/// Steps of a task.
const STEPS: usize = 4;
/// Tasks that run one at a time after each round.
const SINGLE: usize = 50;

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (_, effort, report) = bench.parts();
    let steps = if effort.quick { 40_000 } else { 500_000 };
    let server = PostgresServer::start().await?;
    let held = Fleet::start(&server, 1).await?;
    let free = Fleet::start(&server, 1).await?;
    // A snapshot only keeps rows of its own database.
    let mut forgotten = PgConnection::connect(held.database.url()).await?;
    let mut forgotten = forgotten
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await?;
    sqlx::query("SELECT count(*) FROM tasker.step_queue")
        .execute(&mut *forgotten)
        .await?;

    let (mut times, mut free_times) = (Vec::new(), Vec::new());
    let tasks = steps / STEPS / ROUNDS;
    let pairs = rounds(
        ROUNDS,
        async || {
            let rate = held.tasks_per_second(tasks).await?;
            times.push(Spread::of(held.times(SINGLE).await?).median);
            Ok(rate)
        },
        async || {
            let rate = free.tasks_per_second(tasks).await?;
            free_times.push(Spread::of(free.times(SINGLE).await?).median);
            Ok(rate)
        },
    )
    .await?;
    let times: Vec<_> = times.into_iter().zip(free_times).skip(1).collect();
    let what = format!("tasks of 4 steps, c=64, last of {steps} steps under an old snapshot");
    let bar = Bar::AtLeast(1.0 / 1.5);
    report.compared(what, "/s", "without it", second_half(&pairs), bar);
    let what = "task of 4 steps, c=1, median, under an old snapshot";
    let bar = Bar::AtMost(1.5);
    report.compared(what, "ms", "without it", second_half(&times), bar);
    let what = "dead rows of the queue, at the end";
    report.alone(what, "", [dead_rows(&held.pool).await?], Bar::Shown);
    let what = "dead rows of the queue without it, at the end";
    report.alone(what, "", [dead_rows(&free.pool).await?], Bar::Shown);
    forgotten.rollback().await?;
    Ok(())
}

async fn dead_rows(pool: &PgPool) -> Result<f64> {
    let dead = sqlx::query_scalar(
        "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'tasker.step_queue'::regclass",
    );
    let dead: i64 = dead.fetch_one(pool).await?;
    Ok(dead as f64)
}
