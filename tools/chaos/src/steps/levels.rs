//! The resources that processes have in use.
//!
//! Memory is resident memory, as the kernel counts it. It includes memory that was freed and that
//! the allocator keeps; glibc returns little of it after a fault under which much was under way.

use std::fmt;

use tasker_test_support::resident_kib;

use crate::error::Result;
use crate::report::Misses;
use crate::world::World;

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
pub(crate) enum Kind {
    #[strum(to_string = "KiB of memory")]
    Memory,
    #[strum(to_string = "threads")]
    Threads,
    #[strum(to_string = "file descriptors")]
    Files,
    #[strum(to_string = "connections to Redis")]
    Redis,
    #[strum(to_string = "connections to PostgreSQL")]
    Postgres,
}

impl Kind {
    /// Returns the growth that is even.
    fn more(self, before: usize) -> usize {
        match self {
            Self::Memory => (before / 10).max(8 * 1024),
            Self::Threads => 2,
            // Each pool has as many as were needed at once of late.
            Self::Postgres => (before / 10).max(2),
            Self::Files => 8,
            Self::Redis => 0,
        }
    }
}

/// The resources in use at one moment, with their owners.
#[derive(Debug, Clone, Default)]
pub(crate) struct Levels(Vec<(&'static str, Kind, usize)>);

impl Levels {
    /// Reads the connections that the servers of a world have.
    pub(crate) async fn of_servers(world: &World) -> Result<Self> {
        let clients: String = world.ask(&["CLIENT", "LIST", "TYPE", "NORMAL"]).await?;
        let backends: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND backend_type = 'client backend'",
        )
        .fetch_one(&mut world.connect().await?)
        .await?;
        let backends = usize::try_from(backends).unwrap_or_default();
        // Both counts include the connection that asks.
        Ok(Self(vec![
            ("all", Kind::Redis, clients.lines().count() - 1),
            ("all", Kind::Postgres, backends - 1),
        ]))
    }

    /// Reads the levels of a process from its folder below `/proc`.
    pub(crate) fn add_process(&mut self, owner: &'static str, folder: &str) -> Result {
        let entries = |name| std::fs::read_dir(format!("{folder}/{name}")).map(Iterator::count);
        let resident = resident_kib(folder).unwrap_or_default();
        self.0.extend([
            (owner, Kind::Memory, resident),
            (owner, Kind::Threads, entries("task")?),
            (owner, Kind::Files, entries("fd")?),
        ]);
        Ok(())
    }

    /// Notes each level that has grown by more than it may since `before`.
    pub(crate) fn compare(&self, before: &Self, misses: &mut Misses) {
        for ((owner, kind, after), (_, _, before)) in self.0.iter().zip(&before.0) {
            let more = kind.more(*before);
            let text = format!("{after} {kind} of {owner} after {before}, {more} more are even");
            misses.wrong(*after > before + more, text);
        }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for (owner, kind, level) in &self.0 {
            if *owner != last {
                write!(f, "\n    {owner}:")?;
                last = owner;
            }
            write!(f, " {level} {kind},")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Levels};
    use crate::report::Misses;

    #[test]
    fn a_little_more_is_even_and_a_leak_is_not() {
        let kinds = [
            Kind::Memory,
            Kind::Threads,
            Kind::Redis,
            Kind::Postgres,
            Kind::Files,
        ];
        let levels = |levels: [usize; 5]| {
            Levels(
                kinds
                    .into_iter()
                    .zip(levels)
                    .map(|(kind, level)| ("it", kind, level))
                    .collect(),
            )
        };
        let before = levels([100 * 1024, 40, 20, 40, 200]);
        let missed = |after: [usize; 5]| {
            let mut misses = Misses::default();
            levels(after).compare(&before, &mut misses);
            misses.0.len()
        };
        assert_eq!(missed([100 * 1024, 40, 20, 40, 200]), 0);
        assert_eq!(missed([110 * 1024, 42, 20, 44, 208]), 0);
        assert_eq!(missed([111 * 1024, 43, 21, 45, 209]), 5);
    }
}
