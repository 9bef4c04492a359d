//! The same requests without Redis, at the same time, on threads of their own.
//!
//! What a request costs without Redis changes from moment to moment: the machine is busy, or
//! PostgreSQL is slow. So it is measured beside the requests that have a Redis: each request of the
//! control reads its template from PostgreSQL. The control shares
//! neither runtime nor pool with them: a cache layer that blocks its runtime's threads does not
//! hold up the control, and is not excused by it.

use std::sync::Arc;
use std::thread;

use tasker_shared::cache::CacheProvider;
use tasker_shared::registry::TaskHandlerRegistry;
use tokio::sync::oneshot;

use crate::error::FaultsError;
use crate::load::{Load, Sample};
use crate::world;

/// Concurrent resolvers: enough that there is nearly always a request under way.
const RESOLVERS: usize = 3;

/// Resolvers without Redis, on a thread of their own. Dropping it stops them.
pub(crate) struct Control {
    stop: oneshot::Sender<()>,
    samples: oneshot::Receiver<Result<Vec<Sample>, FaultsError>>,
}

impl Control {
    pub(crate) fn start(database_url: String) -> Result<Self, FaultsError> {
        let (stop, stopped) = oneshot::channel();
        let (sender, samples) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(FaultsError::Runtime)?;
        thread::Builder::new()
            .name(String::from("control"))
            .spawn(move || {
                let samples = runtime.block_on(control(database_url, stopped));
                // Whoever started us may be gone.
                let _ = sender.send(samples);
            })
            .map_err(FaultsError::Runtime)?;
        Ok(Self { stop, samples })
    }

    pub(crate) async fn end(self) -> Result<Vec<Sample>, FaultsError> {
        let _ = self.stop.send(());
        self.samples.await.map_err(|_| FaultsError::ControlLost)?
    }
}

async fn control(
    database_url: String,
    stopped: oneshot::Receiver<()>,
) -> Result<Vec<Sample>, FaultsError> {
    let pool = world::pool(&database_url)?;
    let registry = Arc::new(TaskHandlerRegistry::with_cache(
        pool.clone(),
        Arc::new(CacheProvider::noop()),
        world::without_local_tier(),
    ));
    let load = Load::with_resolvers(&tokio::runtime::Handle::current(), &registry, RESOLVERS);
    let _ = stopped.await;
    let samples = load.end().await;
    registry.shutdown().await;
    pool.close().await;
    samples
}
