//! What holds bodies, from the nearest to the farthest, and how one is loaded through them.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::distributed_tier::{self, DistributedTier, Found};
use super::index::{Entry, TemplateIndex};
use super::local_tier::LocalTier;
use super::resolution::Tier;
use super::retirement::RetirementHandle;
use super::{RegistryError, body};
use crate::database::HeldConnections;
use crate::types::HandlerMetadata;

/// What a load of an entry's body came to.
#[derive(Debug, Clone)]
pub(super) enum Loaded {
    Body(Arc<HandlerMetadata>, Tier),
    /// The database has moved on from the entry.
    Outdated,
    Failed(RegistryError),
}

/// The tiers of one process. Loads share it as one value: counting users of each part for each load
/// took a noticeable part of a load's time.
pub(super) struct Tiers {
    pub(super) connections: Arc<HeldConnections>,
    pub(super) index: Arc<TemplateIndex>,
    pub(super) local: LocalTier,
    pub(super) distributed: DistributedTier,
    pub(super) retirement: RetirementHandle,
    /// Where loads run that no caller goes on with.
    pub(super) tasks: TaskTracker,
}

impl Tiers {
    /// Loads the body of `entry`, from Redis if it is asked, else from PostgreSQL.
    pub(super) async fn load(self: Arc<Self>, entry: Arc<Entry>, asks_redis: bool) -> Loaded {
        if asks_redis && let Found::Body(document) = self.distributed.get(&entry).await {
            if let Some(metadata) = self.keep(&entry, &document) {
                return Loaded::Body(metadata, Tier::Redis);
            }
            distributed_tier::bad_entry(&entry, "garbage");
        }
        // In a task of its own: it holds a connection of the pool, which must not depend on when a
        // caller is polled.
        let tiers = Arc::clone(&self);
        let loading = self
            .tasks
            .spawn(async move { tiers.load_from_database(&entry).await });
        loading
            .await
            .unwrap_or(Loaded::Failed(RegistryError::ShutDown))
    }

    async fn load_from_database(&self, entry: &Arc<Entry>) -> Loaded {
        let name = entry.name();
        let stored = match body::load(&self.connections, name).await {
            Ok(Some(stored)) if stored.pointer == entry.pointer => stored,
            Ok(_) => return Loaded::Outdated,
            Err(error) => return Loaded::Failed(error.into()),
        };
        match body::assemble(name, &stored.pointer, &stored.document.into()) {
            Ok(metadata) => {
                let metadata = self.hold(entry, metadata);
                self.fill(entry, metadata.document.get());
                Loaded::Body(metadata, Tier::Database)
            }
            Err(source) => Loaded::Failed(body::unreadable(name, source)),
        }
    }

    fn keep(&self, entry: &Arc<Entry>, document: &body::Text) -> Option<Arc<HandlerMetadata>> {
        let metadata = body::assemble(entry.name(), &entry.pointer, document).ok()?;
        Some(self.hold(entry, metadata))
    }

    // A load may end after its name came to point elsewhere, and after that was told: then nobody
    // will ask for this body, which would take room until it is evicted.
    fn hold(&self, entry: &Arc<Entry>, metadata: HandlerMetadata) -> Arc<HandlerMetadata> {
        let metadata = Arc::new(metadata);
        self.local.insert(entry, Arc::clone(&metadata));
        if !self.index.is_current(entry) {
            self.local.remove(entry);
        }
        metadata
    }

    // A body whose name points elsewhere by now is taken back: either the directory still has the
    // entry here, and tells of its end later, or it has not, and this is where it is noticed.
    fn fill(&self, entry: &Arc<Entry>, document: &str) {
        entry.note_filled();
        self.distributed.fill(entry, document);
        if !self.index.is_current(entry) {
            self.retirement.retire(entry);
        }
    }
}
