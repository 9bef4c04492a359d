//! Loads documents, once for all callers that want the same one at the same time.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use super::database_tier;
use super::errors::RegistryError;
use super::index::Entry;
use super::local_tier::LocalTier;
use super::redis_tier::RedisTier;
use super::resolution::{Tier, assemble};
use crate::database::PoolShare;
use crate::types::HandlerMetadata;

/// The result of loading the document that an entry points to.
#[derive(Debug, Clone)]
pub(super) enum Loaded {
    Document(Arc<HandlerMetadata>, Tier),
    /// The database no longer has the entry's pointer.
    Outdated,
    Failed(RegistryError),
}

type Load = BoxFuture<'static, Loaded>;

/// The tiers of one process.
///
/// All callers of a load drive it together: it continues while one of them is polled, and is dropped
/// with the last one.
pub(super) struct Loader {
    pub(super) pool: PoolShare,
    pub(super) local: LocalTier,
    pub(super) redis: RedisTier,
    /// Loads under way, by the id of their entry.
    under_way: Mutex<HashMap<u64, WeakShared<Load>>>,
}

impl Loader {
    pub(super) fn new(pool: PoolShare, local: LocalTier, redis: RedisTier) -> Self {
        Self {
            pool,
            local,
            redis,
            under_way: Mutex::default(),
        }
    }

    /// Returns the document that `entry` points to, from the nearest tier that has it. Joins a load
    /// under way if there is one. Redis is asked if `asks_redis` is set.
    pub(super) async fn load(self: &Arc<Self>, entry: &Arc<Entry>, asks_redis: bool) -> Loaded {
        let load = {
            let mut under_way = self.lock();
            // A load may have ended since the caller looked; ended loads are in the local tier.
            if let Some(metadata) = self.local.get(entry) {
                return Loaded::Document(metadata, Tier::Local);
            }
            let joined = under_way.get(&entry.id).and_then(WeakShared::upgrade);
            joined.unwrap_or_else(|| {
                let load = Arc::clone(self).begin(Arc::clone(entry), asks_redis);
                under_way.extend(load.downgrade().map(|load| (entry.id, load)));
                load
            })
        };
        load.await
    }

    fn begin(self: Arc<Self>, entry: Arc<Entry>, asks_redis: bool) -> Shared<Load> {
        let work = async move {
            let finish = Finish {
                loader: &self,
                id: entry.id,
            };
            let load = AssertUnwindSafe(self.load_from_tiers(&entry, asks_redis));
            // A panic has been reported by its hook. Here it would become one of every caller.
            let loaded = load.catch_unwind().await;
            drop(finish);
            loaded.unwrap_or(Loaded::Failed(RegistryError::ShutDown))
        };
        work.boxed().shared()
    }

    async fn load_from_tiers(&self, entry: &Entry, asks_redis: bool) -> Loaded {
        let name = entry.name();
        let asked = Instant::now();
        if asks_redis
            && let Some(document) = self.redis.get(entry).await
            && let Ok(metadata) = assemble(name, &entry.pointer, document)
        {
            return Loaded::Document(self.hold(entry, metadata), Tier::Redis);
        }
        // A request that has spent its time for Redis, or asked it before, sends the document without
        // waiting for the answer.
        let limit = if asks_redis {
            self.redis.limit.saturating_sub(asked.elapsed())
        } else {
            Duration::ZERO
        };
        let stored = match database_tier::load(&self.pool, name).await {
            Ok(Some(stored)) if stored.pointer == entry.pointer => stored,
            Ok(_) => return Loaded::Outdated,
            Err(error) => return Loaded::Failed(error.into()),
        };
        match assemble(name, &stored.pointer, stored.document) {
            Ok(metadata) => {
                let metadata = self.hold(entry, metadata);
                self.redis.fill(&metadata, limit).await;
                Loaded::Document(metadata, Tier::Database)
            }
            Err(source) => Loaded::Failed(RegistryError::unreadable(name, source)),
        }
    }

    fn hold(&self, entry: &Entry, metadata: HandlerMetadata) -> Arc<HandlerMetadata> {
        let metadata = Arc::new(metadata);
        self.local.insert(entry, Arc::clone(&metadata));
        metadata
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, WeakShared<Load>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a load when it ends, in whatever way.
struct Finish<'a> {
    loader: &'a Loader,
    id: u64,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        // If the last caller is dropped while the next one begins another load, this removes that one.
        // The caller after that begins a third.
        self.loader.lock().remove(&self.id);
    }
}
