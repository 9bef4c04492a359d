//! The cache in Redis.
//!
//! Operations use the connections that are up, in turn, each for at most its limit; see
//! [`operation`]. Background tasks do the rest: one connects and probes ([`supervisor`]), one sends
//! reads that come together ([`gets`]), and one writes what was handed over to be cached
//! ([`fills`]). What kind of server it is, only [`connect`] and what it uses know.

mod address;
mod breaker;
mod cluster;
mod commands;
mod connect;
mod dial;
#[cfg(test)]
mod fake;
mod faults;
mod fills;
mod gets;
mod hedge;
mod latency;
mod link;
mod log_limit;
mod operation;
mod peek;
mod refresh;
mod second_look;
mod sentinel;
mod slots;
mod supervisor;
mod sweep;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::connect::Endpoint;
use self::fills::Fills;
use self::gets::Gets;
use self::link::{Link, Request};
use self::operation::Core;
use crate::cache::{
    BadAnswer, BreakerState, CacheError, CacheService, CacheStatus, ConnectionFault,
    MAX_VALUE_BYTES, Peek, StartError,
};
use crate::config::tasker::CacheConfig;

/// How long a shutdown waits for the background tasks. They stop at their next await.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// A cache in Redis, or in a server that speaks its protocol.
///
/// `get`, `set`, `delete`, `delete_many` and `health_check` answer within
/// `operation_timeout_ms`. `delete_pattern` answers within 30 seconds; each of its steps is short
/// for the server.
pub struct RedisCacheService {
    core: Arc<Core>,
    fills: Arc<Fills>,
    gets: Arc<Gets>,
    tasks: TaskTracker,
    _stop_on_drop: DropGuard,
}

impl RedisCacheService {
    /// Connects, and finds out whether Redis answers, within `connection_timeout_seconds`.
    ///
    /// One connection is up when this returns; the others follow in the background, on the
    /// current runtime.
    ///
    /// # Errors
    /// [`StartError::Configuration`] when trying again cannot help, else
    /// [`StartError::Unusable`].
    pub async fn connect(config: &CacheConfig) -> Result<Self, StartError> {
        let redis = config.redis.clone().unwrap_or_default();
        let endpoint = Endpoint::from_config(&redis).map_err(StartError::Configuration)?;
        let limit = endpoint.timeout();
        // Named for this process, so that two that probe together do not read each other's.
        let probe_key = format!("{}:probe:{:016x}", config.key_prefix, rand::random::<u64>());
        let first = async {
            let mut link = endpoint.connect().await?;
            supervisor::probe(&mut link, &probe_key, limit).await?;
            Ok(link)
        };
        let first = tokio::time::timeout(limit, first).await.unwrap_or(Err(
            CacheError::ConnectionError(ConnectionFault::ConnectTimeout { limit }),
        ))?;

        let stop = CancellationToken::new();
        let configured = usize::try_from(redis.max_connections).unwrap_or(1);
        let core = Arc::new(Core::new(
            endpoint,
            connections_of_each(&first, configured),
            Duration::from_millis(config.operation_timeout_ms),
            probe_key,
            stop.clone(),
        ));
        core.slots.install(0, first);
        let fills = Arc::new(Fills::default());
        let tasks = TaskTracker::new();
        let supervisor = supervisor::run(Arc::clone(&core));
        tasks.spawn(stop.clone().run_until_cancelled_owned(supervisor));
        let writer = fills::run(Arc::clone(&core), Arc::clone(&fills));
        tasks.spawn(stop.clone().run_until_cancelled_owned(writer));
        let gets = Arc::new(Gets::default());
        let reader = gets::run(Arc::clone(&core), Arc::clone(&gets));
        tasks.spawn(stop.clone().run_until_cancelled_owned(reader));
        tasks.close();
        Ok(Self {
            core,
            fills,
            gets,
            tasks,
            _stop_on_drop: stop.drop_guard(),
        })
    }

    /// Hands over an entry to be written; never waits. See
    /// [`CacheProvider::fill`](crate::cache::CacheProvider::fill).
    pub fn fill(&self, key: String, value: String, ttl: Duration) {
        if value.len() > MAX_VALUE_BYTES {
            fills::dropped("failed", 1);
        } else if self.core.breaker.is_open() || self.core.stop.is_cancelled() {
            fills::dropped("unavailable", 1);
        } else {
            self.fills.push(key, value, ttl);
        }
    }

