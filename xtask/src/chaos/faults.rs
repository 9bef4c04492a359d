//! What goes wrong, one thing after another, at random.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tasker_test_support::TestkitError;

use super::clock;
use super::old_redis::OldRedis;
use super::stage::{AGENTS, SLOTS, Stage};
use crate::error::XtaskError;

const LENGTH_MS: std::ops::Range<u64> = 500..3000;
const FREEZE: Duration = Duration::from_secs(2);
const PAUSE_MS: std::ops::Range<u64> = 500..1500;
const DELAY_MS: std::ops::Range<u64> = 20..300;
/// How often listeners are looked for while there shall be none, and waited for.
const LISTENER_PAUSE: Duration = Duration::from_millis(50);
/// After so many faults there is a calm.
const FAULTS_BETWEEN_CALMS: usize = 6;
const CALM: Duration = Duration::from_secs(3);
/// How long listeners may take to be back. One that was silently lost asks after ten seconds.
const LISTENER_LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    RedisKilled,
    RedisFrozen,
    RedisFlushed,
    RedisRestored,
    ListenersTerminated,
    RedisLinkDelayed,
    RedisLinkCut,
    RedisLinkHalfOpen,
    PostgresLinkDelayed,
    PostgresLinkCut,
    PostgresLinkHalfOpen,
    PostgresRestarted,
    AgentKilled,
    ProcessFrozen,
}

impl Kind {
    pub(super) const ALL: [Self; 14] = [
        Self::RedisKilled,
        Self::RedisFrozen,
        Self::RedisFlushed,
        Self::RedisRestored,
        Self::ListenersTerminated,
        Self::RedisLinkDelayed,
        Self::RedisLinkCut,
        Self::RedisLinkHalfOpen,
        Self::PostgresLinkDelayed,
        Self::PostgresLinkCut,
        Self::PostgresLinkHalfOpen,
        Self::PostgresRestarted,
        Self::AgentKilled,
        Self::ProcessFrozen,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::RedisKilled => "Redis killed, started again",
            Self::RedisFrozen => "Redis frozen",
            Self::RedisFlushed => "Redis flushed",
            Self::RedisRestored => "Redis restored from an old snapshot",
            Self::ListenersTerminated => "listener backends terminated",
            Self::RedisLinkDelayed => "connections to Redis delayed",
            Self::RedisLinkCut => "connections to Redis cut",
            Self::RedisLinkHalfOpen => "connections to Redis half-open",
            Self::PostgresLinkDelayed => "connections to PostgreSQL delayed",
            Self::PostgresLinkCut => "connections to PostgreSQL cut",
            Self::PostgresLinkHalfOpen => "connections to PostgreSQL half-open",
            Self::PostgresRestarted => "PostgreSQL restarted",
            Self::AgentKilled => "agent killed, started again",
            Self::ProcessFrozen => "process frozen for 2 s",
        }
    }

    /// Whether those whom it meets cannot reach PostgreSQL as they should.
    pub(super) const fn excuses_failures(self) -> bool {
        matches!(
            self,
            Self::PostgresLinkDelayed
                | Self::PostgresLinkCut
                | Self::PostgresLinkHalfOpen
                | Self::PostgresRestarted
                | Self::AgentKilled
                | Self::ProcessFrozen
        )
    }
}

/// A fault that happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// Whom it met; `None`: all.
    pub(super) slot: Option<usize>,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What the run was like, over time.
#[derive(Debug, Default)]
pub(super) struct Weather {
    pub(super) faults: Vec<Fault>,
    /// From when to when nothing was wrong and everybody listened.
    pub(super) calms: Vec<(u64, u64)>,
    /// Processes that ended though nobody had killed them.
    pub(super) lost: Vec<TestkitError>,
}

/// Lets things go wrong until the run ends. Then nothing is wrong any more.
pub(super) async fn rage(stage: &Stage, seed: u64) -> Result<Weather, XtaskError> {
    let mut storm = Storm {
        stage,
        random: StdRng::seed_from_u64(seed),
        old_redis: OldRedis::default(),
        weather: Weather::default(),
    };
    storm.calm().await?;
    // Each kind once before any comes again: a short run has them all.
    let mut coming = Vec::new();
    let mut since_calm = 0;
    while !stage.is_ending() {
        if coming.is_empty() {
            coming.extend(Kind::ALL);
        }
        let chosen = storm.random.random_range(0..coming.len());
        storm.strike(coming.swap_remove(chosen)).await?;
        since_calm += 1;
        if since_calm == FAULTS_BETWEEN_CALMS {
            storm.calm().await?;
            since_calm = 0;
        }
        storm.pause(PAUSE_MS).await;
    }
    storm.weather.lost.extend(stage.lost().await);
    Ok(storm.weather)
}

struct Storm<'a> {
    stage: &'a Stage,
    random: StdRng,
    old_redis: OldRedis,
    weather: Weather,
}

