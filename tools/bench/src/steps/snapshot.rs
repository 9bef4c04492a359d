//! A forgotten transaction: while its snapshot is open, PostgreSQL keeps every row of the queue
//! that has died since.

use sqlx::{Connection, PgConnection, PgPool};
use tasker_test_support::PostgresServer;

use super::fleet::Fleet;
use super::second_half;
use crate::Bench;
use crate::counters::{self, COUNTING};
use crate::error::Result;
use crate::measure::rounds;
use crate::report::Bar;

/// The run is divided in so many rounds.
const ROUNDS: usize = 10;
/// Steps of a task.
const STEPS: usize = 4;

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (_, effort, report) = bench.parts();
    let steps = if effort.quick { 40_000 } else { 500_000 };
    let server = PostgresServer::start_with(&COUNTING).await?;
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

    let (mut claims, mut free_claims) = (Vec::new(), Vec::new());
    let tasks = steps / STEPS / ROUNDS;
    let pairs = rounds(
        ROUNDS,
        async || {
            let (rate, claim) = with_claims(&held, tasks).await?;
            claims.push(claim);
            Ok(rate)
        },
        async || {
            let (rate, claim) = with_claims(&free, tasks).await?;
            free_claims.push(claim);
            Ok(rate)
        },
    )
    .await?;
    let claims: Vec<_> = claims.into_iter().zip(free_claims).skip(1).collect();
    let what = format!("tasks of 4 steps, c=64, last of {steps} steps under an old snapshot");
    let bar = Bar::AtLeast(1.0 / 1.5);
    report.compared(what, "/s", "without it", second_half(&pairs), bar);
    let what = "claim, under an old snapshot";
    let bar = Bar::AtMost(1.5);
    report.compared(what, "ms", "without it", second_half(&claims), bar);
    let what = "dead rows of the queue, at the end";
    report.alone(what, "", [dead_rows(&held.pool).await?], Bar::Shown);
    let what = "dead rows of the queue without it, at the end";
    report.alone(what, "", [dead_rows(&free.pool).await?], Bar::Shown);
    forgotten.rollback().await?;
    Ok(())
}

/// Returns the tasks per second, and the mean time of the worker's claims in milliseconds.
async fn with_claims(fleet: &Fleet, tasks: usize) -> Result<(f64, f64)> {
    let running = fleet.tasks_per_second(tasks);
    let (rate, claims) = counters::statements(&fleet.pool, "steps_claim", running).await?;
    Ok((rate, claims.ms / claims.count))
}

async fn dead_rows(pool: &PgPool) -> Result<f64> {
    let dead = sqlx::query_scalar(
        "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'tasker.step_queue'::regclass",
    );
    let dead: i64 = dead.fetch_one(pool).await?;
    Ok(dead as f64)
}
