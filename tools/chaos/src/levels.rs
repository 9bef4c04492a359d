//! What a process holds: memory, tasks, connections, file descriptors.
//!
//! Memory is what the kernel says is resident. It contains what the allocator keeps of memory that
//! was freed: after a fault in which much was under way, glibc gives little of it back.

use std::fmt;

use tokio::runtime::Handle;

use crate::error::FaultsError;
use crate::fault::Stage;
use crate::world::World;

/// How much more there may be at the end than at the beginning.
const MORE_TASKS: usize = 2;
const MORE_DESCRIPTORS: usize = 8;
const MORE_POSTGRES_CONNECTIONS: usize = 2;
/// Memory may grow by the larger of the two.
const MORE_MEMORY_PERCENT: usize = 10;
const MORE_MEMORY_KIB: usize = 8 * 1024;

/// What there is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) memory_kib: usize,
    /// Of the runtime that registries and caches run in, and nothing else.
    pub(crate) tasks: usize,
    pub(crate) redis_connections: usize,
    pub(crate) postgres_connections: usize,
    pub(crate) descriptors: usize,
}

impl Levels {
    pub(crate) async fn read(world: &World, stage: &Stage) -> Result<Self, FaultsError> {
        Ok(Self {
            redis_connections: redis_connections(stage).await?,
            postgres_connections: postgres_connections(world).await?,
            tasks: tasks(&world.subject),
            memory_kib: memory_kib()?,
            descriptors: descriptors()?,
        })
    }

    /// What is not level with `before`.
    pub(crate) fn misses(self, before: Self) -> Vec<String> {
        let memory = MORE_MEMORY_KIB.max(before.memory_kib * MORE_MEMORY_PERCENT / 100);
        [
            ("KiB of memory", before.memory_kib, self.memory_kib, memory),
            ("tasks", before.tasks, self.tasks, MORE_TASKS),
            (
                "connections to Redis",
                before.redis_connections,
                self.redis_connections,
                0,
            ),
            (
                "connections to PostgreSQL",
                before.postgres_connections,
                self.postgres_connections,
                MORE_POSTGRES_CONNECTIONS,
            ),
            (
                "file descriptors",
                before.descriptors,
                self.descriptors,
                MORE_DESCRIPTORS,
            ),
        ]
        .into_iter()
        .filter(|(_, before, after, more)| *after > before + more)
        .map(|(what, before, after, more)| {
            format!("{after} {what} after {before}, at most {more} more are level")
        })
        .collect()
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} MiB resident, {} tasks, {} connections to Redis, {} to PostgreSQL, {} file descriptors",
            self.memory_kib / 1024,
            self.tasks,
            self.redis_connections,
            self.postgres_connections,
            self.descriptors
        )
    }
}

/// Tasks that have not ended.
pub(crate) fn tasks(runtime: &Handle) -> usize {
    runtime.metrics().num_alive_tasks()
}

fn memory_kib() -> Result<usize, FaultsError> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(FaultsError::Proc)?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    Ok(resident
        .and_then(|kib| kib.parse().ok())
        .unwrap_or_default())
}

fn descriptors() -> Result<usize, FaultsError> {
    let folder = std::fs::read_dir("/proc/self/fd").map_err(FaultsError::Proc)?;
    Ok(folder.count())
}

/// Without the one that asks.
async fn redis_connections(stage: &Stage) -> Result<usize, FaultsError> {
    let mut list = redis::cmd("CLIENT");
    list.arg(&["LIST", "TYPE", "NORMAL"]);
    let clients: String = stage.ask(&list).await?;
    Ok(clients.lines().count().saturating_sub(1))
}

/// Of the processes under test and of the writer alike.
async fn postgres_connections(world: &World) -> Result<usize, FaultsError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
    )
    .fetch_one(&world.writer_pool)
    .await?;
    Ok(usize::try_from(count).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::Levels;

    const BEFORE: Levels = Levels {
        memory_kib: 100 * 1024,
        tasks: 40,
        redis_connections: 20,
        postgres_connections: 40,
        descriptors: 200,
    };

    #[test]
    fn what_is_a_little_more_is_level_and_what_leaks_is_not() {
        assert_eq!(BEFORE.misses(BEFORE), Vec::<String>::new());
        let level = Levels {
            memory_kib: 110 * 1024,
            tasks: 42,
            postgres_connections: 42,
            descriptors: 208,
            ..BEFORE
        };
        assert_eq!(level.misses(BEFORE), Vec::<String>::new());
        let leaked = Levels {
            memory_kib: 111 * 1024,
            tasks: 43,
            redis_connections: 21,
            postgres_connections: 43,
            descriptors: 209,
        };
        assert_eq!(leaked.misses(BEFORE).len(), 5);
    }
}
