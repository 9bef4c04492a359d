//! The background task of a client.
//!
//! It alone connects, it alone asks a Redis that failed whether it is well again, and it asks
//! connections that nobody uses whether they still work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use redis::Value;

use super::client::{RedisClient, timeout_with_grace};
use super::commands::{self, Request};
use super::connection::Connection;
use crate::cache::errors::Chain;
use crate::cache::{BadAnswer, CacheError, ConnectionFault, RefusalKind};

/// The pause between two probes of idle connections. This finds connections that a firewall has
/// forgotten before a request does.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A Redis that fails again sooner continues with the pauses that it had, because some requests
/// wait for it each time that it is tried.
const RECOVERED: Duration = Duration::from_secs(10);

/// The time for which the probe key lives if the connection breaks before it is deleted.
const PROBE_TTL_MS: u64 = 1000;

/// The first pause between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause. A backend that is back must be in use within two seconds, of which this
/// leaves half a second to connect and probe.
const LONGEST_PAUSE: Duration = Duration::from_millis(1500);

/// The number of attempts that may be under way together.
///
/// An attempt against a silent host lasts as long as connecting may last. If the next one waited
/// for it, a host that is back would be noticed only then.
const MAX_UNDER_WAY: usize = 6;

/// The longest that one of these attempts may last. With a longer `connection_timeout_seconds` all of
/// them could hang while a host that is back waits for the next one.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// Keeps every seat filled and the breaker truthful, until it is cancelled.
pub(super) async fn run(client: Arc<RedisClient>) {
    // Side by side, because connecting to a frozen server hangs.
    tokio::join!(
        connect(&client),
        ask_idle_connections(&client),
        replace_outdated(&client)
    );
}

async fn connect(client: &RedisClient) {
    let mut pauses = Pauses::new();
    let mut well_since = Instant::now();
    loop {
        if client.breaker.is_open() {
            if well_since.elapsed() > RECOVERED {
                pauses = Pauses::new();
            }
            recover(client, &mut pauses).await;
            well_since = Instant::now();
        } else if client.connections.up() < client.connections.len() {
            tokio::select! {
                () = fill_seats(client) => {}
                () = client.breaker.until_open() => {}
            }
        } else {
            tokio::select! {
                () = client.vacancy.notified() => {}
                () = client.breaker.until_open() => {}
            }
        }
    }
}

/// Pauses, then starts an attempt, again and again until one succeeds. The others are dropped.
async fn recover(client: &RedisClient, pauses: &mut Pauses) {
    let limit = client.endpoint.timeout().min(ATTEMPT_LIMIT);
    let mut under_way = FuturesUnordered::new();
    loop {
        let pause = tokio::time::sleep(pauses.next());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                Some(succeeded) = under_way.next() => if succeeded {
                    return;
                },
                () = &mut pause => break,
            }
        }
        if under_way.len() < MAX_UNDER_WAY {
            under_way.push(attempt(client, limit, client.budget));
        }
    }
}

/// Connects and probes once, within `limit`; if Redis is well, lets requests use it. Returns whether it
/// does.
///
/// Redis is well if it answers each command of the probe within `patience`. At the start that is
/// longer than the budget of a request, because this process is busy then.
pub(super) async fn attempt(client: &RedisClient, limit: Duration, patience: Duration) -> bool {
    let attempt = async {
        let mut connection = Connection::to(&client.endpoint).await?;
        probe(client, &mut connection, patience).await?;
        Ok(connection)
    };
    let outcome =
        tokio::time::timeout(limit, attempt)
            .await
            .unwrap_or(Err(CacheError::ConnectionError(
                ConnectionFault::ConnectTimeout { limit },
            )));
    match outcome {
        Ok(connection) => {
            client.put_to_use(connection);
            true
        }
        Err(error) => {
            tracing::debug!(error = %Chain(&error), "the cache still cannot be used");
            client.breaker.still_open(&error);
            false
        }
    }
}

/// Connects all empty seats together, and tries again while others are up. Opens the breaker when
/// none is.
async fn fill_seats(client: &RedisClient) {
    let mut pauses = Pauses::new();
    loop {
        let connecting = client.connections.empty().map(|seat| async move {
            let mut connection = Connection::to(&client.endpoint).await?;
            // A frozen server accepts connections, too.
            ping(&mut connection, client.budget).await?;
            client.connections.install(seat, connection);
            Ok(())
        });
        let outcomes = join_all(connecting).await;
        let Some(error) = outcomes.into_iter().find_map(Result::<(), CacheError>::err) else {
            return;
        };
        if client.connections.up() == 0 {
            client.open(&error);
            return;
        }
        tracing::debug!(error = %Chain(&error), "another connection to the cache failed");
        tokio::time::sleep(pauses.next()).await;
    }
}

/// Replaces connections to a cluster that has changed. They are used until then.
async fn replace_outdated(client: &RedisClient) {
    loop {
        client.outdated.notified().await;
        for live in client.connections.all() {
            if !live.connection.is_outdated() {
                continue;
            }
            match Connection::to(&client.endpoint).await {
                Ok(connection) => client.connections.exchange(live, connection),
                Err(error) => {
                    tracing::debug!(error = %Chain(&error), "the changed cluster cannot be used yet");
                    client.outdated.notify_one();
                }
            }
        }
        // While many slots move one by one, each of them makes the connections outdated.
        tokio::time::sleep(FIRST_PAUSE).await;
    }
}