impl Storm<'_> {
    async fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(
            self.random.random_range(milliseconds),
        ))
        .await;
    }

    async fn last(&mut self) {
        self.pause(LENGTH_MS).await;
    }

    async fn strike(&mut self, kind: Kind) -> Result<(), XtaskError> {
        let start = clock::now();
        let slot = match kind {
            Kind::RedisKilled
            | Kind::RedisFrozen
            | Kind::RedisFlushed
            | Kind::RedisRestored
            | Kind::ListenersTerminated
            | Kind::PostgresRestarted => {
                self.strike_server(kind).await?;
                None
            }
            Kind::AgentKilled => {
                let slot = *AGENTS.choose(&mut self.random).expect("there are agents");
                self.kill_agent(slot).await?;
                Some(slot)
            }
            Kind::ProcessFrozen => {
                let slot = self.random.random_range(0..SLOTS.len());
                self.freeze(slot).await?;
                Some(slot)
            }
            _ => {
                let slot = self.random.random_range(0..SLOTS.len());
                self.strike_link(kind, slot).await;
                Some(slot)
            }
        };
        self.weather.faults.push(Fault {
            kind,
            slot,
            start,
            end: clock::now(),
        });
        Ok(())
    }

    async fn strike_server(&mut self, kind: Kind) -> Result<(), XtaskError> {
        let stage = self.stage;
        match kind {
            Kind::RedisKilled => {
                stage.redis.kill().await?;
                self.last().await;
                stage.redis.restart().await?;
            }
            Kind::RedisFrozen => {
                stage.redis.freeze().await?;
                self.last().await;
                stage.redis.thaw().await?;
            }
            Kind::RedisFlushed => self.old_redis.flush(&stage.redis.url()).await?,
            Kind::RedisRestored => self.old_redis.restore(&stage.redis.url()).await?,
            Kind::ListenersTerminated => {
                let rounds = self.random.random_range(10..60);
                for _ in 0..rounds {
                    self.terminate_listeners().await?;
                    tokio::time::sleep(LISTENER_PAUSE).await;
                }
            }
            _ => {
                stage.postgres.stop().await?;
                self.last().await;
                stage.postgres.restart().await?;
            }
        }
        Ok(())
    }

    async fn strike_link(&mut self, kind: Kind, slot: usize) {
        let slot = &self.stage.slots[slot];
        let link = match kind {
            Kind::RedisLinkDelayed | Kind::RedisLinkCut | Kind::RedisLinkHalfOpen => &slot.redis,
            _ => &slot.postgres,
        };
        match kind {
            Kind::RedisLinkDelayed | Kind::PostgresLinkDelayed => {
                let delay = self.random.random_range(DELAY_MS);
                link.delay(Duration::from_millis(delay)).await;
                self.last().await;
            }
            Kind::RedisLinkCut | Kind::PostgresLinkCut => {
                link.refuse().await;
                link.cut().await;
                self.last().await;
            }
            _ => {
                link.half_open().await;
                self.last().await;
                // What was held back arrives late, or never.
                if self.random.random_bool(0.5) {
                    link.cut().await;
                }
            }
        }
        link.forward().await;
    }

    async fn kill_agent(&mut self, slot: usize) -> Result<(), XtaskError> {
        if let Some(program) = &*self.stage.slots[slot].program.lock().await {
            // It is started again below, and nobody would know.
            self.weather
                .lost
                .extend(program.process().check_alive().err());
            program.process().kill().await?;
        }
        self.pause(PAUSE_MS).await;
        self.stage.start_agent(slot).await
    }

    async fn freeze(&self, slot: usize) -> Result<(), XtaskError> {
        if let Some(program) = &*self.stage.slots[slot].program.lock().await {
            program.process().freeze()?;
            tokio::time::sleep(FREEZE).await;
            program.process().thaw()?;
        }
        Ok(())
    }

    async fn terminate_listeners(&self) -> Result<(), XtaskError> {
        let mut connection = self.stage.connect().await?;
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'",
        )
        .execute(&mut connection)
        .await?;
        Ok(())
    }

    async fn listeners(&self) -> Result<i64, XtaskError> {
        let mut connection = self.stage.connect().await?;
        let listeners =
            sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
                .fetch_one(&mut connection)
                .await?;
        Ok(listeners)
    }

    /// Leaves everybody alone for a while, and notes when they all listened.
    async fn calm(&mut self) -> Result<(), XtaskError> {
        self.old_redis.remember(&self.stage.redis.url()).await?;
        let began = clock::now();
        let everybody = i64::try_from(SLOTS.len()).expect("there are few processes");
        while self.listeners().await? < everybody {
            let waited = Duration::from_nanos(clock::now() - began);
            if waited > LISTENER_LIMIT || self.stage.is_ending() {
                return Ok(());
            }
            tokio::time::sleep(LISTENER_PAUSE).await;
        }
        let start = clock::now();
        tokio::time::sleep(CALM).await;
        self.weather.calms.push((start, clock::now()));
        Ok(())
    }
}