    /// Waits until every entry that was handed over is written or dropped; says whether that
    /// came within `limit`.
    pub async fn flush_fills(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.fills.until_empty())
            .await
            .is_ok()
    }

    /// Looks at entries. See [`CacheProvider::peek`](crate::cache::CacheProvider::peek).
    ///
    /// # Errors
    /// Like any operation; see [`CacheError`].
    pub async fn peek(
        &self,
        keys: &[String],
        bytes: usize,
    ) -> Result<Vec<Option<Peek>>, CacheError> {
        peek::peek(&self.core, keys, bytes).await
    }

    /// The state of this backend, for operators.
    pub async fn status(&self) -> CacheStatus {
        let healthy = self.health_check().await.unwrap_or(false);
        let (breaker, since, last_error) = self.core.breaker.report();
        let [p50, p99] = self.core.latency.percentiles_ms(Instant::now(), [50, 99]);
        CacheStatus {
            enabled: true,
            provider: self.provider_name(),
            healthy: healthy && breaker == BreakerState::Closed,
            breaker: Some(breaker),
            since,
            last_error,
            pending_fills: self.fills.pending() as u64,
            latency_p50_ms: p50,
            latency_p99_ms: p99,
            connections_up: u32::try_from(self.core.slots.up()).unwrap_or(u32::MAX),
            connections_max: u32::try_from(self.core.slots.len()).unwrap_or(u32::MAX),
        }
    }

    /// Ends the background tasks, closes all connections and drops waiting fills. Idempotent.
    pub async fn shutdown(&self) {
        self.core.stop.cancel();
        // A task that a starved runtime has not ended in time is none that a caller could do
        // anything about.
        let _ = tokio::time::timeout(STOP_LIMIT, self.tasks.wait()).await;
        self.core.slots.clear();
        self.fills.discard();
    }
}

/// How many connections each server has. In a cluster it is two at least: a link to it breaks with
/// the connection to any primary, and losing the last link takes the whole cluster out of use.
fn connections_of_each(link: &Link, configured: usize) -> usize {
    match link {
        Link::Single(_) => configured,
        Link::Cluster(_) => (configured / link.connections()).max(2),
    }
}

/// Without the endpoint, which knows the password.
impl std::fmt::Debug for RedisCacheService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisCacheService")
            .field("connections_up", &self.core.slots.up())
            .field("breaker_open", &self.core.breaker.is_open())
            .finish_non_exhaustive()
    }
}

impl CacheService for RedisCacheService {
    async fn get(&self, key: &str) -> Result<Option<String>, CacheError> {
        self.gets.get(&self.core, key).await
    }

    async fn set(&self, key: &str, value: &str, ttl: Duration) -> Result<(), CacheError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(CacheError::SerializationError(BadAnswer::TooLarge {
                bytes: value.len(),
            }));
        }
        let started = Instant::now();
        let command = commands::set(key, value, ttl);
        let outcome = self
            .core
            .call(&Request::One(&command), self.core.budget)
            .await
            .map(|_| self.core.note_write());
        self.core.measure("set", started, &outcome, |()| "ok");
        outcome
    }

    async fn delete(&self, key: &str) -> Result<bool, CacheError> {
        self.fills.forget(|waiting| waiting == key);
        let started = Instant::now();
        let mut command = redis::cmd("UNLINK");
        command.arg(key);
        let outcome = self
            .core
            .call(&Request::One(&command), self.core.budget)
            .await
            .and_then(|answer| commands::count(&answer).map_err(|bad| self.core.bad_answer(bad)))
            .map(|count| count > 0);
        self.core.measure("delete", started, &outcome, |_| "ok");
        outcome
    }

    async fn delete_many(&self, keys: &[String]) -> Result<u64, CacheError> {
        let doomed: std::collections::HashSet<&str> = keys.iter().map(String::as_str).collect();
        self.fills.forget(|waiting| doomed.contains(waiting));
        let started = Instant::now();
        let outcome = sweep::named(&self.core, keys, self.core.budget).await;
        self.core.measure("delete", started, &outcome, |_| "ok");
        outcome
    }

    async fn delete_pattern(&self, pattern: &str) -> Result<u64, CacheError> {
        // What waits is dropped whether it matches or not: it is rarely much, and whoever needs
        // it hands it over again.
        self.fills.forget(|_| true);
        let started = Instant::now();
        let outcome = sweep::matching(&self.core, pattern, sweep::SWEEP_LIMIT).await;
        self.core
            .measure("delete_pattern", started, &outcome, |_| "ok");
        outcome
    }

    async fn health_check(&self) -> Result<bool, CacheError> {
        let started = Instant::now();
        let command = redis::cmd("PING");
        let outcome = match self
            .core
            .call(&Request::One(&command), self.core.budget)
            .await
        {
            Ok(_) => Ok(true),
            Err(CacheError::ConnectionError(ConnectionFault::BreakerOpen)) => Ok(false),
            Err(error) => Err(error),
        };
        self.core.measure("ping", started, &outcome, |well| {
            if *well { "ok" } else { "rejected" }
        });
        outcome
    }

    fn provider_name(&self) -> &'static str {
        "redis"
    }
}
