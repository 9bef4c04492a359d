//! The background task of a backend: it alone connects, it alone asks a Redis that failed
//! whether it is well, and it asks connections that nobody uses whether they still work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use redis::{Cmd, Value};

use super::link::{Link, Request};
use super::operation::Core;
use super::refresh;
use super::second_look::within;
use crate::cache::errors::Chain;
use crate::cache::persist::{Pauses, until_success};
use crate::cache::{BadAnswer, CacheError, RefusalKind};

/// How often idle connections are asked for an answer. It finds those that a firewall forgot
/// and those whose callers give up before their limit, before a request has to.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A Redis that fails again sooner goes on with the pauses that it had: each time that it is tried,
/// some requests wait for it.
const RECOVERED: Duration = Duration::from_secs(10);

/// How long the probe key lives if the connection breaks before it is deleted.
const PROBE_TTL_MS: u64 = 1000;

/// Keeps every place filled and the breaker truthful, until stopped.
pub(super) async fn run(core: Arc<Core>) {
    // Side by side: connecting to a frozen server hangs, and must not keep the connections that
    // are up from being asked.
    tokio::join!(
        connect(&core),
        ask_idle_connections(&core),
        refresh::follow_changes(&core)
    );
}

async fn connect(core: &Core) {
    let mut pauses = Pauses::new();
    let mut well_since = Instant::now();
    loop {
        if core.breaker.is_open() {
            if well_since.elapsed() > RECOVERED {
                pauses = Pauses::new();
            }
            recover(core, &mut pauses).await;
            well_since = Instant::now();
        } else if core.slots.up() < core.slots.len() {
            tokio::select! {
                () = fill_places(core) => {}
                () = core.breaker.until_open() => {}
            }
        } else {
            tokio::select! {
                () = core.vacancy.notified() => {}
                () = core.breaker.until_open() => {}
            }
        }
    }
}

/// Probes until Redis is well, then lets requests use it again.
async fn recover(core: &Core, pauses: &mut Pauses) {
    let link = until_success(
        pauses,
        || async {
            let mut link = core.endpoint.connect().await?;
            probe(&mut link, &core.probe_key, core.budget).await?;
            Ok(link)
        },
        |error: CacheError| {
            tracing::debug!(error = %Chain(&error), "the cache is still not well");
            core.breaker.still_open(&error);
        },
    )
    .await;
    put_to_use(core, &link);
    core.breaker.close();
}

fn put_to_use(core: &Core, link: &Link) {
    core.slots.clear();
    core.slots.install(0, link.clone());
    // If its probes were redirected, who was woken then did not find it among the links in use.
    if link.is_outdated()
        && let Some(cluster) = core.endpoint.cluster()
    {
        cluster.note_change();
    }
}

/// Connects every empty place, together. Tries again while others are up; when none is, there
/// is nothing to use.
async fn fill_places(core: &Core) {
    let mut pauses = Pauses::new();
    loop {
        let outcomes = join_all(core.slots.empty().into_iter().map(|place| async move {
            let link = core.endpoint.connect().await?;
            core.slots.install(place, link);
            Ok(())
        }))
        .await;
        let Some(error) = outcomes.into_iter().find_map(Result::<(), CacheError>::err) else {
            return;
        };
        if core.slots.up() == 0 {
            core.open(&error);
            return;
        }
        tracing::debug!(error = %Chain(&error), "a further connection to the cache failed");
        tokio::time::sleep(pauses.next()).await;
    }
}

/// Asks as often as there are connections: they are used in turn. Failures count as those of
/// requests do.
async fn ask_idle_connections(core: &Core) {
    let ping = redis::cmd("PING");
    let request = Request::One(&ping);
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        join_all((0..core.slots.len()).map(|_| core.call(&request, core.budget))).await;
    }
}

/// Whether Redis answers, writes and reads, each within `limit`; in a cluster, whether every primary
/// does.
///
/// A Redis that refuses writes alone passes: what it holds can be read. The key is deleted at
/// once, and is gone after a second in any case.
pub(super) async fn probe(link: &mut Link, key: &str, limit: Duration) -> Result<(), CacheError> {
    tolerate_no_permission(ask(link, &redis::cmd("PING"), limit).await)?;
    let keys = link.layout().key_in_each_part(key);
    try_join_all(keys.iter().map(|key| {
        let mut link = link.clone();
        async move { probe_key(&mut link, key, limit).await }
    }))
    .await?;
    Ok(())
}

async fn probe_key(link: &mut Link, key: &str, limit: Duration) -> Result<(), CacheError> {
    let value = format!("{:016x}", rand::random::<u64>());
    let mut set = redis::cmd("SET");
    set.arg(key).arg(&value).arg("PX").arg(PROBE_TTL_MS);
    let written = match ask(link, &set, limit).await {
        Ok(_) => true,
        Err(CacheError::BackendError(refusal))
            if matches!(
                refusal.kind(),
                RefusalKind::ReadOnly | RefusalKind::WritesRefused | RefusalKind::Operation
            ) =>
        {
            false
        }
        Err(error) => return Err(error),
    };
    let read = ask(link, redis::cmd("GET").arg(key), limit).await;
    if written {
        ask(link, redis::cmd("UNLINK").arg(key), limit).await?;
        match read {
            Ok(Value::BulkString(bytes)) if bytes == value.as_bytes() => Ok(()),
            Ok(_) => Err(CacheError::SerializationError(BadAnswer::Garbage)),
            Err(error) => Err(error),
        }
    } else {
        tolerate_no_permission(read)
    }
}

/// An account that may not do this may still be allowed what requests need.
fn tolerate_no_permission(outcome: Result<Value, CacheError>) -> Result<(), CacheError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(CacheError::BackendError(refusal)) if refusal.kind() == RefusalKind::Operation => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn ask(link: &mut Link, command: &Cmd, limit: Duration) -> Result<Value, CacheError> {
    let deadline = tokio::time::Instant::now() + limit;
    within(deadline, link.send(&Request::One(command)))
        .await
        .unwrap_or(Err(CacheError::Timeout { limit }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::address::Address;
    use super::super::fake::{Fake, slots};
    use super::super::link::{Part, Request};
    use super::put_to_use;

    #[tokio::test]
    async fn a_change_that_was_noticed_while_probing_is_not_forgotten() {
        let node = Fake::start(|port, words| (words[0] == "CLUSTER").then(|| slots(&[port]))).await;
        let core = node.core("cluster", 1);
        let cluster = core.endpoint.cluster().expect("a cluster");
        let mut link = core.endpoint.connect().await.expect("a connection");
        let elsewhere = Part::Primary(Address::parse("elsewhere:1").expect("an address"));
        let scan = redis::cmd("SCAN");
        link.send(&Request::To(&elsewhere, &scan))
            .await
            .expect_err("nobody is there");
        // The task that replaces old links wakes, and finds none.
        cluster.until_changed().await;
        assert!(core.slots.live().is_empty());
        put_to_use(&core, &link);
        let woken = tokio::time::timeout(Duration::from_secs(10), cluster.until_changed());
        woken.await.expect("it wakes again");
    }
}
