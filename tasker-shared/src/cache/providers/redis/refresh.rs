//! Following a cluster whose slots move.
//!
//! A link whose view is old still works: nodes redirect it. So it is used until the one that
//! replaces it is up. That one goes on with the connections to primaries that stay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::pending;

use super::cluster::Cluster;
use super::link::Link;
use super::operation::Core;
use crate::cache::CacheError;
use crate::cache::errors::Chain;
use crate::cache::persist::Pauses;

/// After so long without a change the pauses begin anew. While many slots are moved one by one,
/// each of them would start a round.
const QUIET: Duration = Duration::from_secs(10);

/// Replaces links that are old, whenever somebody has noticed a change, until stopped.
pub(super) async fn follow_changes(core: &Core) {
    let Some(cluster) = core.endpoint.cluster() else {
        return pending().await;
    };
    let mut pauses = Pauses::new();
    loop {
        let waiting = Instant::now();
        cluster.until_changed().await;
        if waiting.elapsed() > QUIET {
            pauses = Pauses::new();
        }
        while let Err(error) = renew(core, cluster).await {
            tracing::debug!(error = %Chain(&error), "the changed cluster cannot be connected to yet");
            tokio::time::sleep(pauses.next()).await;
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

/// Asks for the topology once, and replaces each link that has another one or was redirected.
async fn renew(core: &Core, cluster: &Cluster) -> Result<(), CacheError> {
    let live = core.slots.live();
    if live.is_empty() {
        return Ok(());
    }
    let topology = Arc::new(core.endpoint.in_time(cluster.topology()).await?);
    for live in live {
        let Link::Cluster(old) = &live.link else {
            continue;
        };
        if old.is_outdated() || old.topology() != topology {
            let newer = cluster.renew(old, Arc::clone(&topology));
            let newer = core.endpoint.in_time(newer).await?;
            core.slots.exchange(live, Link::Cluster(newer));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::fake::{Fake, slots};
    use super::super::link::Request;
    use super::super::operation::Core;
    use super::renew;

    /// Whether each place has a link to so many primaries.
    fn all_have(core: &Core, primaries: usize) -> bool {
        let live = core.slots.live();
        live.len() == core.slots.len()
            && live.iter().all(|live| live.link.connections() == primaries)
    }

    #[tokio::test]
    async fn one_look_renews_every_old_link_and_keeps_the_connections_to_those_who_stay() {
        let view = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&view);
        let first = Fake::start(move |_, words| {
            let asked = words[0] == "CLUSTER";
            asked.then(|| seen.lock().expect("nobody panics").clone())
        })
        .await;
        let second = Fake::start(|_, _| None).await;
        *view.lock().expect("nobody panics") = slots(&[first.port]);
        let core = first.core("cluster", 3);
        for place in 0..3 {
            let link = core.endpoint.connect().await.expect("a connection");
            core.slots.install(place, link);
        }
        assert!(all_have(&core, 1));
        let cluster = core.endpoint.cluster().expect("a cluster");
        let before = first.accepted();
        renew(&core, cluster).await.expect("it is well");
        assert_eq!(first.accepted(), before + 1, "it was asked");

        *view.lock().expect("nobody panics") = slots(&[first.port, second.port]);
        // Nobody was redirected by any of them.
        renew(&core, cluster).await.expect("it is well");
        assert!(all_have(&core, 2));
        assert_eq!(first.accepted(), before + 2, "it was asked");
        assert_eq!(second.accepted(), 3);
        let ping = redis::cmd("PING");
        for live in core.slots.live() {
            let answer = live.link.clone().send(&Request::One(&ping)).await;
            answer.expect("both answer");
        }
    }
}
