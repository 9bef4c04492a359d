//! The resources that this process has in use.
//!
//! Memory is resident memory, as the kernel counts it. It includes memory that was freed and that
//! the allocator keeps; glibc returns little of it after a fault under which much was under way.

use std::fmt;

use tokio::runtime::Handle;

use crate::error::ChaosError;
use crate::report::Misses;
use crate::world::World;

const KINDS: [&str; 5] = [
    "KiB of memory",
    "tasks",
    "connections to Redis",
    "connections to PostgreSQL",
    "file descriptors",
];
/// The growth that each may have. Memory may also grow by a tenth.
const MORE: [usize; 5] = [8 * 1024, 2, 0, 2, 8];

/// The resources in use at one moment, by [`KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Levels(pub(super) [usize; 5]);

impl Levels {
    /// Reads the levels. `runtime` runs registries and caches and nothing else.
    pub(super) async fn read(world: &World, runtime: &Handle) -> Result<Self, ChaosError> {
        let clients: String = world.ask(&["CLIENT", "LIST", "TYPE", "NORMAL"]).await?;
        let backends: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
        )
        .fetch_one(&mut world.connect().await?)
        .await?;
        let failed = || ChaosError::io("reading below /proc");
        let status = std::fs::read_to_string("/proc/self/status").map_err(failed())?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        Ok(Self([
            resident
                .and_then(|kib| kib.parse().ok())
                .unwrap_or_default(),
            runtime.metrics().num_alive_tasks(),
            // Both counts include the connection that asks.
            clients.lines().count() - 1,
            usize::try_from(backends).unwrap_or_default() - 1,
            std::fs::read_dir("/proc/self/fd")
                .map_err(failed())?
                .count(),
        ]))
    }

    /// Notes each level that has grown by more than it may since `before`.
    pub(super) fn compare(self, before: Self, misses: &mut Misses) {
        for (kind, name) in KINDS.into_iter().enumerate() {
            let (before, after) = (before.0[kind], self.0[kind]);
            let more = if kind == 0 {
                MORE[0].max(before / 10)
            } else {
                MORE[kind]
            };
            let text = format!("{after} {name} after {before}, at most {more} more are even");
            misses.wrong(after > before + more, text);
        }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = self
            .0
            .iter()
            .zip(KINDS)
            .map(|(level, kind)| format!("{level} {kind}"));
        f.write_str(&levels.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::Levels;
    use crate::report::Misses;

    #[test]
    fn a_little_more_is_even_and_a_leak_is_not() {
        let before = Levels([100 * 1024, 40, 20, 40, 200]);
        let missed = |after: [usize; 5]| {
            let mut misses = Misses::default();
            Levels(after).compare(before, &mut misses);
            misses.0.len()
        };
        assert_eq!(missed(before.0), 0);
        assert_eq!(missed([110 * 1024, 42, 20, 42, 208]), 0);
        assert_eq!(missed([111 * 1024, 43, 21, 43, 209]), 5);
    }
}
