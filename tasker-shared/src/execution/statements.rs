//! The statements of workers, each a call of one function.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{ExecutionRow, Raw};
use crate::metrics::{STEPS_GIVEN_UP, STEPS_REQUEUED};
use crate::types::Document;

/// The distance above the last claimed step's time a later one may have been committed. Longer ones are
/// announced with their time.
const SLACK: TimeDelta = TimeDelta::milliseconds(100);
/// The distance for which [`Bounds::reach_back`] reads again. Each second of it costs a millisecond or
/// two while thousands of rows die in a second and none can be removed.
const REACH: TimeDelta = TimeDelta::seconds(5);

/// One run of a step. A worker that lost its claim cannot record a result under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptId {
    /// The task.
    pub task_uuid: Uuid,
    /// The step.
    pub step_uuid: Uuid,
    /// Counts the runs of the step from 1.
    pub attempt: i32,
}

/// The state that an attempt leaves its step in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndState {
    /// The step is complete.
    Complete,
    /// The step failed for good.
    Error,
    /// The step runs again after this many milliseconds.
    Retry(i64),
}

impl EndState {
    fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Error => "error",
            Self::Retry(_) => "waiting_for_retry",
        }
    }
}

/// The end of an attempt, as it is recorded.
#[derive(Debug)]
pub struct AttemptEnd {
    /// Which attempt.
    pub id: AttemptId,
    /// The step's next state.
    pub state: EndState,
    /// The step's result, or its error.
    pub result: Option<Raw>,
    /// The duration of the handler.
    pub duration_ms: i64,
    /// Stored with the transition; has a `reason`.
    pub metadata: Value,
}

/// The steps that a worker can run.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The callables that it has handlers for.
    pub callables: Vec<String>,
    /// Patterns of `LIKE` for callables that it runs over HTTP.
    pub patterns: Vec<String>,
}

/// The time from which on a worker reads the queue of each priority. All that is older was taken, or
/// was not for this worker, when it looked.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    floor: Option<DateTime<Utc>>,
    by_priority: BTreeMap<i16, DateTime<Utc>>,
}

impl Bounds {
    /// Raises the bounds after the queue was read at `read_at`: to the times of the steps that were
    /// `found` in it, or to `read_at` if it had no more.
    pub fn raise(
        &mut self,
        found: impl IntoIterator<Item = (i16, DateTime<Utc>)>,
        read_at: DateTime<Utc>,
        had_more: bool,
    ) {
        if !had_more {
            self.floor = Some(read_at - SLACK);
            self.by_priority.clear();
            return;
        }
        for (priority, due_at) in found {
            let bound = due_at - SLACK;
            let held = self.by_priority.entry(priority).or_insert(bound);
            *held = bound.max(*held);
        }
    }

    /// Lowers the bounds for a step that became due at `due_at` and was committed later.
    pub fn lower(&mut self, due_at: DateTime<Utc>) {
        let bound = due_at - SLACK;
        for held in self.floor.iter_mut().chain(self.by_priority.values_mut()) {
            *held = bound.min(*held);
        }
    }

    /// Lowers the bounds so far that steps are found which were committed a few seconds late and
    /// whose announcement was lost.
    pub fn reach_back(&mut self) {
        for held in self.floor.iter_mut().chain(self.by_priority.values_mut()) {
            *held -= REACH;
        }
    }

    /// Narrows the bounds after a claim that read the queue from them on took too long: at first to
    /// the hour before `now`, then to half of the time each. What is left out is read with a later
    /// claim of the whole queue.
    pub fn narrow(&mut self, now: DateTime<Utc>) {
        self.by_priority.clear();
        let floor = self.floor.map_or(now - TimeDelta::hours(1), |held| {
            held + (now - held).max(TimeDelta::zero()) / 2
        });
        self.floor = Some(floor);
    }

    fn split(&self) -> (Option<DateTime<Utc>>, Vec<i16>, Vec<DateTime<Utc>>) {
        let (priorities, bounds) = self
            .by_priority
            .iter()
            .map(|(priority, bound)| (*priority, *bound))
            .unzip();
        (self.floor, priorities, bounds)
    }
}

