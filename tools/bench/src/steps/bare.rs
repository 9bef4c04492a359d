//! The yardstick: a job that is inserted, claimed and completed, each by a statement of its own.

use std::time::Instant;

use sqlx::{ConnectOptions, PgConnection, PgPool};
use tokio::task::JoinSet;

use crate::error::{Failure, Result};
use crate::measure::ms;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS public.bare_jobs (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        state text NOT NULL, payload jsonb NOT NULL, claimed_at timestamptz, result jsonb
    )";
const INDEX: &str =
    "CREATE INDEX IF NOT EXISTS bare_jobs_queued ON public.bare_jobs (id) WHERE state = 'queued'";
const INSERT: &str = "INSERT INTO public.bare_jobs (state, payload) VALUES ('queued', $1)";
const CLAIM: &str = "
    UPDATE public.bare_jobs SET state = 'claimed', claimed_at = now()
    WHERE id = (SELECT id FROM public.bare_jobs WHERE state = 'queued'
                ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id";
const COMPLETE: &str = "UPDATE public.bare_jobs SET state = 'complete', result = $2 WHERE id = $1";

/// Empties the table, so that no round inherits dead rows, and connects so many workers.
async fn connect(pool: &PgPool, concurrency: usize) -> Result<Vec<PgConnection>> {
    for statement in [TABLE, INDEX, "TRUNCATE public.bare_jobs"] {
        sqlx::query(statement).execute(pool).await?;
    }
    let options = pool.connect_options();
    let mut connections = Vec::new();
    for _ in 0..concurrency {
        // Not from the pool, which would test each when it is returned.
        connections.push(options.connect().await?);
    }
    Ok(connections)
}

/// Runs about `count` jobs on so many connections, and returns the jobs per second.
pub(super) async fn rate(pool: &PgPool, concurrency: usize, count: usize) -> Result<f64> {
    let of_each = count / concurrency;
    let connections = connect(pool, concurrency).await?;
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for mut connection in connections {
        workers.spawn(async move {
            for _ in 0..of_each {
                job(&mut connection).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    let ended: Result<Vec<_>> = workers.join_all().await.into_iter().collect();
    ended.map(|_| (of_each * concurrency) as f64 / started.elapsed().as_secs_f64())
}

/// Runs jobs one at a time, and returns the time of each in milliseconds.
pub(super) async fn times(pool: &PgPool, count: usize) -> Result<Vec<f64>> {
    let mut connections = connect(pool, 1).await?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        job(&mut connections[0]).await?;
        times.push(ms(started.elapsed()));
    }
    Ok(times)
}

async fn job(connection: &mut PgConnection) -> Result {
    let empty = serde_json::json!({});
    sqlx::query(INSERT)
        .bind(&empty)
        .execute(&mut *connection)
        .await?;
    // Between the snapshot of a claim and its locks others may take all that it sees.
    let id = loop {
        let claimed = sqlx::query_scalar::<_, i64>(CLAIM);
        if let Some(id) = claimed.fetch_optional(&mut *connection).await? {
            break id;
        }
    };
    let complete = sqlx::query(COMPLETE).bind(id).bind(&empty);
    complete.execute(connection).await?;
    Ok(())
}
