//! Answers in the distributed cache, and one computation for all that ask at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::{CacheConfig, CacheEntryKind};
use tasker_shared::database::DatabaseError;

/// The kind of the cache's entries.
const KIND: &str = "analytics";

/// An answer and its age.
#[derive(Debug, Clone)]
pub(crate) struct CachedAnswer {
    /// The answer, as JSON.
    pub(crate) json: Arc<str>,
    /// The time since it was computed.
    pub(crate) age: Duration,
    /// The time for which it may be kept; none without a cache.
    pub(crate) ttl: Option<Duration>,
}

type Outcome = Result<Arc<str>, Arc<DatabaseError>>;
type Computation = BoxFuture<'static, Outcome>;

/// Keeps answers for `analytics_ttl_seconds`. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AnalyticsCache {
    provider: Arc<CacheProvider>,
    ttl: Option<Duration>,
    /// The longest time that one request may wait for the cache in all.
    limit: Duration,
    /// Computations under way, by key. Weak, so that one that nobody waits for any more ends, and is
    /// not taken up again later.
    under_way: Arc<Mutex<HashMap<String, WeakShared<Computation>>>>,
}

/// The part of an answer that has its time.
#[derive(Deserialize)]
struct Stamp {
    calculated_at: DateTime<Utc>,
}

impl AnalyticsCache {
    pub(crate) fn new(provider: Arc<CacheProvider>, config: Option<&CacheConfig>) -> Self {
        let enabled = config.filter(|config| config.enabled);
        Self {
            provider,
            ttl: enabled.map(|config| config.ttl(CacheEntryKind::Analytics)),
            limit: enabled.map_or(Duration::ZERO, |config| {
                Duration::from_millis(config.operation_timeout_ms)
            }),
            under_way: Arc::default(),
        }
    }

    /// Returns the answer under these parts of a key, from the cache or from `compute`.
    ///
    /// Callers that ask at once share one computation. An error of the cache is a miss, and so is a value that
    /// is no such answer, or is older than the cache should keep it.
    ///
    /// # Errors
    /// The error of `compute`.
    pub(crate) async fn answer<T, F>(
        &self,
        parts: &[&str],
        compute: impl FnOnce() -> F,
    ) -> Result<CachedAnswer, Arc<DatabaseError>>
    where
        T: Serialize + DeserializeOwned + Send,
        F: Future<Output = Result<T, DatabaseError>> + Send + 'static,
    {
        let cache = self.provider.scoped(KIND);
        let asked = Instant::now();
        if let Some(ttl) = self.ttl
            && let Ok(Some(text)) = cache.get(parts).await
            && let Ok(stamp) = serde_json::from_str::<Stamp>(&text)
            && serde_json::from_str::<T>(&text).is_ok()
            // The clock of the process that computed it may be ahead, or behind.
            && (Utc::now() - stamp.calculated_at).abs().to_std().is_ok_and(|age| age <= ttl)
        {
            return Ok(self.dated(text.into(), stamp.calculated_at));
        }
        let key = cache.key(parts);
        let left = self.limit.saturating_sub(asked.elapsed());
        let json = self.join(key, left, compute).await?;
        Ok(self.dated(json, Utc::now()))
    }

    /// Joins the computation of this key that is under way, or begins one, which waits for `left` at most
    /// until its answer is cached.
    async fn join<T, F>(&self, key: String, left: Duration, compute: impl FnOnce() -> F) -> Outcome
    where
        T: Serialize + Send,
        F: Future<Output = Result<T, DatabaseError>> + Send + 'static,
    {
        let shared = {
            let mut under_way = self
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            under_way.retain(|_, one| one.upgrade().is_some_and(|one| one.peek().is_none()));
            match under_way.get(&key).and_then(WeakShared::upgrade) {
                Some(shared) => shared,
                None => self.begin(&mut under_way, key, left, compute()),
            }
        };
        shared.await
    }

    fn begin<T: Serialize + Send>(
        &self,
        under_way: &mut HashMap<String, WeakShared<Computation>>,
        key: String,
        left: Duration,
        computing: impl Future<Output = Result<T, DatabaseError>> + Send + 'static,
    ) -> Shared<Computation> {
        let (provider, ttl) = (Arc::clone(&self.provider), self.ttl);
        let fill_key = key.clone();
        let computation = async move {
            let answer = computing.await.map_err(Arc::new)?;
            let json = serde_json::to_string(&answer).expect("figures are JSON");
            if let Some(ttl) = ttl {
                let filling = provider.set(&fill_key, &json, ttl);
                // The provider logs and counts its errors, but not that `left` was over before its own limit.
                let _ = tokio::time::timeout(left, filling).await;
            }
            Ok(json.into())
        };
        let shared = computation.boxed().shared();
        if let Some(weak) = shared.downgrade() {
            under_way.insert(key, weak);
        }
        shared
    }

    fn dated(&self, json: Arc<str>, calculated_at: DateTime<Utc>) -> CachedAnswer {
        CachedAnswer {
            json,
            age: (Utc::now() - calculated_at).to_std().unwrap_or_default(),
            ttl: self.ttl,
        }
    }
}

impl std::fmt::Debug for AnalyticsCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnalyticsCache")
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
