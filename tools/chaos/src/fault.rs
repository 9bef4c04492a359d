//! The ways in which Redis fails.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tasker_test_support::{RedisCluster, RedisSentinel, RedisServer, TcpProxy, redis_connection};

use crate::error::FaultsError;
use crate::templates::keys;
use crate::world::World;

/// What "slow" adds to a round trip, half of it each way.
const SLOW: Duration = Duration::from_millis(200);
/// A stalled piece is held back for what Linux waits at least before it sends a packet again.
const STALL: Duration = Duration::from_millis(200);
const STALL_PERCENT: u8 = 10;
/// What PostgreSQL is slowed down by, half of it each way: fifty times what an answer takes else. A
/// connection that was idle needs up to three round trips.
const POSTGRES_SLOW: Duration = Duration::from_millis(20);
/// How long a flapping server is up, and down.
const FLAP: Duration = Duration::from_secs(1);
/// Keys of the dump that takes long to load.
const DUMP_KEYS: u32 = 20_000;

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Calm,
    Kill,
    KillEmpty,
    Freeze,
    Slow,
    Stalls,
    Refused,
    BlackHole,
    HalfOpen,
    Full,
    Replica,
    Password,
    Loading,
    Flush,
    Flapping,
    PostgresSlow,
    ClusterPrimary,
    SlotsMove,
    SentinelFailover,
    BootBlackHole,
    BootAbsent,
    BootPassword,
}

/// What a fault is done to.
pub(crate) struct Stage {
    pub(crate) redis: RedisServer,
    pub(crate) proxy: TcpProxy,
    /// The way to PostgreSQL, where it is one of the stage's own.
    pub(crate) postgres: Option<TcpProxy>,
    /// Used instead of the one Redis where there is one.
    pub(crate) cluster: Option<RedisCluster>,
    /// Used instead of the one Redis if there is one.
    pub(crate) sentinel: Option<RedisSentinel>,
}

impl Stage {
    /// A Redis that `fault` can be done to within `length`, and a way to it. With a database's URL
    /// a way to that, too.
    pub(crate) async fn set(
        fault: Fault,
        length: Duration,
        database_url: Option<&str>,
    ) -> Result<Self, FaultsError> {
        // The server sleeps so long over each key of a dump, and looks up in between.
        let delay = length.as_micros() / u128::from(DUMP_KEYS);
        let delay = delay.to_string();
        let arguments: &[&str] = match fault {
            Fault::Loading => &[
                "--key-load-delay",
                &delay,
                "--loading-process-events-interval-bytes",
                "1024",
            ],
            _ => &[],
        };
        let redis = RedisServer::start_with(arguments).await?;
        let proxy = TcpProxy::before(&redis.url()).await?;
        let postgres = match database_url {
            Some(url) => Some(TcpProxy::before(url).await?),
            None => None,
        };
        let cluster = match fault {
            Fault::ClusterPrimary | Fault::SlotsMove => Some(RedisCluster::start(3, 1).await?),
            _ => None,
        };
        let sentinel = match fault {
            Fault::SentinelFailover => Some(RedisSentinel::start().await?),
            _ => None,
        };
        Ok(Self {
            redis,
            proxy,
            postgres,
            cluster,
            sentinel,
        })
    }

    /// Where processes under test find PostgreSQL.
    pub(crate) fn database_url<'a>(&'a self, world: &'a World) -> &'a str {
        self.postgres
            .as_ref()
            .map_or_else(|| world.database.url(), TcpProxy::url)
    }

    /// Runs a command on a connection of its own, which is not through the proxy.
    pub(crate) async fn ask<T: redis::FromRedisValue>(
        &self,
        command: &redis::Cmd,
    ) -> Result<T, FaultsError> {
        Ok(command.query_async(&mut self.connection().await?).await?)
    }

    async fn order(&self, command: &redis::Cmd) -> Result<(), FaultsError> {
        let _done: redis::Value = self.ask(command).await?;
        Ok(())
    }

