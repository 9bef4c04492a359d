//! The cache in Redis.
//!
//! Operations use the connections that are up, each within its limit (`client`). A background task
//! connects and probes (`supervisor`). Only `endpoint` and the modules that it uses know the kinds of
//! servers.

mod breaker;
mod client;
mod cluster;
mod commands;
mod connection;
mod connections;
mod endpoint;
mod log_limit;
mod redis_error;
mod refusals;
mod reports;
mod sentinel;
mod supervisor;
mod sweep;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::client::RedisClient;
use self::commands::Request;
use self::endpoint::Endpoint;
use self::reports::measure;
use crate::cache::errors::Chain;
use crate::cache::{
    BadAnswer, BreakerState, CacheError, CacheService, CacheStatus, ConfigurationFault,
    ConnectionFault, MAX_VALUE_BYTES, SWEEP_LIMIT,
};
use crate::config::tasker::CacheConfig;

/// The most connections that are opened. Two, so that requests do not notice the loss of one; more
/// are slower, because fewer commands are written together.
const CONNECTIONS: u32 = 2;

/// The limit of waiting for the background task at shutdown. It stops at its next await.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// A cache in Redis, or in a server that speaks its protocol.
///
/// `get`, `set`, `delete` and `health_check` return within `operation_timeout_ms`, `delete_many` within
/// that time for each thousand keys. `delete_pattern` returns within 30 seconds; each of its steps is
/// short for the server.
///
/// While Redis fails, a breaker lets all operations fail at once; a background task probes Redis and
/// closes the breaker when it is well.
pub struct RedisCacheService {
    client: Arc<RedisClient>,
    key_prefix: String,
    tasks: TaskTracker,
    _stop_on_drop: DropGuard,
}

impl RedisCacheService {
    /// Tries to connect once, within `connection_timeout_seconds`, and returns in any case. A
    /// background task on the current runtime opens further connections, and continues to try if
    /// the first attempt failed: see [`Self::was_reached`] and [`Self::last_error`].
    ///
    /// # Errors
    /// [`ConfigurationFault`] if the configuration can never work.
    pub async fn start(config: &CacheConfig) -> Result<Self, ConfigurationFault> {
        let redis = config.redis.clone().unwrap_or_default();
        let endpoint = Endpoint::from_config(&redis)?;
        let stop = CancellationToken::new();
        let limit = endpoint.timeout();
        let client = Arc::new(RedisClient::new(
            endpoint,
            usize::try_from(redis.max_connections.clamp(1, CONNECTIONS)).unwrap_or(1),
            Duration::from_millis(config.operation_timeout_ms),
            // Random, so that two processes that probe together do not read each other's value.
            format!("{}:probe:{:016x}", config.key_prefix, rand::random::<u64>()),
            stop.clone(),
        ));
        supervisor::attempt(&client, limit, limit).await;
        let tasks = TaskTracker::new();
        let supervisor = supervisor::run(Arc::clone(&client));
        tasks.spawn(stop.clone().run_until_cancelled_owned(supervisor));
        tasks.close();
        Ok(Self {
            client,
            key_prefix: config.key_prefix.clone(),
            tasks,
            _stop_on_drop: stop.drop_guard(),
        })
    }

    /// Returns whether Redis has been reached at least once.
    #[must_use]
    pub fn was_reached(&self) -> bool {
        self.client.was_reached()
    }