/// Claims up to `want` steps that are due.
pub async fn claim(
    connection: &mut PgConnection,
    worker: Uuid,
    want: i32,
    scope: &Scope,
    bounds: &Bounds,
) -> Result<Vec<ExecutionRow>, sqlx::Error> {
    let (floor, priorities, from) = bounds.split();
    sqlx::query_as("SELECT * FROM tasker.steps_claim($1, $2, $3, $4, $5, $6, $7)")
        .bind(worker)
        .bind(want)
        .bind(&scope.callables)
        .bind(&scope.patterns)
        .bind(floor)
        .bind(priorities)
        .bind(from)
        .fetch_all(connection)
        .await
}

/// Records `ends`, and claims up to `want` of the steps that they make ready; with `bounds`, and
/// further ones that are due.
pub async fn complete(
    connection: &mut PgConnection,
    worker: Uuid,
    ends: &[&AttemptEnd],
    want: i32,
    scope: &Scope,
    bounds: Option<&Bounds>,
) -> Result<Vec<ExecutionRow>, sqlx::Error> {
    let (floor, priorities, from) = bounds.map(Bounds::split).unwrap_or_default();
    // In the order in which a cancellation locks them.
    let mut ends = ends.to_vec();
    ends.sort_unstable_by_key(|end| (end.id.task_uuid, end.id.step_uuid));
    let tasks: Vec<Uuid> = ends.iter().map(|end| end.id.task_uuid).collect();
    let steps: Vec<Uuid> = ends.iter().map(|end| end.id.step_uuid).collect();
    let attempts: Vec<i32> = ends.iter().map(|end| end.id.attempt).collect();
    let states: Vec<&str> = ends.iter().map(|end| end.state.name()).collect();
    let results: Vec<Option<&Raw>> = ends.iter().map(|end| end.result.as_ref()).collect();
    let delays: Vec<Option<i64>> = ends
        .iter()
        .map(|end| match end.state {
            EndState::Retry(delay) => Some(delay),
            EndState::Complete | EndState::Error => None,
        })
        .collect();
    let durations: Vec<i64> = ends.iter().map(|end| end.duration_ms).collect();
    let ids: Vec<Uuid> = std::iter::repeat_with(Uuid::now_v7)
        .take(4 * ends.len())
        .collect();
    let metadata: Vec<Json<&Value>> = ends.iter().map(|end| Json(&end.metadata)).collect();
    sqlx::query_as(
        "SELECT * FROM tasker.steps_complete(
             $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(worker)
    .bind(tasks)
    .bind(steps)
    .bind(attempts)
    .bind(states)
    .bind(results)
    .bind(delays)
    .bind(durations)
    .bind(metadata)
    .bind(ids)
    .bind(want)
    .bind(&scope.callables)
    .bind(&scope.patterns)
    .bind(bounds.is_some())
    .bind(floor)
    .bind(priorities)
    .bind(from)
    .fetch_all(connection)
    .await
}

/// Returns claims of `worker` that it does not know of, because the answer to a claim was lost.
/// `held` are the steps that it knows of.
pub async fn recover(
    connection: &mut PgConnection,
    worker: Uuid,
    held: &[Uuid],
) -> Result<Vec<ExecutionRow>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM tasker.steps_recover($1, $2)")
        .bind(worker)
        .bind(held)
        .fetch_all(connection)
        .await
}

/// A worker process, as the others see it.
#[derive(Debug, Clone)]
pub struct WorkerRow {
    /// Its id, new with each registration.
    pub worker_uuid: Uuid,
    /// Its name.
    pub name: String,
    /// The machine that it runs on.
    pub host: String,
    /// The most steps that it runs at once.
    pub capacity: i32,
    /// The time for which it keeps its claims without a heartbeat.
    pub lease_seconds: i32,
    /// The workers that a step which it runs may lose.
    pub max_lost_attempts: i32,
}

