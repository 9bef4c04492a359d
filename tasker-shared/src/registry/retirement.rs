//! Takes back what this process has put into the distributed cache, once its name points
//! elsewhere.
//!
//! A body that is out of date is never used, since its hash is not the current one. Taking it back
//! means that the cache of a system at rest holds current bodies only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::distributed_tier::DistributedTier;
use super::index::Entry;

/// How many entries may wait. More are left to their time to live.
const CAPACITY: usize = 4096;
/// How many are deleted in one go.
const BATCH: usize = 256;

/// The queue of entries to take back, and the task that does it.
pub(super) struct Retirement {
    distributed: DistributedTier,
    sender: mpsc::Sender<Arc<Entry>>,
    receiver: Mutex<Option<mpsc::Receiver<Arc<Entry>>>>,
    started: AtomicBool,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// A way into the queue.
#[derive(Debug, Clone)]
pub(super) struct RetirementHandle(mpsc::Sender<Arc<Entry>>);

impl RetirementHandle {
    /// Queues an entry whose body this process has put into the distributed cache; never waits.
    pub(super) fn retire(&self, entry: &Arc<Entry>) {
        if entry.was_filled() {
            // A full queue leaves the rest to their time to live.
            self.0.try_send(Arc::clone(entry)).ok();
        }
    }
}

impl Retirement {
    pub(super) fn new(distributed: DistributedTier) -> Self {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        Self {
            distributed,
            sender,
            receiver: Mutex::new(Some(receiver)),
            started: AtomicBool::new(false),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    pub(super) fn handle(&self) -> RetirementHandle {
        RetirementHandle(self.sender.clone())
    }

    /// Starts the task. Does nothing the second time.
    pub(super) fn start(&self) {
        if self.started.load(Ordering::Relaxed) || self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let receiver = self
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(receiver) = receiver {
            let (distributed, cancel) = (self.distributed.clone(), self.cancel.clone());
            let work = async move { cancel.run_until_cancelled(run(distributed, receiver)).await };
            self.tasks
                .spawn(work.instrument(tracing::info_span!("template_retirement")));
            self.tasks.close();
        }
    }

    /// Stops the task and waits for it.
    pub(super) async fn shutdown(&self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Retirement {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn run(distributed: DistributedTier, mut receiver: mpsc::Receiver<Arc<Entry>>) {
    let mut entries = Vec::new();
    while receiver.recv_many(&mut entries, BATCH).await > 0 {
        // What cannot be deleted has its time to live.
        distributed
            .delete_names(entries.iter().map(|entry| entry.name()))
            .await;
        entries.clear();
    }
}
