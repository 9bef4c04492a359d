//! The servers of a run, and for each process a proxy before each of them.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Value};
use sqlx::{Connection, PgConnection};
use tasker_shared::config::tasker::RedisConfig;
use tasker_test_support::{
    PostgresServer, RedisCluster, RedisSentinel, RedisServer, TcpProxy, redis_connection,
};

use crate::error::Result;

/// The database of the server's own that runs use.
const DATABASE: &str = "postgres";
/// Keys of the dump that takes long to load.
pub(crate) const DUMP_KEYS: u32 = 20_000;

/// A private PostgreSQL and a private Redis. Worlds of one program may share the PostgreSQL.
pub(crate) struct World {
    pub(crate) links: Vec<Link>,
    pub(crate) redis: RedisServer,
    /// Used instead of `redis` if there is one.
    cluster: Option<RedisCluster>,
    /// Used instead of `redis` if there is one.
    sentinel: Option<RedisSentinel>,
    pub(crate) postgres: Arc<PostgresServer>,
}

/// The servers of a world besides PostgreSQL and one Redis.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Servers {
    /// The time for which the Redis loads a dump of [`DUMP_KEYS`] keys, if it has to be slow.
    pub(crate) slow_load: Option<Duration>,
    pub(crate) cluster: bool,
    pub(crate) sentinel: bool,
}

/// The path of one process to the servers.
pub(crate) struct Link {
    pub(crate) postgres: TcpProxy,
    pub(crate) redis: TcpProxy,
}

impl World {
    /// Starts these servers and so many links.
    pub(crate) async fn start(
        postgres: &Arc<PostgresServer>,
        servers: Servers,
        links: usize,
    ) -> Result<Self> {
        let slow_load = servers.slow_load.map(|length| {
            // The server sleeps so long over each key of a dump, and answers clients in between.
            (length.as_micros() / u128::from(DUMP_KEYS)).to_string()
        });
        let interval = "--loading-process-events-interval-bytes";
        let arguments: &[&str] = match &slow_load {
            Some(delay) => &["--key-load-delay", delay, interval, "1024"],
            None => &[],
        };
        let mut world = Self {
            links: Vec::new(),
            redis: RedisServer::start_with(arguments).await?,
            cluster: None,
            sentinel: None,
            postgres: Arc::clone(postgres),
        };
        if servers.cluster {
            world.cluster = Some(RedisCluster::start(3, 1).await?);
        }
        if servers.sentinel {
            world.sentinel = Some(RedisSentinel::start().await?);
        }
        for _ in 0..links {
            world.links.push(Link {
                postgres: TcpProxy::before(&world.database_url()).await?,
                redis: TcpProxy::before(&world.redis.url()).await?,
            });
        }
        Ok(world)
    }

    pub(crate) fn cluster(&self) -> Result<&RedisCluster> {
        self.cluster
            .as_ref()
            .ok_or_else(|| "this world has no cluster".into())
    }

    pub(crate) fn sentinel(&self) -> Result<&RedisSentinel> {
        self.sentinel
            .as_ref()
            .ok_or_else(|| "this world has no sentinel".into())
    }

    /// Returns the URL of the database, without a proxy.
    pub(crate) fn database_url(&self) -> String {
        self.postgres.url(DATABASE)
    }

    /// Connects to the database, without a proxy.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect(&self.database_url()).await
    }

    /// Returns the configuration that leads to the Redis of this world: through the first link, or
    /// directly.
    pub(crate) fn redis_config(&self, through_link: bool) -> RedisConfig {
        let mut config = RedisConfig {
            url: self.redis.url(),
            ..RedisConfig::default()
        };
        if through_link {
            self.links[0].redis.url().clone_into(&mut config.url);
        }
        if let Some(cluster) = &self.cluster {
            config.mode = String::from("cluster");
            config.url = cluster.url();
            config.nodes = cluster.addresses().split_off(1);
        }
        if let Some(watched) = &self.sentinel {
            let sentinels = watched.sentinels();
            config.mode = String::from("sentinel");
            config.url = sentinels[0].url();
            config.nodes = sentinels[1..].iter().map(RedisServer::address).collect();
            watched
                .primary_name()
                .clone_into(&mut config.sentinel_master_name);
        }
        config
    }

    /// Runs a command on a connection of its own, without a proxy.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        ask(&self.redis.url(), words).await
    }

    pub(crate) async fn order(&self, words: &[&str]) -> Result {
        self.ask::<Value>(words).await.map(drop)
    }

    /// Runs a command while Redis demands `password`.
    pub(crate) async fn order_with(&self, password: &str, words: &[&str]) -> Result {
        let login = format!("redis://:{password}@");
        let url = self.redis.url().replace("redis://", &login);
        ask::<Value>(&url, words).await.map(drop)
    }

    pub(crate) async fn terminate_listeners(&self) -> Result {
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'",
        )
        .execute(&mut self.connect().await?)
        .await?;
        Ok(())
    }
}

async fn ask<T: FromRedisValue>(url: &str, words: &[&str]) -> Result<T> {
    let mut command = Cmd::new();
    command.arg(words);
    let mut connection = redis_connection(url).await?;
    Ok(command.query_async(&mut connection).await?)
}