    async fn connection(&self) -> Result<MultiplexedConnection, FaultsError> {
        Ok(redis_connection(&self.redis.url()).await?)
    }

    async fn settings(&self, name: &str, value: &str) -> Result<(), FaultsError> {
        self.order(redis::cmd("CONFIG").arg("SET").arg(name).arg(value))
            .await
    }
}

impl Fault {
    /// Whether it is there when the process starts.
    pub(crate) fn is_at_boot(self) -> bool {
        matches!(
            self,
            Self::BootBlackHole | Self::BootAbsent | Self::BootPassword
        )
    }

    /// Whether it is done to the way to Redis rather than to Redis.
    pub(crate) fn is_on_the_way(self) -> bool {
        matches!(
            self,
            Self::Slow
                | Self::Stalls
                | Self::Refused
                | Self::BlackHole
                | Self::HalfOpen
                | Self::BootBlackHole
        )
    }

    /// Whether the servers get well by themselves, so that what they take for it counts, too.
    pub(crate) fn heals_itself(self) -> bool {
        matches!(self, Self::ClusterPrimary | Self::SentinelFailover)
    }

    /// Whether it is done to the way to PostgreSQL.
    pub(crate) fn needs_postgres(self) -> bool {
        self == Self::PostgresSlow
    }

    /// Does what has to be wrong before the process starts.
    pub(crate) async fn before_boot(self, stage: &Stage) -> Result<(), FaultsError> {
        match self {
            Self::BootBlackHole => stage.proxy.black_hole().await,
            Self::BootAbsent => stage.redis.kill().await?,
            Self::BootPassword => stage.settings("requirepass", "another").await?,
            _ => {}
        }
        Ok(())
    }

    /// Does to the way to Redis what lasts until it forwards again.
    async fn spoil(self, proxy: &TcpProxy) {
        match self {
            Self::Slow => proxy.delay(SLOW / 2).await,
            Self::Stalls => proxy.stall(STALL_PERCENT, STALL).await,
            Self::Refused => {
                proxy.refuse().await;
                proxy.cut().await;
            }
            Self::BlackHole => {
                proxy.black_hole().await;
                proxy.cut().await;
            }
            Self::HalfOpen => proxy.half_open().await,
            // It is spoilt since before the process started; and all else is done elsewhere.
            _ => {}
        }
    }

    /// Lets Redis fail for about `length`, and returns when it is well again.
    pub(crate) async fn happen(self, stage: &Stage, length: Duration) -> Result<(), FaultsError> {
        let Stage {
            redis,
            proxy,
            postgres,
            cluster,
            sentinel,
        } = stage;
        let over = || tokio::time::sleep(length);
        match self {
            Self::Calm => over().await,
            Self::Slow
            | Self::Stalls
            | Self::Refused
            | Self::BlackHole
            | Self::HalfOpen
            | Self::BootBlackHole => {
                self.spoil(proxy).await;
                over().await;
                proxy.forward().await;
            }
            Self::Kill => {
                // What is in the dump is there again after the restart.
                stage.order(&redis::cmd("SAVE")).await?;
                redis.kill().await?;
                over().await;
                redis.restart().await?;
            }
            Self::KillEmpty => {
                redis.kill().await?;
                over().await;
                redis.restart().await?;
            }
            Self::Freeze => {
                redis.freeze().await?;
                over().await;
                redis.thaw().await?;
            }
            Self::Full => {
                stage.settings("maxmemory", "1").await?;
                over().await;
                stage.settings("maxmemory", "0").await?;
            }
            Self::Replica => {
                // Of a primary that does not exist: it keeps what it has.
                stage
                    .order(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1))
                    .await?;
                over().await;
                stage
                    .order(redis::cmd("REPLICAOF").arg("NO").arg("ONE"))
                    .await?;
            }
            Self::Password => change_password(stage, length).await?,
            Self::Loading => load_big_dump(stage).await?,
            Self::Flush => {
                stage.order(&redis::cmd("FLUSHALL")).await?;
                over().await;
            }
            Self::Flapping => flap(stage, length).await?,
            Self::PostgresSlow => {
                if let Some(postgres) = postgres {
                    postgres.delay(POSTGRES_SLOW / 2).await;
                }
                redis.kill().await?;
                over().await;
                redis.restart().await?;
                if let Some(postgres) = postgres {
                    postgres.forward().await;
                }
            }
            Self::ClusterPrimary => {
                if let Some(cluster) = cluster {
                    cluster.nodes()[0].kill().await?;
                    cluster.until_well().await?;
                }
            }
            Self::SlotsMove => {
                if let Some(cluster) = cluster {
                    move_slots(cluster, length).await?;
                }
            }
            Self::SentinelFailover => {
                if let Some(sentinel) = sentinel {
                    sentinel.servers()[0].kill().await?;
                    sentinel.until_primary(1).await?;
                }
            }
            Self::BootAbsent => {
                over().await;
                redis.restart().await?;
            }
            Self::BootPassword => {
                over().await;
                allow_everybody(stage, "another").await?;
            }
        }
        Ok(())
    }
}

