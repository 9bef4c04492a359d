//! A forgotten transaction: while its snapshot is open, PostgreSQL keeps every row of the queue
//! that has died since.

use std::time::Instant;

use sqlx::{Connection, PgConnection, PgPool};
use tasker_shared::execution::{
    self, AttemptEnd, AttemptId, Bounds, EndState, ExecutionRow, Scope, WorkerRow,
};
use tasker_test_support::PostgresServer;
use uuid::Uuid;

use super::fleet::{FOREIGN, FOREIGN_CALLABLE, Fleet};
use super::second_half;
use crate::Bench;
use crate::error::{Result, expect};
use crate::measure::{ms, rounds};
use crate::report::{Bar, Spread};

/// The run is divided in so many rounds.
const ROUNDS: usize = 10;
/// Steps of a task.
const STEPS: usize = 4;
/// Claims that are timed in a round.
const CLAIMS: usize = 50;

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

    let (mut with, mut without) = (Claimer::start(&held).await?, Claimer::start(&free).await?);
    let (mut claims, mut free_claims, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let tasks = steps / STEPS / ROUNDS;
    let pairs = rounds(
        ROUNDS,
        async || {
            let rate = held.tasks_per_second(tasks).await?;
            claims.push(with.median_claim(&held).await?);
            whole.push(with.whole_claim().await?);
            Ok(rate)
        },
        async || {
            let rate = free.tasks_per_second(tasks).await?;
            free_claims.push(without.median_claim(&free).await?);
            Ok(rate)
        },
    )
    .await?;
    let claims: Vec<_> = claims.into_iter().zip(free_claims).skip(1).collect();
    let what = format!("tasks of 4 steps, c=64, last of {steps} steps under an old snapshot");
    let bar = Bar::AtLeast(1.0 / 1.5);
    report.compared(what, "/s", "without it", second_half(&pairs), bar);
    let what = "claim, under an old snapshot";
    report.compared(
        what,
        "ms",
        "without it",
        second_half(&claims),
        Bar::AtMost(1.5),
    );
    let what = "claim that reads the whole queue, at the end";
    report.alone(what, "ms", whole.last().copied(), Bar::Shown);
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

/// A worker that claims one step at a time, with the statements of real workers.
struct Claimer {
    connection: PgConnection,
    worker: Uuid,
    scope: Scope,
    bounds: Bounds,
}

impl Claimer {
    async fn start(fleet: &Fleet) -> Result<Self> {
        let mut connection = PgConnection::connect(fleet.database.url()).await?;
        let scope = Scope {
            callables: vec![String::from(FOREIGN_CALLABLE)],
            patterns: Vec::new(),
        };
        let row = WorkerRow {
            worker_uuid: Uuid::now_v7(),
            name: String::from("bench"),
            host: String::from("bench"),
            capacity: 1,
            // Nobody renews it.
            lease_seconds: 86_400,
            max_lost_attempts: 1,
        };
        execution::register_worker(&mut connection, &row, &scope).await?;
        Ok(Self {
            connection,
            worker: row.worker_uuid,
            scope,
            bounds: Bounds::default(),
        })
    }

    /// Creates tasks, claims the step of each and completes it. Returns the median of the claims.
    async fn median_claim(&mut self, fleet: &Fleet) -> Result<f64> {
        // As real workers do at least every second; this one was idle.
        self.claim().await?;
        let mut times = Vec::with_capacity(CLAIMS);
        for _ in 0..CLAIMS {
            fleet.clients[0].lock().await.create_task(FOREIGN).await?;
            let started = Instant::now();
            let rows = self.claim().await?;
            times.push(ms(started.elapsed()));
            let row = rows.iter().find(|row| row.kind == "step");
            let id = row.and_then(|row| {
                Some(AttemptId {
                    task_uuid: row.task_uuid?,
                    step_uuid: row.workflow_step_uuid?,
                    attempt: row.attempt?,
                })
            });
            expect("a claimed step", &true, &id.is_some())?;
            if let Some(id) = id {
                self.complete(id).await?;
            }
        }
        Ok(Spread::of(times).median)
    }

    /// Claims nothing, and reads the whole queue for it.
    async fn whole_claim(&mut self) -> Result<f64> {
        self.bounds = Bounds::default();
        let started = Instant::now();
        self.claim().await?;
        Ok(ms(started.elapsed()))
    }

    async fn claim(&mut self) -> Result<Vec<ExecutionRow>> {
        let (connection, scope) = (&mut self.connection, &self.scope);
        let rows = execution::claim(connection, self.worker, 2, scope, &self.bounds).await?;
        if let Some(scanned) = rows.iter().find(|row| row.kind == "scanned")
            && let Some(read_at) = scanned.due_at
        {
            self.bounds.raise([], read_at, false);
        }
        Ok(rows)
    }

    async fn complete(&mut self, id: AttemptId) -> Result {
        let end = AttemptEnd {
            id,
            state: EndState::Complete,
            result: None,
            duration_ms: 0,
            metadata: serde_json::json!({"reason": "complete"}),
        };
        let (connection, scope) = (&mut self.connection, &self.scope);
        execution::complete(connection, self.worker, &[&end], 0, scope, None).await?;
        Ok(())
    }
}
