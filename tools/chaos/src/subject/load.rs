//! Resolvers that never stop, and the duration of each of their requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tasker_shared::registry::{TaskHandlerRegistry, Tier};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{COUNT, Subject};
use crate::error::Result;
use crate::templates::{STAYING, VERSION, name};

/// The mean pause of a resolver between two requests. Without it, sixteen resolvers would wait for
/// each other on two cores.
const PAUSE: Duration = Duration::from_millis(10);
/// The time that a request may take when the resolvers are stopped.
const LIMIT: Duration = Duration::from_secs(30);

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) started: Instant,
    pub(crate) took: Duration,
    pub(crate) failed: bool,
    pub(crate) from_redis: bool,
}

impl Sample {
    pub(crate) fn ended(&self) -> Instant {
        self.started + self.took
    }
}

/// Resolvers at work. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    resolvers: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// Starts `count` resolvers on the runtime `on`, each with its own share of the templates.
    pub(crate) fn start(on: &Handle, subject: &Subject, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |resolver| {
            let numbers = (resolver..COUNT).step_by(count).collect();
            let registry = Arc::clone(&subject.registry);
            on.spawn(resolve(registry, numbers, Arc::clone(&stop)))
        };
        Self {
            resolvers: (0..count).map(start).collect(),
            stop,
        }
    }

    /// Stops the resolvers and returns their requests. One that does not end within half a minute
    /// has failed, and stands for all of its resolver.
    pub(crate) async fn end(self) -> Result<Vec<Sample>> {
        self.end_within(LIMIT).await
    }

    async fn end_within(mut self, limit: Duration) -> Result<Vec<Sample>> {
        self.stop.store(true, Ordering::Relaxed);
        let stopped = Instant::now();
        let mut samples = Vec::new();
        for mut resolver in self.resolvers.drain(..) {
            let left = limit.saturating_sub(stopped.elapsed());
            if let Ok(ended) = tokio::time::timeout(left, &mut resolver).await {
                samples.extend(ended?);
            } else {
                resolver.abort();
                samples.push(Sample {
                    started: stopped,
                    took: stopped.elapsed(),
                    failed: true,
                    from_redis: false,
                });
            }
        }
        Ok(samples)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn resolve(
    registry: Arc<TaskHandlerRegistry>,
    numbers: Vec<usize>,
    stop: Arc<AtomicBool>,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    for number in numbers.into_iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = name(number);
        let started = Instant::now();
        let resolved = registry.resolve(STAYING, &name, VERSION).await;
        samples.push(Sample {
            started,
            took: started.elapsed(),
            failed: resolved.is_err(),
            from_redis: resolved.is_ok_and(|found| found.tier == Tier::Redis),
        });
        tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
    }
    samples
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::Load;

    #[tokio::test]
    async fn a_request_that_never_ends_has_failed() {
        let load = Load {
            stop: Arc::default(),
            resolvers: vec![
                tokio::spawn(std::future::ready(Vec::new())),
                tokio::spawn(std::future::pending()),
            ],
        };
        let samples = load.end_within(Duration::from_millis(10)).await.unwrap();
        let failed: Vec<bool> = samples.iter().map(|sample| sample.failed).collect();
        assert_eq!(failed, [true]);
    }
}
