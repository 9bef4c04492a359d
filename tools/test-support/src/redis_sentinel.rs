//! A primary, its replica and the sentinels that watch them, of a test's own.

use redis::Value;

use crate::redis_control::{ask, until};
use crate::{RedisServer, Result};

/// The silence after which the sentinels replace the primary.
const DOWN_AFTER_MS: &str = "1000";
const FAILOVER_TIMEOUT_MS: &str = "5000";
/// The sentinels' name of the primary.
const PRIMARY_NAME: &str = "tasker-primary";

/// Two servers, of which the first is the primary at first, and three sentinels, on this machine's
/// loopback address. They end as [`RedisServer`]s do.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: [RedisServer; 2],
    sentinels: Vec<RedisServer>,
}

impl RedisSentinel {
    /// Starts all and waits until every sentinel knows the replica and the other sentinels.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[], &[]).await
    }

    /// Starts all with further command line arguments for the servers and for the sentinels. None
    /// may require a password.
    pub async fn start_with(
        server_arguments: &[&str],
        sentinel_arguments: &[&str],
    ) -> Result<Self> {
        let delay = ["--repl-diskless-sync-delay", "0"];
        let arguments = [&delay[..], server_arguments].concat();
        let primary = RedisServer::start_with(&arguments).await?;
        let replica = RedisServer::start_with(&arguments).await?;
        let port = primary.port().to_string();
        let () = ask(&replica, &["REPLICAOF", "127.0.0.1", &port]).await?;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(RedisServer::start_sentinel(sentinel_arguments).await?);
        }
        let started = Self {
            servers: [primary, replica],
            sentinels,
        };
        started.watch(&port).await?;
        Ok(started)
    }

    /// Returns the sentinels' name of the primary.
    #[must_use]
    pub fn primary_name(&self) -> &'static str {
        PRIMARY_NAME
    }

    /// Returns the servers; the first is the primary at first.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer; 2] {
        &self.servers
    }

    /// Returns the sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// Waits until every sentinel names this server as the primary, and it is one.
    pub async fn until_primary(&self, server: usize) -> Result {
        let port = self.servers[server].port().to_string();
        self.until("replace the primary", async || {
            let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY_NAME];
            for sentinel in &self.sentinels {
                let (_, named): (String, String) = ask(sentinel, &question).await?;
                if named != port {
                    return Ok(false);
                }
            }
            let state: String = ask(&self.servers[server], &["INFO", "replication"]).await?;
            Ok(state.contains("role:master"))
        })
        .await
    }

    async fn watch(&self, port: &str) -> Result {
        for sentinel in &self.sentinels {
            let name = PRIMARY_NAME;
            let monitor = ["SENTINEL", "MONITOR", name, "127.0.0.1", port, "2"];
            let () = ask(sentinel, &monitor).await?;
            for (setting, value) in [
                ("down-after-milliseconds", DOWN_AFTER_MS),
                ("failover-timeout", FAILOVER_TIMEOUT_MS),
            ] {
                let () = ask(sentinel, &["SENTINEL", "SET", name, setting, value]).await?;
            }
        }
        self.until("know each other", async || {
            for sentinel in &self.sentinels {
                let quorum = ["SENTINEL", "CKQUORUM", PRIMARY_NAME];
                let quorum: String = ask(sentinel, &quorum).await?;
                let replicas = ["SENTINEL", "REPLICAS", PRIMARY_NAME];
                let replicas: Vec<Value> = ask(sentinel, &replicas).await?;
                if replicas.is_empty() || !quorum.starts_with("OK 3 ") {
                    return Ok(false);
                }
            }
            let state: String = ask(&self.servers[1], &["INFO", "replication"]).await?;
            Ok(state.contains("master_link_status:up"))
        })
        .await
    }

    async fn until(&self, action: &'static str, reached: impl AsyncFn() -> Result<bool>) -> Result {
        until(&self.sentinels[0], action, reached).await
    }
}
