//! Readers that never stop, while servers come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tasker_shared::cache::{CacheProvider, CacheService};
use tokio::task::JoinSet;

use crate::cache::{SOON, TTL, eventually};

/// Reads and writes of many keys, which together are on every primary.
pub(crate) struct Load {
    cache: Arc<CacheProvider>,
    stop: Arc<AtomicBool>,
    hits: Arc<AtomicU64>,
    readers: JoinSet<Duration>,
}

impl Load {
    pub(crate) fn on(cache: &Arc<CacheProvider>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let hits = Arc::new(AtomicU64::new(0));
        let mut readers = JoinSet::new();
        for reader in 0..16 {
            let (cache, stop, hits) = (Arc::clone(cache), Arc::clone(&stop), Arc::clone(&hits));
            readers.spawn(async move {
                let mut longest = Duration::ZERO;
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("load:{reader}:{}", number % 64);
                    let started = Instant::now();
                    // As a resolve does: a hit, or a load that hands the value over.
                    match cache.get(&key).await {
                        Ok(Some(_)) => {
                            hits.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(None) | Err(_) => cache.fill(key, String::from("value"), TTL),
                    }
                    longest = longest.max(started.elapsed());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                longest
            });
        }
        Self {
            cache: Arc::clone(cache),
            stop,
            hits,
            readers,
        }
    }

    /// Waits until reads of every key have hit again.
    pub(crate) async fn until_in_use(&self, limit: Duration) {
        eventually("the cache is in use", limit, async || {
            self.cache.status().await.healthy && self.all_hit().await
        })
        .await;
        let hits = self.hits.load(Ordering::Relaxed);
        eventually("readers hit", SOON, async || {
            self.hits.load(Ordering::Relaxed) > hits + 1000
        })
        .await;
    }

    async fn all_hit(&self) -> bool {
        for number in 0..64 {
            let key = format!("load:0:{number}");
            if !matches!(self.cache.get(&key).await, Ok(Some(_))) {
                return false;
            }
        }
        true
    }

    /// Ends the load; the longest that any request had to wait.
    pub(crate) async fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let all = self.readers.join_all().await;
        all.into_iter().max().unwrap_or_default()
    }
}
