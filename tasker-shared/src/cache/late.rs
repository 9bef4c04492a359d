//! A backend that could not be reached when the process started, until it arrives.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::errors::Chain;
use super::persist::{Pauses, until_success};
use super::{RedisCacheService, StartError};
use crate::config::tasker::CacheConfig;
use crate::metrics::CACHE_IN_USE;

/// How long a shutdown waits for the task that connects. It stops at its next await.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Tries to connect in the background until it succeeds, once. Dropping it ends the tries.
#[derive(Debug)]
pub(super) struct LateArrival {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _stop_on_drop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    arrived: OnceLock<RedisCacheService>,
    last_error: Mutex<String>,
}

impl LateArrival {
    /// Starts trying, on the current runtime. `first_error` is why the first try failed.
    pub(super) fn spawn(config: CacheConfig, first_error: &StartError) -> Self {
        let shared = Arc::new(Shared {
            arrived: OnceLock::new(),
            last_error: Mutex::new(Chain(first_error).to_string()),
        });
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let search = search(config, Arc::clone(&shared));
        tasks.spawn(stop.clone().run_until_cancelled_owned(search));
        tasks.close();
        Self {
            shared,
            tasks,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }
    }

    pub(super) fn arrived(&self) -> Option<&RedisCacheService> {
        self.shared.arrived.get()
    }

    pub(super) fn last_error(&self) -> String {
        self.shared
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends the tries, and shuts down the backend if it has arrived. Idempotent.
    pub(super) async fn shutdown(&self) {
        self.stop.cancel();
        // The task holds nothing that needs more than to be dropped, so a task that a starved
        // runtime has not ended in time is none that a caller could do anything about.
        let _ = tokio::time::timeout(STOP_LIMIT, self.tasks.wait()).await;
        if let Some(service) = self.arrived() {
            service.shutdown().await;
        }
    }
}

async fn search(config: CacheConfig, shared: Arc<Shared>) {
    let service = until_success(
        &mut Pauses::new(),
        || RedisCacheService::connect(&config),
        |error: StartError| {
            tracing::debug!(error = %Chain(&error), "the cache still cannot be used");
            *shared
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Chain(&error).to_string();
        },
    )
    .await;
    if shared.arrived.set(service).is_ok() {
        metrics::gauge!(CACHE_IN_USE.name).set(1.0);
        tracing::info!("the cache has arrived and is in use");
    }
}
