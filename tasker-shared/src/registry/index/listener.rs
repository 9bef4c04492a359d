//! Wakes the poller early when PostgreSQL notifies of a change.
//!
//! Nothing depends on it: if notifications cannot arrive, as behind a pooler in transaction mode,
//! changes wait for the next poll.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, debug};

use super::Shared;
use crate::database;
use crate::metrics::DIRECTORY_LISTENER_UP;

const CHANNEL: &str = "tasker_templates";
/// The longest time that connecting, or the answer to a liveness query, may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// The silence after which the connection is checked. Long, because a process that resolves nothing
/// sends at most one statement per minute, and because a process that resolves polls anyway.
const SILENCE: Duration = Duration::from_secs(90);
/// The longest pause between attempts to listen.
const LAST_PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn run(shared: Arc<Shared>) {
    let cancel = shared.cancel.clone();
    cancel
        .run_until_cancelled(async {
            let mut pause = Duration::from_millis(100);
            let mut is_first = true;
            metrics::gauge!(DIRECTORY_LISTENER_UP.name).set(0.0);
            loop {
                // The poller has just started, so its next poll is early enough for the first connection.
                let may_have_missed = !std::mem::take(&mut is_first);
                let Some(pool) = database::for_listener(&shared.pool, ANSWER_LIMIT) else {
                    return;
                };
                if let Ok(listener) = database::listen(&pool, CHANNEL, ANSWER_LIMIT).await {
                    pause = Duration::from_millis(100);
                    metrics::gauge!(DIRECTORY_LISTENER_UP.name).set(1.0);
                    if may_have_missed {
                        // Something may have been announced while nobody listened.
                        shared.announce(i64::MAX);
                    }
                    listen(listener, &shared).await;
                    debug!("the connection for template notifications was lost; reconnecting");
                }
                metrics::gauge!(DIRECTORY_LISTENER_UP.name).set(0.0);
                sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        })
        .instrument(tracing::info_span!("template_index_listener"))
        .await;
}

// Returns when the connection is lost or does not answer.
async fn listen(mut listener: PgListener, shared: &Shared) {
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            // The trigger sends the position. Any other payload causes a poll.
            Ok(Ok(Some(notification))) => {
                shared.announce(notification.payload().parse().unwrap_or(i64::MAX));
            }
            Ok(Ok(None) | Err(_)) => return,
            Err(_silent) => {
                let check = sqlx::query("SELECT 1").execute(&mut listener);
                if !matches!(timeout(ANSWER_LIMIT, check).await, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}