/// Registers a worker, which is then alive for its lease.
pub async fn register_worker(
    connection: &mut PgConnection,
    worker: &WorkerRow,
    scope: &Scope,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO tasker.workers
             (worker_uuid, name, host, callables, patterns, capacity, lease_seconds,
              max_lost_attempts, started_at, seen_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp(), clock_timestamp())
         ON CONFLICT (worker_uuid) DO UPDATE SET seen_at = clock_timestamp()",
    )
    .bind(worker.worker_uuid)
    .bind(&worker.name)
    .bind(&worker.host)
    .bind(&scope.callables)
    .bind(&scope.patterns)
    .bind(worker.capacity)
    .bind(worker.lease_seconds)
    .bind(worker.max_lost_attempts)
    .execute(connection)
    .await?;
    Ok(())
}

/// Renews the lease. Returns the attempts of `running` whose claims are gone, because their tasks
/// were cancelled, or `None` if the worker was declared lost.
pub async fn heartbeat(
    connection: &mut PgConnection,
    worker: Uuid,
    running: &[AttemptId],
) -> Result<Option<Vec<Uuid>>, sqlx::Error> {
    let tasks: Vec<Uuid> = running.iter().map(|id| id.task_uuid).collect();
    let steps: Vec<Uuid> = running.iter().map(|id| id.step_uuid).collect();
    let attempts: Vec<i32> = running.iter().map(|id| id.attempt).collect();
    sqlx::query_scalar("SELECT tasker.worker_heartbeat($1, $2, $3, $4)")
        .bind(worker)
        .bind(tasks)
        .bind(steps)
        .bind(attempts)
        .fetch_one(connection)
        .await
}

/// Returns all claims of a worker that stops to the queue, without counting their attempts. Returns
/// how many. Unless it `is_certain` that the worker knows all its claims, further ones are looked for
/// as after a loss.
pub async fn leave(
    connection: &mut PgConnection,
    worker: Uuid,
    is_certain: bool,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT tasker.worker_leave($1, $2)")
        .bind(worker)
        .bind(is_certain)
        .fetch_one(connection)
        .await
}

/// The number of claims of lost workers, by the way in which they were dealt with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct LostSteps {
    /// The steps that were returned to the queue.
    #[sqlx(rename = "o_returned")]
    pub returned: i64,
    /// The steps that failed, because as many workers as their limit says were lost with them.
    #[sqlx(rename = "o_given_up")]
    pub given_up: i64,
}

impl LostSteps {
    /// Counts the steps in the metrics, and logs them.
    pub fn report(self) {
        let (returned, given_up) = (self.returned, self.given_up);
        if returned > 0 {
            metrics::counter!(STEPS_REQUEUED.name).increment(returned.unsigned_abs());
            tracing::warn!(
                steps = returned,
                "steps of lost workers were returned to the queue"
            );
        }
        if given_up > 0 {
            metrics::counter!(STEPS_GIVEN_UP.name).increment(given_up.unsigned_abs());
            tracing::error!(
                steps = given_up,
                "steps failed for good, because one worker after the other was lost with them"
            );
        }
    }
}

/// Declares workers lost whose leases are over, and returns their claims to the queue, or ends those
/// of steps that lost too many workers: up to 500 at a time, so it is called until nothing is left. If another
/// process does this at the moment, it returns none.
pub async fn requeue_lost(connection: &mut PgConnection) -> Result<LostSteps, sqlx::Error> {
    sqlx::query_as("SELECT * FROM tasker.requeue_lost()")
        .fetch_one(connection)
        .await
}

/// Does what [`requeue_lost`] does for claims whose workers are lost or unknown. It reads the whole queue,
/// and so finds a claim that was locked by a transaction for long after the loss.
pub async fn requeue_orphans(connection: &mut PgConnection) -> Result<LostSteps, sqlx::Error> {
    sqlx::query_as("SELECT * FROM tasker.requeue_orphans()")
        .fetch_one(connection)
        .await
}

/// Keeps the document of a template for the tasks that are made from it.
pub async fn keep_document(
    connection: &mut PgConnection,
    hash: &str,
    document: &Document,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO tasker.template_documents (hash, document) VALUES ($1, $2)
         ON CONFLICT (hash) DO UPDATE SET used_at = now()",
    )
    .bind(hash)
    .bind(Json(document))
    .execute(connection)
    .await?;
    Ok(())
}
