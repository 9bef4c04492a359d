//! The list of faults, and how each is done.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::RngExt;
use tasker_test_support::{TcpProxy, redis_connection};

use crate::clock::SECOND;
use crate::error::Result;
use crate::world::{DUMP_KEYS, Link, Servers, World};

/// Added to a round trip by a slow link, half of it each way.
const SLOW: Duration = Duration::from_millis(200);
/// Linux waits at least so long before it sends a lost packet again.
const STALL: Duration = Duration::from_millis(200);
const STALL_PERCENT: u8 = 10;
/// Added to a round trip to PostgreSQL: fifty times as long as an answer takes otherwise. A
/// connection that was idle needs up to three round trips.
const POSTGRES_SLOW: Duration = Duration::from_millis(20);
/// The time for which a flapping server is up, and down.
const FLAP: Duration = Duration::from_secs(1);
/// Listeners are terminated at this interval.
const TERMINATE_EVERY: Duration = Duration::from_millis(50);
const PASSWORD: &str = "another";
const MANY_KEYS: &str = "for i = 1, ARGV[1] do
    redis.call('SET', 'other:' .. i, string.rep('x', 50)) end";
const COPY_KEYS: &str = "for _, key in ipairs(redis.call('KEYS', '*')) do
    redis.call('COPY', key, 'old:' .. key) end";
const COPY_KEYS_BACK: &str = "for _, key in ipairs(redis.call('KEYS', 'old:*')) do
    redis.call('COPY', key, string.sub(key, 5), 'REPLACE') redis.call('DEL', key) end";

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Nothing,
    Kill,
    KillEmpty,
    Freeze,
    RedisLink(Spoil),
    Full,
    Replica,
    Password,
    Loading,
    Flush,
    Restore,
    Flapping,
    PostgresSlow,
    ClusterPrimary,
    SlotsMove,
    SentinelFailover,
    BootBlackHole,
    BootAbsent,
    BootPassword,
    Listeners,
    PostgresRestart,
    PostgresLink(Spoil),
    ProcessKilled,
    ProcessFrozen,
    PostgresKilled,
    ProcessStopped,
}

/// A way in which a link fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spoil {
    Slow,
    Stalls,
    Refused,
    BlackHole,
    /// Pieces that were held back arrive late.
    HalfOpen,
    /// Pieces that were held back never arrive.
    Lost,
}

/// The modes that use a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Faults,
    Chaos,
    Steps,
}

const ALL_MODES: &[Mode] = &[Mode::Faults, Mode::Chaos, Mode::Steps];
const TABLE: &[Mode] = &[Mode::Faults];
const CHAOS: &[Mode] = &[Mode::Chaos, Mode::Steps];
const STEPS: &[Mode] = &[Mode::Steps];

