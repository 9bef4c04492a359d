//! Stops a process in order: first it is not ready, then it accepts no work, then background work
//! ends.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The stages in which a process stops. Cheap to clone; clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    draining: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
    drains: TaskTracker,
}

impl Lifecycle {
    /// Returns the lifecycle of a running process.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns true once the process began to stop: it is not ready, but still answers.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Makes the process not ready. Idempotent.
    pub fn begin_drain(&self) {
        self.draining.cancel();
    }

    /// Returns a token that is cancelled when the process takes on no new work.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Runs `task` in the background until it is done. It has to end by itself soon after
    /// [`draining`](Self::draining) is cancelled; the process waits for it.
    pub fn spawn_draining<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.drains.spawn(task);
    }

    /// Waits until all work is done that the drain waits for.
    pub(crate) async fn drained(&self) {
        self.drains.close();
        self.drains.wait().await;
    }

    /// Runs `task` in the background until it ends. When the process stops, `task` is dropped at its
    /// next await point.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            stopping.run_until_cancelled_owned(task).await;
        });
    }

    /// Stops all background work and waits for it. Returns false if some still runs after `patience`.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.begin_drain();
        self.stopping.cancel();
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait())
            .await
            .is_ok()
    }
}

/// Receives SIGTERM and SIGINT from its creation on.
#[derive(Debug)]
pub(crate) struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Replaces the default action of the signals, which ends the process at once.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Lifecycle;

    #[tokio::test]
    async fn stopping_ends_background_work_and_readiness() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn(std::future::pending());
        assert!(!lifecycle.is_draining());
        assert!(lifecycle.stop(Duration::from_secs(10)).await);
        assert!(lifecycle.is_draining());
    }
}
