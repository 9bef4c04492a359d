//! Deletes documents from the local tier and from Redis.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::Instrument;

use super::Resolver;
use crate::cache::SWEEP_LIMIT;
use crate::registry::index::Entry;
use crate::registry::registration::BatchOutcome;
use crate::types::CacheInvalidation;

/// The limit of a sweep that a request waits for. Shorter than requests may take. Values that it does not
/// reach have no registered name, and expire.
const REQUEST_SWEEP_LIMIT: Duration = Duration::from_secs(5);

impl Resolver {
    /// Deletes all documents from the local tier, and those of registered names from Redis. The sweep
    /// for the others runs in the background, because it may pass millions of keys of other software;
    /// [`swept`](Self::swept) has its result.
    pub(in crate::registry) async fn invalidate_for_boot(
        &self,
        batch: &BatchOutcome,
    ) -> CacheInvalidation {
        let snapshot = self.index.snapshot_now();
        self.local().clear();
        let registered = snapshot.iter().map(|entry| entry.name());
        // The poll that brings the names of this boot may still be under way.
        let added = batch.names().filter(|name| snapshot.get(*name).is_none());
        let names = registered.chain(added);
        let exact = self.redis().delete_names(names).await;
        if self.redis().is_enabled() {
            let (loader, swept) = (Arc::clone(&self.loader), Arc::clone(&self.swept));
            let cancel = self.cancel.clone();
            let sweep = async move {
                let started = Instant::now();
                let sweep = cancel
                    .run_until_cancelled(Box::pin(loader.redis.sweep(None, SWEEP_LIMIT)))
                    .await;
                let Some(invalidation) = sweep else { return };
                let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let deleted = invalidation.deleted;
                match &invalidation.error {
                    None => tracing::info!(deleted, elapsed_ms, "the sweep of the cache has ended"),
                    Some(error) => tracing::warn!(
                        deleted,
                        elapsed_ms,
                        error,
                        "the sweep of the cache failed; entries whose template is gone stay until they expire"
                    ),
                }
                *swept.lock().unwrap_or_else(PoisonError::into_inner) = Some(invalidation);
            };
            self.tasks
                .spawn(sweep.instrument(tracing::info_span!("template_cache_sweep")));
        }
        exact
    }

    /// Returns the result of the last sweep after a boot; none while there is none.
    pub(in crate::registry) fn swept(&self) -> Option<CacheInvalidation> {
        let swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        swept.clone()
    }

    /// Deletes the documents of a namespace, or all, from both tiers.
    pub(in crate::registry) async fn invalidate(
        &self,
        namespace: Option<&str>,
    ) -> CacheInvalidation {
        let snapshot = self.index.snapshot_now();
        let entries: Vec<&Arc<Entry>> = snapshot
            .iter()
            .filter(|entry| namespace.is_none_or(|namespace| entry.name().namespace == namespace))
            .collect();
        match namespace {
            None => self.local().clear(),
            Some(_) => self.local().remove(entries.iter().copied()),
        }
        let names = entries.iter().map(|entry| entry.name());
        let exact = self.redis().delete_names(names).await;
        // After a failure as well, because the sweep finds these names, too.
        let queued = Instant::now();
        let swept = match timeout(REQUEST_SWEEP_LIMIT, self.sweeps.acquire()).await {
            Ok(_turn) => {
                let left = REQUEST_SWEEP_LIMIT.saturating_sub(queued.elapsed());
                self.redis().sweep(namespace, left).await
            }
            Err(_elapsed) => CacheInvalidation {
                attempted: true,
                deleted: 0,
                error: Some(String::from("the time passed while other sweeps ran")),
            },
        };
        CacheInvalidation {
            attempted: exact.attempted || swept.attempted,
            deleted: exact.deleted + swept.deleted,
            error: swept.error,
        }
    }
}