/// Pings every connection now and then. Failures count like those of requests.
async fn ask_idle_connections(client: &RedisClient) {
    let ping = redis::cmd("PING");
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let started = tokio::time::Instant::now();
        let live = client.connections.all().into_iter();
        let asking =
            live.map(|live| client.call_on(live, Request::One(&ping), started, client.budget));
        join_all(asking).await;
        ask_again(client).await;
    }
}

/// Sends the commands that are refused about a key that no entry has, because no request may send them
/// for long, and somebody may have given the right or the memory meanwhile.
async fn ask_again(client: &RedisClient) {
    for (command, _) in client.reports.refusals.now() {
        let key = &client.probe_key;
        let request = match command {
            "GET" => commands::get(key),
            "SET" => commands::set(key, "", Duration::from_millis(PROBE_TTL_MS)),
            "DEL" => redis::cmd("DEL").arg(key).clone(),
            "SCAN" => redis::cmd("SCAN").arg(0).arg("COUNT").arg(1).clone(),
            _ => redis::cmd("PING"),
        };
        let request = Request::One(&request);
        // The client reports the outcome.
        client
            .call(key.as_bytes(), request, client.budget)
            .await
            .ok();
    }
}

/// Checks that Redis answers, writes and reads, each within `limit`.
///
/// A Redis that only refuses to write or to delete passes, because its entries can be read. The key is
/// deleted at once, and expires after a second in any case.
async fn probe(
    client: &RedisClient,
    connection: &mut Connection,
    limit: Duration,
) -> Result<(), CacheError> {
    let key = client.probe_key.as_str();
    ping(connection, limit).await?;
    let value = format!("{:016x}", rand::random::<u64>());
    let mut set = redis::cmd("SET");
    set.arg(key).arg(&value).arg("PX").arg(PROBE_TTL_MS);
    let written = ask_and_report(client, connection, Request::One(&set), limit).await;
    let written = is_accepted(written)?;
    let read = ask(connection, Request::One(redis::cmd("GET").arg(key)), limit).await;
    if !written {
        return is_accepted(read).map(drop);
    }
    let mut delete = redis::cmd("DEL");
    delete.arg(key);
    is_accepted(ask_and_report(client, connection, Request::One(&delete), limit).await)?;
    match read? {
        Value::BulkString(bytes) if bytes == value.as_bytes() => Ok(()),
        _ => Err(CacheError::SerializationError(BadAnswer::Garbage)),
    }
}

async fn ping(connection: &mut Connection, limit: Duration) -> Result<(), CacheError> {
    is_accepted(ask(connection, Request::One(&redis::cmd("PING")), limit).await).map(drop)
}

/// Returns false if only this command was refused, because an account without this right may have the
/// others, and a server that takes no writes can be read.
fn is_accepted(outcome: Result<Value, CacheError>) -> Result<bool, CacheError> {
    match outcome {
        Err(CacheError::BackendError(refusal))
            if matches!(
                refusal.kind(),
                RefusalKind::ReadOnly | RefusalKind::WritesRefused | RefusalKind::Operation
            ) =>
        {
            Ok(false)
        }
        outcome => outcome.map(|_| true),
    }
}

/// Does the same as [`ask`], and reports if the command is refused.
pub(super) async fn ask_and_report(
    client: &RedisClient,
    connection: &mut Connection,
    request: Request<'_>,
    limit: Duration,
) -> Result<Value, CacheError> {
    let answer = ask(connection, request, limit).await;
    match &answer {
        Ok(_) => client.reports.refusals.accepted(request.command()),
        Err(CacheError::BackendError(refusal)) => {
            client.reports.refusal(request.command(), refusal);
        }
        Err(_) => {}
    }
    answer
}

/// Sends `request` over a connection that is not in use yet, within `limit`.
async fn ask(
    connection: &mut Connection,
    request: Request<'_>,
    limit: Duration,
) -> Result<Value, CacheError> {
    let deadline = tokio::time::Instant::now() + limit;
    timeout_with_grace(deadline, connection.send(request))
        .await
        .unwrap_or(Err(CacheError::Timeout { limit }))
}

/// Pauses between attempts. Each is between half and all of a length that doubles up to a limit, so
/// that many processes that lost the same server do not return to it together.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    pub(super) fn next(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST_PAUSE);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_PAUSE, LONGEST_PAUSE, Pauses};

    #[test]
    fn pauses_grow_to_their_limit_and_differ() {
        let mut pauses = Pauses::new();
        let first = pauses.next();
        assert!(first >= FIRST_PAUSE / 2 && first <= FIRST_PAUSE);
        let later: Vec<_> = (0..20).map(|_| pauses.next()).collect();
        assert!(later.iter().all(|pause| *pause <= LONGEST_PAUSE));
        assert!(later.last().is_some_and(|last| *last >= LONGEST_PAUSE / 2));
        assert!(later[5..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
