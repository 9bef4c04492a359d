//! How long threads have waited for a core, by the kernel's own count.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::aio::MultiplexedConnection;

use crate::error::BenchError;

/// A thread whose waits the kernel tells.
#[derive(Debug, Clone)]
pub(crate) struct CoreWaits(PathBuf);

impl CoreWaits {
    /// Of the thread that asks, where it asks.
    pub(crate) fn of_this_thread() -> Self {
        Self(PathBuf::from("/proc/thread-self/schedstat"))
    }

    /// Of the thread in which Redis serves commands; none if it runs elsewhere.
    pub(crate) async fn of_redis(
        redis: &mut MultiplexedConnection,
    ) -> Result<Option<Self>, BenchError> {
        let info: redis::InfoDict = redis::cmd("INFO").arg("server").query_async(redis).await?;
        let process = info.get::<u32>("process_id");
        let folder = process.map(|id| Path::new("/proc").join(id.to_string()));
        // The process of this number may be another one, here.
        let is_redis = |folder: &PathBuf| {
            std::fs::read_to_string(folder.join("comm"))
                .is_ok_and(|name| name.starts_with("redis") || name.starts_with("valkey"))
        };
        Ok(folder
            .filter(is_redis)
            .map(|folder| Self(folder.join("schedstat"))))
    }

    /// How long it was ready to run and had no core, since it began. None where the kernel does not
    /// count that: it is the second figure of Linux' `schedstat`, in nanoseconds.
    pub(crate) fn so_far(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        let nanoseconds = text.split_whitespace().nth(1)?.parse().ok()?;
        Some(Duration::from_nanos(nanoseconds))
    }
}
