//! Resolves names with caches: the index knows which document is current, the tiers hold documents.

mod invalidation;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::comparison;
use super::errors::RegistryError;
use super::index::{Freshness, Moment, PollReason, TemplateIndex, TemplateName};
use super::inspection::{self, CacheEntries, Inspection};
use super::load::{Loaded, Loader};
use super::local_tier::LocalTier;
use super::redis_tier::RedisTier;
use super::registration::BatchOutcome;
use super::resolution::{Resolution, ResolveMetrics, Tier};
use crate::config::tasker::CacheConfig;
use crate::database::PoolShare;
use crate::metrics::TEMPLATE_STALE_SERVED;
use crate::types::CacheInvalidation;

/// The longest time for which a resolve follows a template that changes again and again.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// The index and the tiers of one process, and their background work.
pub(super) struct Resolver {
    index: Arc<TemplateIndex>,
    loader: Arc<Loader>,
    comparing: AtomicBool,
    swept: Arc<Mutex<Option<CacheInvalidation>>>,
    /// Sweeps of requests run one at a time, because each reads all keys.
    sweeps: Semaphore,
    cancel: CancellationToken,
    tasks: TaskTracker,
    metrics: ResolveMetrics,
}

impl Resolver {
    pub(super) fn new(
        pool: PgPool,
        reads: PoolShare,
        redis: RedisTier,
        config: &CacheConfig,
    ) -> Self {
        let index = TemplateIndex::new(
            pool,
            Duration::from_millis(config.max_staleness_ms),
            Duration::from_secs(config.serve_stale_seconds),
        );
        let local = LocalTier::new(config.local_max_bytes);
        Self {
            index: Arc::new(index),
            loader: Arc::new(Loader::new(reads, local, redis)),
            comparing: AtomicBool::new(false),
            swept: Arc::default(),
            sweeps: Semaphore::new(1),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            metrics: ResolveMetrics::default(),
        }
    }

    /// Starts background work. Does nothing the second time. Must be called within a Tokio runtime.
    pub(super) fn start(&self) {
        self.index.start();
        if self.comparing.load(Ordering::Relaxed) || self.comparing.swap(true, Ordering::AcqRel) {
            return;
        }
        let cancel = self.cancel.clone();
        let Loader { pool, local, .. } = &*self.loader;
        let comparing = comparison::run(pool.clone(), Arc::clone(&self.index), local.clone());
        let work = async move { cancel.run_until_cancelled(comparing).await };
        self.tasks
            .spawn(work.instrument(tracing::info_span!("template_comparison")));
        self.tasks.close();
    }

    /// Returns the reason why the index cannot be used.
    fn stale(&self) -> RegistryError {
        if self.index.is_shut_down() {
            return RegistryError::ShutDown;
        }
        RegistryError::Stale {
            source: self.index.last_error(),
        }
    }

    pub(super) fn index(&self) -> &TemplateIndex {
        &self.index
    }

    pub(super) fn local(&self) -> &LocalTier {
        &self.loader.local
    }

    pub(super) fn redis(&self) -> &RedisTier {
        &self.loader.redis
    }

    /// Resolves a name. A warm resolve looks at the clock, the index and the local tier; it takes
    /// no lock, allocates nothing and does no I/O.
    pub(super) async fn resolve(
        &self,
        name: TemplateName<'_>,
    ) -> Result<Resolution, RegistryError> {
        self.index.use_it();
        if self.index.is_fresh()
            && let Some(entry) = self.index.snapshot().get(name)
            && let Some(metadata) = self.loader.local.get(entry)
        {
            self.metrics.count(Tier::Local);
            return Ok(Resolution {
                metadata,
                tier: Tier::Local,
                stale_by: None,
            });
        }
        let started = Instant::now();
        // Boxed, because the future of a warm resolve would otherwise be as large.
        let resolved = Box::pin(self.resolve_cold(name)).await;
        match &resolved {
            Ok(resolution) => {
                self.metrics.record(resolution.tier, started.elapsed());
                if resolution.stale_by.is_some() {
                    metrics::counter!(TEMPLATE_STALE_SERVED.name).increment(1);
                }
            }
            Err(error) => ResolveMetrics::count_failure(None, error),
        }
        resolved
    }

    async fn resolve_cold(&self, name: TemplateName<'_>) -> Result<Resolution, RegistryError> {
        self.start();
        let arrived = Moment::now();
        // A request asks Redis once. A document that it needs after that was just registered, and
        // is hardly in Redis yet.
        let mut asks_redis = true;
        loop {
            let freshness = self
                .index
                .ensure_fresh(arrived)
                .await
                .map_err(|_stale| self.stale())?;
            let entry = self.index.snapshot().get(name).cloned();
            let Some(entry) = entry else {
                self.confirm_unknown(name, arrived, freshness).await?;
                continue;
            };
            let stale_by = match freshness {
                Freshness::Fresh => None,
                Freshness::StaleBy(stale_by) => Some(stale_by),
            };
            match self
                .loader
                .load(&entry, std::mem::take(&mut asks_redis))
                .await
            {
                Loaded::Document(metadata, tier) => {
                    // The load took time. Its document is the answer only if it is still current;
                    // else the next round finds the current one.
                    let bound_holds = stale_by.is_some() || self.index.may_be_used(arrived);
                    if bound_holds && self.index.is_current(&entry) {
                        return Ok(Resolution {
                            metadata,
                            tier,
                            stale_by,
                        });
                    }
                }
                Loaded::Outdated => {
                    self.index
                        .poll_sent_after(Moment::now(), PollReason::Stale)
                        .await
                        .map_err(|_stale| self.stale())?;
                }
                Loaded::Failed(error) => return Err(error),
            }
            if Moment::now().since(arrived) > RESOLVE_LIMIT {
                return Err(RegistryError::changing(name));
            }
        }
    }

    /// Returns if the name may be known by now. Fails with `NotFound` if a poll that was sent after
    /// the resolve arrived did not bring it.
    async fn confirm_unknown(
        &self,
        name: TemplateName<'_>,
        arrived: Moment,
        freshness: Freshness,
    ) -> Result<(), RegistryError> {
        if freshness != Freshness::Fresh {
            // Without the database an unknown name cannot be told from a new one.
            return Err(self.stale());
        }
        self.index
            .poll_sent_after(arrived, PollReason::UnknownName)
            .await
            .map_err(|_stale| self.stale())?;
        if self.index.snapshot().get(name).is_some() {
            Ok(())
        } else {
            Err(RegistryError::not_found(name))
        }
    }

    /// Waits, for a bounded time, until no resolve of this process uses pointers from before `batch`
    /// was registered.
    ///
    /// An unchanged template may be news too, because another process may have written it a moment
    /// ago; but not if the index had it.
    pub(super) async fn read_back(&self, batch: &BatchOutcome) {
        if !batch.all_in_index {
            // If the poll fails, the next resolve waits for another.
            self.index.wrote().await.ok();
        }
    }

    /// Lists the cached templates.
    pub(super) async fn inspect(&self, which: &Inspection) -> Result<CacheEntries, RegistryError> {
        inspection::inspect(&self.index, &self.loader, which).await
    }

    /// Stops background work.
    pub(super) async fn shutdown(&self) {
        self.index.shutdown().await;
        self.cancel.cancel();
        // A tracker that was never started is never closed otherwise.
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
