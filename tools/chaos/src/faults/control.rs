//! The same requests without Redis, at the same time, on a thread of their own.
//!
//! The cost of a request without Redis changes from moment to moment, because the machine is busy or
//! PostgreSQL is slow. Each request of the control reads its template from PostgreSQL. The control
//! shares neither runtime nor pool with the subject, so that a cache layer that blocks its runtime
//! is not excused.

use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;

use crate::error::ChaosError;
use crate::subject::load::{Load, Sample};
use crate::subject::{Commits, Subject, pool};

/// Enough that a request is nearly always under way.
const RESOLVERS: usize = 3;

/// Resolvers without Redis. Dropping it stops them.
pub(super) struct Control {
    stop: oneshot::Sender<()>,
    samples: oneshot::Receiver<Result<Vec<Sample>, ChaosError>>,
}

impl Control {
    pub(super) fn start(url: String, commits: Arc<Commits>) -> Result<Self, ChaosError> {
        let (stop, stopped) = oneshot::channel();
        let (sender, samples) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(ChaosError::Runtime)?;
        let work = move || {
            // Fails only if the row was given up.
            let _ = sender.send(runtime.block_on(resolve(&url, &commits, stopped)));
        };
        let thread = thread::Builder::new().name(String::from("control"));
        thread.spawn(work).map_err(ChaosError::Runtime)?;
        Ok(Self { stop, samples })
    }

    pub(super) async fn end(self) -> Result<Vec<Sample>, ChaosError> {
        let _ = self.stop.send(());
        let samples = self.samples.await;
        samples.map_err(|_| ChaosError::Ended("the control"))?
    }
}

async fn resolve(
    url: &str,
    commits: &Arc<Commits>,
    stopped: oneshot::Receiver<()>,
) -> Result<Vec<Sample>, ChaosError> {
    let pool = pool(url)?;
    let subject = Subject::without_redis(pool.clone());
    let runtime = tokio::runtime::Handle::current();
    let load = Load::start(&runtime, &subject.registry, commits, RESOLVERS);
    let _ = stopped.await;
    let samples = load.end().await;
    subject.registry.shutdown().await;
    pool.close().await;
    samples
}
