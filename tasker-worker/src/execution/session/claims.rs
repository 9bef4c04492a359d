//! Claims without a handler: those of lost workers, those whose answers were lost, and those that a drained
//! session leaves.

use std::time::Duration;

use tasker_shared::execution;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::Session;
use crate::execution::link::STATEMENT_LIMIT;

/// The longest that returning the claims of a drained worker may take.
const LEAVING_TIME: Duration = Duration::from_secs(2);
/// The longest that handlers which were cancelled are waited for.
const STOPPING_TIME: Duration = Duration::from_secs(1);

impl Session {
    /// Looks for lost workers and for claims whose answers were lost.
    pub(super) async fn upkeep(&mut self) {
        let lost = self
            .link
            .run(async |connection| execution::requeue_lost(connection).await);
        match lost.await {
            Ok(steps) => {
                steps.report();
                if self.upkeep_failures.end() {
                    tracing::info!("lost workers are looked for again");
                }
            }
            Err(error) => {
                if self.upkeep_failures.begin() {
                    tracing::warn!(%error, "lost workers cannot be looked for");
                }
                self.uncertain_until = Some(Instant::now() + STATEMENT_LIMIT);
            }
        }
        let Some(until) = self.uncertain_until else {
            return;
        };
        // First, because this starts steps that waited.
        while let Ok(end) = self.ended.try_recv() {
            self.accept(end);
        }
        let mut held: Vec<Uuid> = self.running.ids().iter().map(|id| id.step_uuid).collect();
        held.extend(self.unrecorded.steps());
        let worker = self.worker;
        let recovered = self
            .link
            .run(async |connection| execution::recover(connection, worker, &held).await);
        if let Ok(rows) = recovered.await {
            self.receive(rows, &[], 0, false);
            if until < Instant::now() {
                self.uncertain_until = None;
            }
        }
    }

    /// Returns what is left of a drained session to the queue.
    pub(super) async fn leave(&mut self) {
        self.stop();
        while let Ok(end) = self.ended.try_recv() {
            self.accept(end);
        }
        let results = self.unrecorded.total();
        if results > 0 {
            tracing::warn!(
                worker_uuid = %self.worker, results,
                "results could not be recorded in the time of the drain; their steps run again"
            );
        }
        // Others may run the steps as soon as their claims are returned.
        self.handlers.close();
        if timeout(STOPPING_TIME, self.handlers.wait()).await.is_err() {
            let handlers = self.handlers.len();
            tracing::warn!(
                worker_uuid = %self.worker, handlers,
                "handlers that were cancelled still run while their steps are returned"
            );
        }
        let (worker, is_certain) = (self.worker, self.uncertain_until.is_none());
        let released = self
            .link
            .run(async |connection| execution::leave(connection, worker, is_certain).await);
        let released = timeout(LEAVING_TIME, released);
        let Ok(released) = released.await else {
            tracing::warn!(worker_uuid = %worker, "the database does not answer; claims stay until the lease is over");
            return;
        };
        match released {
            Ok(steps) => tracing::info!(worker_uuid = %worker, steps, "drained; steps returned"),
            Err(error) => tracing::warn!(
                worker_uuid = %worker, %error,
                "claims could not be returned; other services do it when the lease is over"
            ),
        }
    }
}
