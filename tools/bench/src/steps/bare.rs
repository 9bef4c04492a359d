//! The yardstick: a job that is inserted, claimed and completed, each by a statement of its own.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::Mutex;

use crate::error::Result;
use crate::measure::rate;

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

/// The table of bare jobs in a database, and a connection for each of their workers.
pub(super) struct BareJobs {
    connections: Arc<Vec<Mutex<PgConnection>>>,
}

impl BareJobs {
    /// Empties the table, so that no round inherits dead rows, and connects `concurrency` workers.
    pub(super) async fn connect(pool: &PgPool, concurrency: usize) -> Result<Self> {
        sqlx::query(TABLE).execute(pool).await?;
        sqlx::query(INDEX).execute(pool).await?;
        sqlx::query("TRUNCATE public.bare_jobs")
            .execute(pool)
            .await?;
        let options = pool.connect_options();
        let mut connections = Vec::new();
        for _ in 0..concurrency {
            // Not from the pool, which would test each when it is returned.
            connections.push(Mutex::new(options.connect().await?));
        }
        Ok(Self {
            connections: Arc::new(connections),
        })
    }

    /// Runs jobs on all connections, and returns the jobs per second.
    pub(super) async fn rate(&self, numbers: Range<usize>) -> Result<f64> {
        let concurrency = self.connections.len();
        rate(
            concurrency,
            numbers,
            &self.connections,
            move |connections, numbers| async move {
                let mut numbers = numbers.peekable();
                let Some(first) = numbers.peek() else {
                    return Ok(());
                };
                let mut connection = connections[first % concurrency].lock().await;
                for _ in numbers {
                    job(&mut connection).await?;
                }
                Ok(())
            },
        )
        .await
    }

    /// Runs jobs one at a time, and returns the time of each.
    pub(super) async fn times(&self, count: usize) -> Result<Vec<Duration>> {
        let mut connection = self.connections[0].lock().await;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            job(&mut connection).await?;
            times.push(started.elapsed());
        }
        Ok(times)
    }

    pub(super) async fn close(self) -> Result {
        for connection in Arc::into_inner(self.connections).into_iter().flatten() {
            connection.into_inner().close().await?;
        }
        Ok(())
    }
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
