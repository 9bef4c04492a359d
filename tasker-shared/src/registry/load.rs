//! Loads documents, once for all callers that want the same one at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio_util::task::TaskTracker;

use super::database_tier::{self, assemble};
use super::errors::RegistryError;
use super::index::Entry;
use super::local_tier::LocalTier;
use super::redis_tier::RedisTier;
use super::resolution::Tier;
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

type Load = Shared<BoxFuture<'static, Loaded>>;

/// The tiers of one process.
///
/// A load runs in a task of its own. It therefore does not depend on when a caller is polled, and
/// a caller that is cancelled takes nothing from the others.
pub(super) struct Loader {
    pub(super) pool: PoolShare,
    pub(super) local: LocalTier,
    pub(super) redis: RedisTier,
    /// Loads under way, by the id of their entry.
    under_way: Mutex<HashMap<u64, Load>>,
    tasks: TaskTracker,
}

impl Loader {
    pub(super) fn new(pool: PoolShare, local: LocalTier, redis: RedisTier) -> Self {
        Self {
            pool,
            local,
            redis,
            under_way: Mutex::default(),
            tasks: TaskTracker::new(),
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
            let begin = || Arc::clone(self).begin(Arc::clone(entry), asks_redis);
            under_way.entry(entry.id).or_insert_with(begin).clone()
        };
        load.await
    }

    /// Returns a load that spawns its task when it is first polled, which is outside of the lock.
    fn begin(self: Arc<Self>, entry: Arc<Entry>, asks_redis: bool) -> Load {
        let work = async move {
            let tasks = self.tasks.clone();
            let finish = Finish {
                loader: self,
                id: entry.id,
            };
            let task = tasks.spawn(async move {
                let loaded = finish.loader.load_from_tiers(&entry, asks_redis).await;
                drop(finish);
                loaded
            });
            // A panic has been reported by its hook.
            task.await
                .unwrap_or(Loaded::Failed(RegistryError::ShutDown))
        };
        work.boxed().shared()
    }

    async fn load_from_tiers(&self, entry: &Entry, asks_redis: bool) -> Loaded {
        let name = entry.name();
        if asks_redis
            && let Some(document) = self.redis.get(entry).await
            && let Ok(metadata) = assemble(name, &entry.pointer, document)
        {
            return Loaded::Document(self.hold(entry, metadata), Tier::Redis);
        }
        let stored = match database_tier::load(&self.pool, name).await {
            Ok(Some(stored)) if stored.pointer == entry.pointer => stored,
            Ok(_) => return Loaded::Outdated,
            Err(error) => return Loaded::Failed(error.into()),
        };
        match assemble(name, &stored.pointer, stored.document) {
            Ok(metadata) => {
                let metadata = self.hold(entry, metadata);
                self.redis.fill(&metadata);
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

    /// Waits for the loads under way.
    pub(super) async fn shutdown(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Load>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a load when its task ends, in whatever way.
struct Finish {
    loader: Arc<Loader>,
    id: u64,
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.loader.lock().remove(&self.id);
    }
}