/// Every fault with its name for `--only`, its label, and the modes that use it.
#[rustfmt::skip]
const LIST: [(Fault, &str, &str, &[Mode]); 34] = [
    (Fault::Nothing, "calm", "nothing", TABLE),
    (Fault::Kill, "kill", "Redis killed, back with its data", ALL_MODES),
    (Fault::KillEmpty, "kill-empty", "Redis killed, back empty", ALL_MODES),
    (Fault::Freeze, "freeze", "Redis frozen (SIGSTOP)", ALL_MODES),
    (Fault::RedisLink(Spoil::Slow), "slow", "each reply of Redis 200 ms late", ALL_MODES),
    (Fault::RedisLink(Spoil::Stalls), "stalls", "10% of pieces stall for 200 ms", ALL_MODES),
    (Fault::RedisLink(Spoil::Refused), "refused", "connections to Redis refused", ALL_MODES),
    (Fault::RedisLink(Spoil::BlackHole), "black-hole", "Redis a black hole", ALL_MODES),
    (Fault::RedisLink(Spoil::HalfOpen), "half-open", "connections to Redis half-open", ALL_MODES),
    (Fault::RedisLink(Spoil::Lost), "lost", "half-open, then closed", CHAOS),
    (Fault::Full, "full", "Redis full (`maxmemory`, noeviction)", ALL_MODES),
    (Fault::Replica, "replica", "Redis a read-only replica", ALL_MODES),
    (Fault::Password, "password", "Redis with another password", ALL_MODES),
    (Fault::Loading, "loading", "Redis loading a big dump", TABLE),
    (Fault::Flush, "flush", "Redis flushed", ALL_MODES),
    (Fault::Restore, "restore", "Redis restored from an old snapshot", CHAOS),
    (Fault::Flapping, "flapping", "Redis up 1 s, down 1 s", ALL_MODES),
    (Fault::PostgresSlow, "postgres-slow", "Redis killed, PostgreSQL 20 ms slower", TABLE),
    (Fault::ClusterPrimary, "cluster", "a cluster that loses a primary", TABLE),
    (Fault::SlotsMove, "slots-move", "a cluster whose slots move", TABLE),
    (Fault::SentinelFailover, "sentinel", "a primary that its sentinels replace", TABLE),
    (Fault::BootBlackHole, "boot-black-hole", "black hole at boot", TABLE),
    (Fault::BootAbsent, "boot-absent", "absent at boot", TABLE),
    (Fault::BootPassword, "boot-password", "wrong password at boot", TABLE),
    (Fault::Listeners, "listeners", "listener backends terminated", CHAOS),
    (Fault::PostgresRestart, "postgres-restart", "PostgreSQL restarted", CHAOS),
    (Fault::PostgresLink(Spoil::Slow), "postgres-late", "PostgreSQL 200 ms slower", CHAOS),
    (Fault::PostgresLink(Spoil::Refused), "postgres-refused", "connections to PostgreSQL refused", CHAOS),
    (Fault::PostgresLink(Spoil::HalfOpen), "postgres-half-open", "connections to PostgreSQL half-open", CHAOS),
    (Fault::PostgresLink(Spoil::Lost), "postgres-lost", "to PostgreSQL half-open, then closed", CHAOS),
    (Fault::ProcessKilled, "process-killed", "process killed, started again", CHAOS),
    (Fault::ProcessFrozen, "process-frozen", "process frozen", CHAOS),
    (Fault::PostgresKilled, "postgres-killed", "PostgreSQL killed", STEPS),
    (Fault::ProcessStopped, "process-stopped", "process stopped, started again", STEPS),
];

impl Fault {
    /// Returns the faults of one mode, in the order of the list.
    pub(crate) fn all(mode: Mode) -> impl Iterator<Item = Self> {
        LIST.into_iter()
            .filter(move |(.., modes)| modes.contains(&mode))
            .map(|(fault, ..)| fault)
    }

