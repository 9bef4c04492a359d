//! Resolvers that never stop, and what each of their requests took.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tasker_shared::registry::{TaskHandlerRegistry, Tier};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::FaultsError;
use crate::templates::{COUNT, NAMESPACE, VERSION, name};

/// Concurrent resolvers.
const RESOLVERS: usize = 16;

/// What a resolver pauses between an answer and its next request, more or less. Without a pause
/// sixteen of them would ask two cores for all that they have, and wait for each other.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a request that is under way may take when the resolvers are stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) started: Instant,
    pub(crate) took: Duration,
    pub(crate) failed: bool,
}

impl Sample {
    pub(crate) fn ended(&self) -> Instant {
        self.started + self.took
    }
}

/// What the resolvers of one load share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    from_redis: AtomicU64,
    samples: Mutex<Vec<Sample>>,
}

/// Resolvers at work. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    resolvers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Sixteen resolvers on the runtime `on`, each over its own share of the templates.
    pub(crate) fn start(on: &Handle, registry: &Arc<TaskHandlerRegistry>) -> Self {
        Self::with_resolvers(on, registry, RESOLVERS)
    }

    pub(crate) fn with_resolvers(
        on: &Handle,
        registry: &Arc<TaskHandlerRegistry>,
        count: usize,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let resolvers = (0..count)
            .map(|resolver| {
                let names = (resolver..COUNT).step_by(count).map(name).collect();
                on.spawn(resolve(Arc::clone(registry), names, Arc::clone(&shared)))
            })
            .collect();
        Self { shared, resolvers }
    }

    /// How many requests Redis has answered.
    pub(crate) fn redis_answers(&self) -> u64 {
        self.shared.from_redis.load(Ordering::Relaxed)
    }

    /// The requests that ended since they were taken last.
    pub(crate) fn take(&self) -> Vec<Sample> {
        self.shared.take()
    }

    /// Stops the resolvers and hands over their requests. One that has not ended within half a minute
    /// has failed.
    pub(crate) async fn end(self) -> Result<Vec<Sample>, FaultsError> {
        self.end_within(PATIENCE).await
    }

    async fn end_within(mut self, patience: Duration) -> Result<Vec<Sample>, FaultsError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let stopped = Instant::now();
        for mut resolver in self.resolvers.drain(..) {
            let left = patience.saturating_sub(stopped.elapsed());
            if let Ok(ended) = tokio::time::timeout(left, &mut resolver).await {
                ended?;
            } else {
                resolver.abort();
                self.shared.push(Sample {
                    started: stopped,
                    took: stopped.elapsed(),
                    failed: true,
                });
            }
        }
        Ok(self.take())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn push(&self, sample: Sample) {
        self.samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sample);
    }

    fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn resolve(registry: Arc<TaskHandlerRegistry>, names: Vec<String>, shared: Arc<Shared>) {
    for name in names.iter().cycle() {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let started = Instant::now();
        let resolved = registry.resolve(NAMESPACE, name, VERSION).await;
        let took = started.elapsed();
        if matches!(&resolved, Ok(found) if found.tier == Tier::Redis) {
            shared.from_redis.fetch_add(1, Ordering::Relaxed);
        }
        shared.push(Sample {
            started,
            took,
            failed: resolved.is_err(),
        });
        tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Load, Shared};

    #[tokio::test]
    async fn a_request_that_never_ends_has_failed() {
        let load = Load {
            shared: Arc::new(Shared::default()),
            resolvers: vec![
                tokio::spawn(std::future::ready(())),
                tokio::spawn(std::future::pending()),
            ],
        };
        let samples = load.end_within(Duration::from_millis(10)).await.unwrap();
        let failed: Vec<bool> = samples.iter().map(|sample| sample.failed).collect();
        assert_eq!(failed, [true]);
    }
}
