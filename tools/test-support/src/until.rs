//! Waiting for a condition.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// The longest that a test waits. Long, because tests share their cores: only a defect takes longer.
pub const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(5);

/// Repeats `attempt` until it returns a value, and returns that.
///
/// # Panics
///
/// Panics with `what` after [`PATIENCE`], even if an attempt hangs.
pub async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let reached = timeout(PATIENCE, async {
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            sleep(POLL).await;
        }
    });
    reached
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
