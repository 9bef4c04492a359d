//! Reads and writes that are on every primary, while servers come and go.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::cache::CacheProvider;

use crate::cache::{SOON, TTL, eventually};
use crate::readers::Readers;

/// Sixteen readers of many keys, which together are on every primary. Counts hits.
pub(crate) struct Load {
    cache: Arc<CacheProvider>,
    readers: Readers,
}

fn key(reader: usize, number: usize) -> String {
    format!("load:{reader}:{}", number % KEYS)
}

const KEYS: usize = 64;

impl Load {
    pub(crate) fn on(cache: &Arc<CacheProvider>) -> Self {
        let asked = Arc::clone(cache);
        let readers = Readers::start(16, move |reader, number| {
            let cache = Arc::clone(&asked);
            async move {
                let key = key(reader, number);
                // Like a resolve: a hit, or a load that writes the value.
                let hit = matches!(cache.get(&key).await, Ok(Some(_)));
                if !hit {
                    cache.set(&key, "value", TTL).await.ok();
                }
                hit
            }
        });
        Self {
            cache: Arc::clone(cache),
            readers,
        }
    }

    /// Waits until reads of every key have hit again.
    pub(crate) async fn until_in_use(&self, limit: Duration) {
        eventually("the cache is in use", limit, async || {
            self.cache.status().await.healthy && self.all_hit().await
        })
        .await;
        let hits = self.readers.counted();
        eventually("readers hit", SOON, async || {
            self.readers.counted() > hits + 1000
        })
        .await;
    }

    async fn all_hit(&self) -> bool {
        for number in 0..KEYS {
            if !matches!(self.cache.get(&key(0, number)).await, Ok(Some(_))) {
                return false;
            }
        }
        true
    }

    /// Ends the load, and returns the longest time that a request took.
    pub(crate) async fn end(self) -> Duration {
        self.readers.end().await
    }
}
