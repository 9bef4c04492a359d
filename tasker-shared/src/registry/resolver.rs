//! Resolving with caches: the directory says which body is current, the tiers hold bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::distributed_tier::DistributedTier;
use super::flights::Flights;
use super::index::{Entry, Freshness, Moment, PollReason, TemplateIndex, TemplateName};
use super::local_tier::LocalTier;
use super::registration::BatchOutcome;
use super::resolution::{Resolution, Tier};
use super::resolve_metrics::ResolveMetrics;
use super::retirement::Retirement;
use super::tiers::{Loaded, Tiers};
use super::{RegistryError, comparison};
use crate::config::tasker::CacheConfig;
use crate::database::HeldConnections;
use crate::metrics::TEMPLATE_STALE_SERVED;
use crate::types::CacheInvalidation;

/// How long a resolve goes on when its template changes again and again under it.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// The tiers of one process, the directory that decides what in them is current, and their
/// background work.
pub(super) struct Resolver {
    tiers: Arc<Tiers>,
    retirement: Retirement,
    comparing: AtomicBool,
    cancel: CancellationToken,
    tasks: TaskTracker,
    flights: Flights<Loaded>,
    metrics: ResolveMetrics,
}

impl Resolver {
    pub(super) fn new(
        pool: PgPool,
        connections: Arc<HeldConnections>,
        distributed: DistributedTier,
        config: &CacheConfig,
    ) -> Self {
        let local = LocalTier::new(config.local_max_bytes);
        let retirement = Retirement::new(distributed.clone());
        let index = Arc::new(TemplateIndex::new(
            pool,
            Arc::clone(&connections),
            Duration::from_millis(config.max_staleness_ms),
            Duration::from_secs(config.serve_stale_seconds),
            {
                let (local, retirement) = (local.clone(), retirement.handle());
                Box::new(move |entry| {
                    local.remove(entry);
                    retirement.retire(entry);
                })
            },
        ));
        let flights = Flights::new();
        let tiers = Tiers {
            connections,
            index,
            local,
            distributed,
            retirement: retirement.handle(),
            tasks: flights.tasks().clone(),
        };
        Self {
            tiers: Arc::new(tiers),
            retirement,
            comparing: AtomicBool::new(false),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            flights,
            metrics: ResolveMetrics::default(),
        }
    }

    /// Starts background work. Does nothing the second time. Must be called within a Tokio
    /// runtime.
    pub(super) fn start(&self) {
        self.index().start();
        self.retirement.start();
        if self.comparing.load(Ordering::Relaxed) || self.comparing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (cancel, tiers) = (self.cancel.clone(), Arc::clone(&self.tiers));
        let work = async move { cancel.run_until_cancelled(comparison::run(tiers)).await };
        self.tasks
            .spawn(work.instrument(tracing::info_span!("template_comparison")));
        self.tasks.close();
    }

    pub(super) fn index(&self) -> &TemplateIndex {
        &self.tiers.index
    }

    pub(super) fn local(&self) -> &LocalTier {
        &self.tiers.local
    }

    pub(super) fn connections(&self) -> &HeldConnections {
        &self.tiers.connections
    }

    pub(super) fn distributed(&self) -> &DistributedTier {
        &self.tiers.distributed
    }

    /// Resolves a name.
    ///
    /// Warm, this is a look at the clock and one in the directory, whose entry has the body: no
    /// lock, no allocation, no I/O.
    pub(super) async fn resolve(
        &self,
        name: TemplateName<'_>,
    ) -> Result<Resolution, RegistryError> {
        let mut known = None;
        if self.index().is_fresh()
            && let Some(entry) = self.index().snapshot().get(name)
        {
            if let Some(metadata) = LocalTier::get(entry) {
                self.metrics.counted(Tier::Local);
                return Ok(Resolution {
                    metadata,
                    tier: Tier::Local,
                    stale_by: None,
                });
            }
            known = Some(Arc::clone(entry));
        }
        let started = Instant::now();
        // Boxed, so that a warm resolve is a small future.
        let resolved = Box::pin(self.resolve_cold(name, known)).await;
        match &resolved {
            Ok(resolution) => {
                self.metrics.answered(resolution.tier, started.elapsed());
                if resolution.stale_by.is_some() {
                    metrics::counter!(TEMPLATE_STALE_SERVED.name).increment(1);
                }
            }
            Err(error) => ResolveMetrics::failed(None, error),
        }
        resolved
    }