    /// Returns the name that `--only` takes.
    pub(crate) fn name(self) -> &'static str {
        let entry = LIST.into_iter().find(|(fault, ..)| *fault == self);
        entry.map_or("unlisted", |(_, name, ..)| name)
    }

    pub(crate) fn label(self) -> &'static str {
        let entry = LIST.into_iter().find(|(fault, ..)| *fault == self);
        entry.map_or("unlisted", |(_, _, label, _)| label)
    }

    /// Returns the servers that it needs to happen for about `length`.
    pub(crate) fn servers(self, length: Duration) -> Servers {
        Servers {
            slow_load: (self == Self::Loading).then_some(length),
            cluster: matches!(self, Self::ClusterPrimary | Self::SlotsMove),
            sentinel: self == Self::SentinelFailover,
        }
    }

    /// Returns true if Redis fails before the process starts.
    pub(crate) fn is_at_boot(self) -> bool {
        matches!(
            self,
            Self::BootBlackHole | Self::BootAbsent | Self::BootPassword
        )
    }

    /// Returns true if the link to Redis fails rather than Redis.
    pub(crate) fn is_on_redis_link(self) -> bool {
        matches!(self, Self::RedisLink(_) | Self::BootBlackHole)
    }

    /// Returns true if Redis or the link to it fails.
    pub(crate) fn is_of_redis(self) -> bool {
        !(self == Self::Listeners || self.is_of_process() || self.excuses_failures())
    }

    /// Returns true if the fault meets one process rather than all.
    pub(crate) fn meets_one(self) -> bool {
        matches!(self, Self::RedisLink(_) | Self::PostgresLink(_)) || self.is_of_process()
    }

    /// Returns true if a process fails, rather than a server or a link.
    pub(crate) fn is_of_process(self) -> bool {
        matches!(
            self,
            Self::ProcessKilled | Self::ProcessFrozen | Self::ProcessStopped
        )
    }

    /// Returns true if the processes that it meets cannot reach PostgreSQL as they should.
    pub(crate) fn excuses_failures(self) -> bool {
        matches!(
            self,
            Self::PostgresLink(_) | Self::PostgresRestart | Self::PostgresKilled
        ) || self.is_of_process()
    }

    /// Returns true if the servers recover by themselves, so that their recovery counts, too.
    pub(crate) fn heals_itself(self) -> bool {
        matches!(self, Self::ClusterPrimary | Self::SentinelFailover)
    }

    /// Makes the servers, or the links in `links`, fail for about `length`. Returns when they are
    /// well again. Only waits for faults of processes, which their owner does, and ends faults that
    /// began before the boot.
    pub(crate) async fn happen(self, world: &World, links: &[Link], length: Duration) -> Result {
        match self {
            Self::RedisLink(spoil) => {
                let links: Vec<_> = links.iter().map(|link| &link.redis).collect();
                spoil.happen(&links, length).await;
            }
            Self::PostgresLink(spoil) => {
                let links: Vec<_> = links.iter().map(|link| &link.postgres).collect();
                spoil.happen(&links, length).await;
            }
            Self::Flapping => {
                let started = Instant::now();
                loop {
                    world.redis.kill().await?;
                    tokio::time::sleep(FLAP).await;
                    world.redis.restart().await?;
                    if started.elapsed() >= length {
                        break;
                    }
                    tokio::time::sleep(FLAP).await;
                }
            }
            Self::Listeners => {
                let started = Instant::now();
                while started.elapsed() < length {
                    world.terminate_listeners().await?;
                    tokio::time::sleep(TERMINATE_EVERY).await;
                }
            }
            Self::SlotsMove => move_slots(world, length).await?,
            _ => {
                if !self.is_at_boot() {
                    self.begin(world).await?;
                }
                if !self.heals_itself() && self != Self::Loading {
                    tokio::time::sleep(length).await;
                }
                self.end(world).await?;
            }
        }
        Ok(())
    }

    /// Begins a fault that lasts until [`Fault::end`].
    pub(crate) async fn begin(self, world: &World) -> Result {
        match self {
            Self::Kill => {
                // The restart loads the dump.
                world.order(&["SAVE"]).await?;
                world.redis.kill().await?;
            }
            Self::Loading => {
                world
                    .order(&["EVAL", MANY_KEYS, "0", &DUMP_KEYS.to_string()])
                    .await?;
                world.order(&["SAVE"]).await?;
                world.redis.kill().await?;
            }
            Self::KillEmpty | Self::BootAbsent => world.redis.kill().await?,
            Self::PostgresSlow => {
                world.links[0].postgres.delay(POSTGRES_SLOW / 2).await;
                world.redis.kill().await?;
            }
            Self::Freeze => world.redis.freeze()?,
            Self::Full => world.order(&["CONFIG", "SET", "maxmemory", "1"]).await?,
            // Its primary does not exist, so it keeps its keys.
            Self::Replica => world.order(&["REPLICAOF", "127.0.0.1", "1"]).await?,
            Self::Password | Self::BootPassword => {
                world
                    .order(&["CONFIG", "SET", "requirepass", PASSWORD])
                    .await?;
                // Connections stay authenticated until they are closed.
                let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
                world.order_with(PASSWORD, &kill).await?;
            }
            Self::Flush => world.order(&["FLUSHALL"]).await?,
            Self::Restore => world.order(&["EVAL", COPY_KEYS, "0"]).await?,
            Self::BootBlackHole => world.links[0].redis.black_hole().await,
            Self::PostgresRestart => world.postgres.stop().await?,
            Self::PostgresKilled => world.postgres.kill().await?,
            Self::ClusterPrimary => world.cluster()?.nodes()[0].kill().await?,
            Self::SentinelFailover => world.sentinel()?.servers()[0].kill().await?,
            _ => {}
        }
        Ok(())
    }

    async fn end(self, world: &World) -> Result {
        match self {
            // Returns when the server no longer answers that it is loading.
            Self::Kill | Self::KillEmpty | Self::BootAbsent | Self::Loading => {
                world.redis.restart().await?;
            }
            Self::PostgresSlow => {
                world.redis.restart().await?;
                world.links[0].postgres.forward().await;
            }
            Self::Freeze => world.redis.thaw()?,
            Self::Full => world.order(&["CONFIG", "SET", "maxmemory", "0"]).await?,
            Self::Replica => world.order(&["REPLICAOF", "NO", "ONE"]).await?,
            Self::Password | Self::BootPassword => {
                let allow = ["CONFIG", "SET", "requirepass", ""];
                world.order_with(PASSWORD, &allow).await?;
            }
            Self::Restore => world.order(&["EVAL", COPY_KEYS_BACK, "0"]).await?,
            Self::BootBlackHole => world.links[0].redis.forward().await,
            Self::PostgresRestart | Self::PostgresKilled => world.postgres.restart().await?,
            Self::ClusterPrimary => world.cluster()?.until_well().await?,
            Self::SentinelFailover => world.sentinel()?.until_primary(1).await?,
            _ => {}
        }
        Ok(())
    }
}