async fn change_password(stage: &Stage, length: Duration) -> Result<(), FaultsError> {
    stage.settings("requirepass", "another").await?;
    // Who is connected stays so; new connections are refused.
    let mut kill = redis::cmd("CLIENT");
    kill.arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let mut connection = authenticated(stage, "another").await?;
    let _: u64 = kill.query_async(&mut connection).await?;
    tokio::time::sleep(length).await;
    allow_everybody(stage, "another").await
}

async fn allow_everybody(stage: &Stage, password: &str) -> Result<(), FaultsError> {
    let mut connection = authenticated(stage, password).await?;
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", ""])
        .query_async(&mut connection)
        .await?;
    Ok(())
}

async fn authenticated(
    stage: &Stage,
    password: &str,
) -> Result<MultiplexedConnection, FaultsError> {
    let url = stage
        .redis
        .url()
        .replace("redis://", &format!("redis://:{password}@"));
    Ok(redis_connection(&url).await?)
}

async fn load_big_dump(stage: &Stage) -> Result<(), FaultsError> {
    let mut connection = stage.connection().await?;
    let mut fill = redis::cmd("EVAL");
    fill.arg("for i = 1, ARGV[1] do redis.call('SET', 'other:' .. i, string.rep('x', 50)) end")
        .arg(0)
        .arg(DUMP_KEYS);
    let () = fill.query_async(&mut connection).await?;
    let () = redis::cmd("SAVE").query_async(&mut connection).await?;
    stage.redis.kill().await?;
    // Returns when the server has stopped saying that it is loading.
    Ok(stage.redis.restart().await?)
}

/// Moves each template that the first primary has to the second one, spread over `length`.
async fn move_slots(cluster: &RedisCluster, length: Duration) -> Result<(), FaultsError> {
    let mut connection = redis_connection(&cluster.url()).await?;
    let mut slots = Vec::new();
    for key in keys() {
        let slot: u16 = redis::cmd("CLUSTER")
            .arg("KEYSLOT")
            .arg(key)
            .query_async(&mut connection)
            .await?;
        if cluster.primary_of(slot).await? == 0 {
            slots.push(slot);
        }
    }
    slots.sort_unstable();
    slots.dedup();
    let pause = length / u32::try_from(slots.len().max(1)).unwrap_or(u32::MAX);
    for slot in slots {
        cluster.move_slots(slot..slot + 1, 0, 1).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

async fn flap(stage: &Stage, length: Duration) -> Result<(), FaultsError> {
    let until = tokio::time::Instant::now() + length;
    loop {
        stage.redis.kill().await?;
        tokio::time::sleep(FLAP).await;
        stage.redis.restart().await?;
        if tokio::time::Instant::now() >= until {
            return Ok(());
        }
        tokio::time::sleep(FLAP).await;
    }
}