    /// `known` is the entry that a fresh directory had for the name a moment ago. What it leads to is
    /// checked before it is an answer, as that of every round is.
    async fn resolve_cold(
        &self,
        name: TemplateName<'_>,
        mut known: Option<Arc<Entry>>,
    ) -> Result<Resolution, RegistryError> {
        self.start();
        let arrived = Moment::now();
        let mut loaded_from = Tier::Local;
        // A request waits for Redis once: what it has to load after that has just been changed,
        // and is hardly there.
        let mut asks_redis = true;
        loop {
            let (entry, freshness) = if let Some(entry) = known.take() {
                (entry, Freshness::Fresh)
            } else {
                let freshness = self
                    .index()
                    .ensure_fresh(arrived)
                    .await
                    .map_err(|_stale| RegistryError::Stale)?;
                let entry = self.index().snapshot().get(name).cloned();
                let Some(entry) = entry else {
                    self.confirm_unknown(name, arrived, freshness).await?;
                    continue;
                };
                (entry, freshness)
            };
            let stale_by = match freshness {
                Freshness::Fresh => None,
                Freshness::StaleBy(stale_by) => Some(stale_by),
            };
            match self.load(&entry, std::mem::take(&mut asks_redis)).await {
                Loaded::Body(metadata, tier) => {
                    // What is held by now may be what an earlier round has loaded.
                    let tier = if tier == Tier::Local {
                        loaded_from
                    } else {
                        tier
                    };
                    // The load took time. Its body is an answer if it is still the current one;
                    // else the next round finds what is, and this body where it is held.
                    let bound_holds = stale_by.is_some()
                        || self.index().is_fresh()
                        || self.index().is_linearizable();
                    if bound_holds && self.index().is_current(&entry) {
                        return Ok(Resolution {
                            metadata,
                            tier,
                            stale_by,
                        });
                    }
                    loaded_from = tier;
                }
                Loaded::Outdated => {
                    self.index()
                        .poll_sent_after(Moment::now(), PollReason::Stale)
                        .await
                        .map_err(|_stale| RegistryError::Stale)?;
                }
                Loaded::Failed(error) => return Err(error),
            }
            if Moment::now().since(arrived) > RESOLVE_LIMIT {
                return Err(RegistryError::Stale);
            }
        }
    }

    // Returns if the name may be known by now, and `NotFound` if a poll that was sent after the
    // resolve arrived did not know it.
    async fn confirm_unknown(
        &self,
        name: TemplateName<'_>,
        arrived: Moment,
        freshness: Freshness,
    ) -> Result<(), RegistryError> {
        let not_found = || RegistryError::NotFound {
            namespace: name.namespace.to_owned(),
            name: name.name.to_owned(),
            version: name.version.to_owned(),
        };
        if freshness != Freshness::Fresh {
            // Without the database nobody can tell an unknown name from a new one.
            return Err(RegistryError::Stale);
        }
        self.index()
            .poll_sent_after(arrived, PollReason::UnknownName)
            .await
            .map_err(|_stale| RegistryError::Stale)?;
        if self.index().snapshot().get(name).is_some() {
            Ok(())
        } else {
            Err(not_found())
        }
    }

    async fn load(&self, entry: &Arc<Entry>, asks_redis: bool) -> Loaded {
        let found = self.flights.join(
            entry.id,
            || LocalTier::get(entry).map(|metadata| Loaded::Body(metadata, Tier::Local)),
            || Arc::clone(&self.tiers).load(Arc::clone(entry), asks_redis),
        );
        // A load that panicked has been reported by the panic's hook; to its callers it is lost.
        found
            .await
            .unwrap_or(Loaded::Failed(RegistryError::ShutDown))
    }

    /// Waits, for a bounded time, until no resolve of this process uses pointers from before `batch`
    /// was registered.
    ///
    /// An unchanged template may be news too, because another process may have written it a moment
    /// ago; but not if the index had it.
    pub(super) async fn read_back(&self, batch: &BatchOutcome) {
        if !batch.all_in_index {
            // If the poll fails, the next resolve waits for another.
            self.index().wrote().await.ok();
        }
    }

    /// Deletes the bodies of a namespace, or all, from both tiers.
    pub(super) async fn invalidate(&self, namespace: Option<&str>) -> CacheInvalidation {
        let snapshot = self.index().snapshot_now();
        let entries: Vec<&Arc<Entry>> = snapshot
            .iter()
            .filter(|entry| namespace.is_none_or(|namespace| entry.name().namespace == namespace))
            .collect();
        match namespace {
            None => self.local().clear(),
            Some(_) => entries.iter().for_each(|entry| self.local().remove(entry)),
        }
        let names = entries.iter().map(|entry| entry.name());
        let exact = self.distributed().delete_names(names).await;
        if exact.error.is_some() {
            // The sweep would fail in the same way, only later.
            return exact;
        }
        let swept = self.distributed().sweep(namespace).await;
        CacheInvalidation {
            attempted: exact.attempted || swept.attempted,
            deleted: exact.deleted + swept.deleted,
            error: swept.error,
        }
    }

    /// Stops background work and waits for loads under way.
    pub(super) async fn shutdown(&self) {
        self.index().shutdown().await;
        self.retirement.shutdown().await;
        self.cancel.cancel();
        // What was never started is at its end, too.
        self.tasks.close();
        self.tasks.wait().await;
        self.flights.land().await;
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