    /// Returns the last error that kept Redis from being used, with its causes.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        let (_, _, last_error) = self.client.breaker.report();
        last_error.map(|error| Chain(&error).to_string())
    }

    /// Returns the configured `key_prefix`.
    #[must_use]
    pub fn key_prefix(&self) -> &str {
        &self.key_prefix
    }

    /// Deletes every key that matches the glob `pattern`, within `limit`. See
    /// [`CacheProvider::sweep`](crate::cache::CacheProvider::sweep).
    pub async fn sweep(&self, pattern: &str, limit: Duration) -> (u64, Result<(), CacheError>) {
        let started = Instant::now();
        let (deleted, outcome) = sweep::matching(&self.client, pattern, limit).await;
        measure("delete_pattern", started, &outcome, |()| "ok");
        (deleted, outcome)
    }

    /// Returns the state of this backend, for operators.
    pub async fn status(&self) -> CacheStatus {
        let healthy = self.health_check().await.unwrap_or(false);
        let (breaker, since, last_error) = self.client.breaker.report();
        CacheStatus {
            enabled: true,
            refused: None,
            refused_commands: self
                .client
                .reports
                .refusals
                .now()
                .into_iter()
                .map(|(command, code)| format!("{command}: {code}"))
                .collect(),
            provider: self.provider_name(),
            healthy: healthy && breaker == BreakerState::Closed,
            breaker: Some(breaker),
            since,
            last_error: last_error.map(|error| Chain(&error).to_string()),
            connections_up: u32::try_from(self.client.connections.up()).unwrap_or(u32::MAX),
            connections_max: u32::try_from(self.client.connections.len()).unwrap_or(u32::MAX),
        }
    }

    /// Ends the background task and closes all connections. Idempotent.
    pub async fn shutdown(&self) {
        self.client.stop.cancel();
        // A task that a starved runtime has not ended by then is left to it.
        let _ = tokio::time::timeout(STOP_LIMIT, self.tasks.wait()).await;
        self.client.connections.clear();
    }

    /// Sends one command about `key`, within the budget of a request.
    async fn call(&self, key: &str, command: &redis::Cmd) -> Result<redis::Value, CacheError> {
        let request = Request::One(command);
        self.client
            .call(key.as_bytes(), request, self.client.budget)
            .await
    }

    async fn read(&self, key: &str) -> Result<Option<String>, CacheError> {
        let bad_answer = |bad| self.client.reports.bad_answer(bad);
        match self.call(key, &commands::get(key)).await {
            Ok(answer) => commands::text(answer).map_err(bad_answer),
            Err(CacheError::BackendError(refusal)) if refusal.code() == "WRONGTYPE" => {
                Err(bad_answer(BadAnswer::WrongType))
            }
            Err(error) => Err(error),
        }
    }
}

/// Omits the endpoint, which contains the password.
impl std::fmt::Debug for RedisCacheService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisCacheService")
            .field("connections_up", &self.client.connections.up())
            .field("breaker_open", &self.client.breaker.is_open())
            .finish_non_exhaustive()
    }
}

impl CacheService for RedisCacheService {
    async fn get(&self, key: &str) -> Result<Option<String>, CacheError> {
        let started = Instant::now();
        let outcome = self.read(key).await;
        measure("get", started, &outcome, |value| match value {
            Some(_) => "hit",
            None => "miss",
        });
        outcome
    }

    async fn set(&self, key: &str, value: &str, ttl: Duration) -> Result<(), CacheError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(CacheError::SerializationError(BadAnswer::TooLarge {
                bytes: value.len(),
            }));
        }
        let started = Instant::now();
        let outcome = self
            .call(key, &commands::set(key, value, ttl))
            .await
            .map(drop);
        measure("set", started, &outcome, |()| "ok");
        outcome
    }

    async fn delete(&self, key: &str) -> Result<bool, CacheError> {
        let started = Instant::now();
        let outcome = sweep::named(&self.client, &[key], self.client.budget)
            .await
            .map(|count| count > 0);
        measure("delete", started, &outcome, |_| "ok");
        outcome
    }

    async fn delete_many(&self, keys: &[String]) -> Result<u64, CacheError> {
        let started = Instant::now();
        let outcome = sweep::named(&self.client, keys, self.client.budget).await;
        measure("delete", started, &outcome, |_| "ok");
        outcome
    }

    async fn delete_pattern(&self, pattern: &str) -> Result<u64, CacheError> {
        let (deleted, outcome) = self.sweep(pattern, SWEEP_LIMIT).await;
        outcome.map(|()| deleted)
    }

    async fn health_check(&self) -> Result<bool, CacheError> {
        let started = Instant::now();
        let outcome = match self.call("", &redis::cmd("PING")).await {
            Ok(_) => Ok(true),
            Err(CacheError::ConnectionError(ConnectionFault::BreakerOpen)) => Ok(false),
            Err(error) => Err(error),
        };
        measure("ping", started, &outcome, |well| {
            if *well { "ok" } else { "rejected" }
        });
        outcome
    }

    fn provider_name(&self) -> &'static str {
        "redis"
    }
}
