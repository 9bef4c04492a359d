//! Moves the sums of analytics on.

use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::database;
use tokio::time::Instant;

/// The longest that adding one hour may take.
const LIMIT: Duration = Duration::from_mins(1);
/// The pause after everything was added. An answer reads the rows of this time one by one.
const PAUSE: Duration = Duration::from_secs(20);
/// The time after which the rest waits for the next round, because lost workers must not.
const TURN: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Analytics {
    next: Instant,
}

impl Analytics {
    pub(super) fn new() -> Self {
        Self {
            next: Instant::now(),
        }
    }

    /// Adds rows to the sums, if it is time for it.
    pub(super) async fn run(&mut self, pool: &PgPool) {
        if Instant::now() < self.next {
            return;
        }
        let begun = Instant::now();
        while begun.elapsed() < TURN {
            let rolled = database::run_idempotent(pool, LIMIT, |connection| {
                Box::pin(async move {
                    sqlx::query_scalar::<_, bool>("SELECT tasker.analytics_roll_up()")
                        .fetch_one(connection)
                        .await
                })
            });
            match rolled.await {
                Ok(true) => {}
                Ok(false) => {
                    self.next = Instant::now() + PAUSE;
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the sums of analytics cannot be moved on");
                    self.next = Instant::now() + PAUSE;
                    return;
                }
            }
        }
    }
}
