//! Moves the sums of analytics on.

use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::execution::Failures;
use tokio::time::{Instant, sleep};

use super::slow_statement;

/// The pause after everything was added. An answer reads the rows of this time one by one.
const PAUSE: Duration = Duration::from_secs(20);

/// Adds rows to the sums, an hour of them at a time, for ever.
pub(super) async fn run(pool: &PgPool) {
    let mut failures = Failures::default();
    loop {
        let begun = Instant::now();
        let rolled = slow_statement::select(pool, "SELECT tasker.analytics_roll_up()");
        let has_more = match rolled.await {
            Ok(has_more) => {
                if failures.end() {
                    tracing::info!("the sums of analytics are updated again");
                }
                has_more
            }
            Err(error) => {
                if failures.begin() {
                    tracing::warn!(%error, "the sums of analytics cannot be updated");
                }
                false
            }
        };
        // After an import the other half of a core is left to tasks.
        sleep(if has_more { begun.elapsed() } else { PAUSE }).await;
    }
}
