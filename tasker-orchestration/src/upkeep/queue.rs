//! Measures the queue.

use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::database;
use tasker_shared::execution::Failures;
use tasker_shared::metrics::{
    QUEUE_LAST_SUCCESS, QUEUE_OLDEST, QUEUE_STEPS, QUEUE_UNHANDLED_OLDEST, QUEUE_UNHANDLED_STEPS,
};
use tokio::time::Instant;

use super::note_success;
use crate::QUERY_LIMIT;

/// The pause between two measurements.
const PAUSE: Duration = Duration::from_secs(10);
/// Steps that no worker can run are logged when they have waited for this long.
const PATIENCE: f64 = 60.0;

/// The queue at a moment.
#[derive(Debug, sqlx::FromRow)]
struct Depth {
    due: i64,
    later: i64,
    claimed: i64,
    oldest: f64,
    unhandled: i64,
    unhandled_oldest: f64,
    unhandled_callables: Vec<String>,
}

#[derive(Debug)]
pub(super) struct QueueWatch {
    next: Instant,
    /// The callables that were logged last.
    logged: Vec<String>,
    failures: Failures,
}

impl QueueWatch {
    pub(super) fn new() -> Self {
        // Else no alert could tell that nothing was ever measured.
        note_success(QUEUE_LAST_SUCCESS);
        Self {
            next: Instant::now(),
            logged: Vec::new(),
            failures: Failures::default(),
        }
    }

    /// Measures the queue, if it is time for it.
    pub(super) async fn run(&mut self, pool: &PgPool) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + PAUSE;
        let depth = database::run_idempotent(pool, QUERY_LIMIT, |connection| {
            Box::pin(async move {
                sqlx::query_as::<_, Depth>(MEASURE)
                    .fetch_one(connection)
                    .await
            })
        });
        match depth.await {
            Ok(depth) => {
                if self.failures.end() {
                    tracing::info!("the queue is measured again");
                }
                self.report(depth);
            }
            Err(error) if self.failures.begin() => {
                tracing::warn!(%error, "the queue cannot be measured; its metrics are old");
            }
            Err(error) => tracing::debug!(%error, "the queue still cannot be measured"),
        }
    }

    fn report(&mut self, depth: Depth) {
        note_success(QUEUE_LAST_SUCCESS);
        let count = |steps: i64| u32::try_from(steps).unwrap_or(u32::MAX);
        for (state, steps) in [
            ("due", depth.due),
            ("later", depth.later),
            ("claimed", depth.claimed),
        ] {
            metrics::gauge!(QUEUE_STEPS.name, "state" => state).set(count(steps));
        }
        metrics::gauge!(QUEUE_OLDEST.name).set(depth.oldest);
        metrics::gauge!(QUEUE_UNHANDLED_STEPS.name).set(count(depth.unhandled));
        metrics::gauge!(QUEUE_UNHANDLED_OLDEST.name).set(depth.unhandled_oldest);
        if depth.unhandled_oldest <= PATIENCE {
            self.logged.clear();
        } else if depth.unhandled_callables != self.logged {
            tracing::warn!(
                steps = depth.unhandled,
                callables = ?depth.unhandled_callables,
                "no live worker has a handler for steps that are due"
            );
            self.logged = depth.unhandled_callables;
        }
    }
}

const MEASURE: &str = "
    WITH callables AS (
        SELECT q.callable,
               count(*) FILTER (WHERE q.claimed_by IS NULL AND q.due_at <= now()) AS due,
               count(*) FILTER (WHERE q.claimed_by IS NULL AND q.due_at > now()) AS later,
               count(*) FILTER (WHERE q.claimed_by IS NOT NULL) AS claimed,
               min(q.due_at) FILTER (WHERE q.claimed_by IS NULL AND q.due_at <= now()) AS oldest
        FROM tasker.step_queue q GROUP BY q.callable
    ), handled AS (
        SELECT c.*, EXISTS (
            SELECT FROM tasker.workers w
            WHERE w.lost_at IS NULL
                AND w.seen_at >= now() - w.lease_seconds * interval '1 second'
                AND (c.callable = ANY (w.callables) OR c.callable LIKE ANY (w.patterns))
        ) AS has_worker
        FROM callables c
    )
    SELECT coalesce(sum(due), 0)::bigint AS due, coalesce(sum(later), 0)::bigint AS later,
           coalesce(sum(claimed), 0)::bigint AS claimed,
           coalesce(extract(epoch FROM now() - min(oldest)), 0)::float8 AS oldest,
           coalesce(sum(due) FILTER (WHERE NOT has_worker), 0)::bigint AS unhandled,
           coalesce(extract(epoch FROM now() - min(oldest) FILTER (WHERE NOT has_worker)), 0)
               ::float8 AS unhandled_oldest,
           coalesce(array_agg(callable ORDER BY callable)
                    FILTER (WHERE NOT has_worker AND due > 0), '{}') AS unhandled_callables
    FROM handled";
