//! Following a cluster whose slots move.
//!
//! A link whose view is old still works: nodes redirect it. So it is used until the one that
//! replaces it is up.

use std::time::Duration;

use futures::future::pending;

use super::operation::Core;
use crate::cache::errors::Chain;

/// Between two rounds. While many slots are moved one by one, each of them would start a round.
const PAUSE: Duration = Duration::from_millis(500);

/// Replaces links that have noticed a change, until stopped.
pub(super) async fn follow_changes(core: &Core) {
    let Some(cluster) = core.endpoint.cluster() else {
        return pending().await;
    };
    loop {
        cluster.until_changed().await;
        loop {
            let outdated = core.slots.outdated();
            if outdated.is_empty() {
                break;
            }
            for live in outdated {
                match core.endpoint.connect().await {
                    Ok(link) => core.slots.exchange(live, link),
                    Err(error) => {
                        tracing::debug!(error = %Chain(&error), "the changed cluster cannot be connected to yet");
                        break;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
