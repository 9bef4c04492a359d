//! Readers that send requests all the time while servers stop and start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// The pause between two requests of a reader, so that sixteen readers do not overload the servers.
const PACE: Duration = Duration::from_millis(1);

/// Tasks that ask again and again.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    counted: Arc<AtomicU64>,
    tasks: JoinSet<(Duration, Duration)>,
}

impl Readers {
    /// Starts `count` of them. `ask` is given the reader's number and that of its request, and says
    /// whether the request counts.
    pub(crate) fn start<F>(
        count: usize,
        ask: impl Fn(usize, usize) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let counted = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for reader in 0..count {
            let (stop, counted, ask) = (Arc::clone(&stop), Arc::clone(&counted), ask.clone());
            tasks.spawn(async move {
                let (mut longest, mut stall) = (Duration::ZERO, Duration::ZERO);
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    if ask(reader, number).await {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    longest = longest.max(started.elapsed());
                    number += 1;
                    let paused = Instant::now();
                    tokio::time::sleep(PACE).await;
                    stall = stall.max(paused.elapsed());
                }
                (longest, stall)
            });
        }
        Self {
            stop,
            counted,
            tasks,
        }
    }

    /// Returns the number of requests that counted.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Ends the readers and returns the longest duration of a request, less the longest of their pauses:
    /// as long as that, a busy machine kept a reader waiting. Panics if a reader panicked.
    pub(crate) async fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let (requests, pauses): (Vec<_>, Vec<_>) = self.tasks.join_all().await.into_iter().unzip();
        let [longest, stall] =
            [requests, pauses].map(|all| all.into_iter().max().unwrap_or_default());
        longest.saturating_sub(stall)
    }
}