/// A fault that happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happened {
    pub(crate) fault: Fault,
    /// The member that it met; `None`: all.
    pub(crate) member: Option<usize>,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Happened {
    /// A failure may still be the consequence of a fault for so long.
    const AFTERMATH: u64 = 3 * SECOND;

    /// Returns whether it kept `member` from PostgreSQL, or from running. Without a member: all.
    pub(crate) fn meets(&self, member: Option<usize>) -> bool {
        self.fault.excuses_failures() && (self.member.is_none() || self.member == member)
    }

    /// Returns whether it explains that something failed which `member` did in this time.
    pub(crate) fn excuses(&self, member: Option<usize>, start: u64, end: u64) -> bool {
        self.meets(member) && self.start <= end && start <= self.end + Self::AFTERMATH
    }
}

/// Faults in a random order: each happens once before any happens again, so that a short run has
/// them all.
#[derive(Debug)]
pub(crate) struct Deck {
    all: Vec<Fault>,
    coming: Vec<Fault>,
}

impl Deck {
    pub(crate) fn of(faults: impl Iterator<Item = Fault>) -> Self {
        Self {
            all: faults.collect(),
            coming: Vec::new(),
        }
    }

    pub(crate) fn draw(&mut self, random: &mut impl RngExt) -> Fault {
        if self.coming.is_empty() {
            self.coming.clone_from(&self.all);
        }
        let index = random.random_range(0..self.coming.len());
        self.coming.swap_remove(index)
    }
}

impl Spoil {
    async fn happen(self, links: &[&TcpProxy], length: Duration) {
        for link in links {
            match self {
                Self::Slow => link.delay(SLOW / 2).await,
                Self::Stalls => link.stall(STALL_PERCENT, STALL).await,
                Self::Refused => link.refuse().await,
                Self::BlackHole => link.black_hole().await,
                Self::HalfOpen | Self::Lost => link.half_open().await,
            }
            if matches!(self, Self::Refused | Self::BlackHole) {
                link.cut().await;
            }
        }
        tokio::time::sleep(length).await;
        for link in links {
            if self == Self::Lost {
                link.cut().await;
            }
            link.forward().await;
        }
    }
}

/// Moves each key of the first primary, with its slot, to the second one, spread over `length`.
async fn move_slots(world: &World, length: Duration) -> Result {
    let cluster = world.cluster()?;
    let mut connection = redis_connection(&cluster.url()).await?;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await?;
    let mut slots = BTreeSet::<u16>::new();
    for key in keys {
        let mut slot = redis::cmd("CLUSTER");
        slot.arg("KEYSLOT").arg(key);
        slots.insert(slot.query_async(&mut connection).await?);
    }
    let pause = length / u32::try_from(slots.len().max(1)).unwrap_or(u32::MAX);
    for slot in slots {
        cluster.move_slots(slot..slot + 1, 0, 1).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::LIST;

    #[test]
    fn names_are_unique_and_each_fault_is_used() {
        let names: HashSet<_> = LIST.iter().map(|(_, name, ..)| name).collect();
        let faults: HashSet<_> = LIST
            .iter()
            .map(|(fault, ..)| format!("{fault:?}"))
            .collect();
        assert_eq!((names.len(), faults.len()), (LIST.len(), LIST.len()));
        assert!(LIST.iter().all(|(.., modes)| !modes.is_empty()));
    }
}
