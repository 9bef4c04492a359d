//! Entries that wait to be written, and the one task that writes them.
//!
//! Whoever loaded a value hands it over and goes on. The queue is bounded in entries and bytes;
//! what does not fit is dropped, since the next reader of the value loads and hands it over
//! again.
//!
//! Deletions of this process win over fills that it handed over before: waiting entries are
//! dropped, and those that are being written at that moment are deleted once they are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::Notify;

use super::commands;
use super::link::Request;
use super::operation::Core;
use super::sweep;
use crate::cache::errors::Chain;
use crate::metrics::{CACHE_FILLS_DROPPED, CACHE_PENDING_FILLS};

const MAX_ENTRIES: usize = 1024;
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// What is written in one go: few round trips, and yet no answer to a request on the same
/// connection waits long behind it.
const BATCH_ENTRIES: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;

/// How long writing one batch may take. Nobody waits for it.
const WRITE_LIMIT: Duration = Duration::from_secs(1);

struct Fill {
    key: String,
    value: String,
    ttl: Duration,
}

impl Fill {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Fill>,
    waiting_bytes: usize,
    /// Keys that are being written.
    in_flight: Vec<String>,
    /// Those of them that were deleted meanwhile.
    undo: Vec<String>,
}

/// The queue.
#[derive(Default)]
pub(super) struct Fills {
    state: Mutex<State>,
    added: Notify,
    drained: Notify,
}

impl Fills {
    /// Queues an entry, or drops it when the queue is full; never waits.
    pub(super) fn push(&self, key: String, value: String, ttl: Duration) {
        let fill = Fill { key, value, ttl };
        {
            let mut state = self.state();
            if state.waiting.len() >= MAX_ENTRIES || state.waiting_bytes + fill.bytes() > MAX_BYTES
            {
                drop(state);
                dropped("queue_full", 1);
                return;
            }
            state.waiting_bytes += fill.bytes();
            state.waiting.push_back(fill);
            show(&state);
        }
        self.added.notify_one();
    }

    /// Entries that are not written yet.
    pub(super) fn pending(&self) -> usize {
        let state = self.state();
        state.waiting.len() + state.in_flight.len()
    }

    /// Completes when nothing is waiting or being written.
    pub(super) async fn until_empty(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Registered before looking, so that no wake-up falls in between.
            drained.as_mut().enable();
            if self.pending() == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Makes sure that entries handed over before under the keys for which `doomed` holds do
    /// not outlive the deletion that the caller is about to send.
    pub(super) fn forget(&self, doomed: impl Fn(&str) -> bool) {
        let mut state = self.state();
        let before = state.waiting.len();
        state.waiting.retain(|fill| !doomed(&fill.key));
        state.waiting_bytes = state.waiting.iter().map(Fill::bytes).sum();
        let forgotten = before - state.waiting.len();
        let undo: Vec<_> = state
            .in_flight
            .iter()
            .filter(|key| doomed(key))
            .cloned()
            .collect();
        state.undo.extend(undo);
        if forgotten > 0 {
            dropped("invalidated", forgotten);
            self.after_removal(state);
        }
    }

    /// Drops all that waits.
    pub(super) fn discard(&self) {
        let mut state = self.state();
        let count = state.waiting.len();
        state.waiting.clear();
        state.waiting_bytes = 0;
        if count > 0 {
            dropped("unavailable", count);
        }
        self.after_removal(state);
    }

    fn take_batch(&self) -> Vec<Fill> {
        let mut state = self.state();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
            let Some(fill) = state.waiting.pop_front() else {
                break;
            };
            bytes += fill.bytes();
            batch.push(fill);
        }
        state.waiting_bytes -= bytes;
        state.in_flight = batch.iter().map(|fill| fill.key.clone()).collect();
        batch
    }

    /// The batch is written, or given up; returns what has to be deleted again.
    fn settle(&self) -> Vec<String> {
        let mut state = self.state();
        state.in_flight.clear();
        let undo = std::mem::take(&mut state.undo);
        self.after_removal(state);
        undo
    }

    fn after_removal(&self, state: MutexGuard<'_, State>) {
        show(&state);
        let empty = state.waiting.is_empty() && state.in_flight.is_empty();
        drop(state);
        if empty {
            self.drained.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn show(state: &State) {
    let pending = state.waiting.len() + state.in_flight.len();
    gauge!(CACHE_PENDING_FILLS.name).set(f64::from(u32::try_from(pending).unwrap_or(u32::MAX)));
}

/// Counts entries that were not written.
pub(super) fn dropped(reason: &'static str, count: usize) {
    counter!(CACHE_FILLS_DROPPED.name, "reason" => reason).increment(count as u64);
}

/// Writes what is queued, until stopped.
pub(super) async fn run(core: Arc<Core>, fills: Arc<Fills>) {
    loop {
        if core.breaker.is_open() {
            fills.discard();
        }
        let batch = fills.take_batch();
        if batch.is_empty() {
            fills.added.notified().await;
        } else {
            write(&core, &batch).await;
            let undo = fills.settle();
            if !undo.is_empty() {
                delete_again(&core, &undo).await;
            }
        }
    }
}

async fn write(core: &Core, batch: &[Fill]) {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    for fill in batch {
        pipeline.add_command(commands::set(&fill.key, &fill.value, fill.ttl));
    }
    let started = Instant::now();
    match core
        .call(&Request::Many(&pipeline), WRITE_LIMIT.max(core.budget))
        .await
    {
        Ok(_) => core.note_write(),
        Err(error) => {
            dropped("failed", batch.len());
            tracing::debug!(
                error = %Chain(&error),
                entries = batch.len(),
                elapsed = ?started.elapsed(),
                "entries were not written to the cache"
            );
        }
    }
}

async fn delete_again(core: &Core, keys: &[String]) {
    if let Err(error) = sweep::named(core, keys, WRITE_LIMIT.max(core.budget)).await {
        tracing::debug!(error = %Chain(&error), "deleted entries were written again");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fills, MAX_BYTES, MAX_ENTRIES};

    const TTL: Duration = Duration::from_mins(1);

    fn push(fills: &Fills, key: &str) {
        fills.push(key.to_owned(), String::from("value"), TTL);
    }

    #[test]
    fn a_full_queue_drops_what_comes() {
        let fills = Fills::default();
        (0..MAX_ENTRIES + 10).for_each(|number| push(&fills, &number.to_string()));
        assert_eq!(fills.pending(), MAX_ENTRIES);
        assert_eq!(fills.take_batch()[0].key, "0");
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_too() {
        let fills = Fills::default();
        for number in 0..10 {
            fills.push(format!("{number}"), "x".repeat(MAX_BYTES / 4), TTL);
        }
        assert_eq!(fills.pending(), 3);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_but_never_empty() {
        let fills = Fills::default();
        for key in ["a", "b"] {
            fills.push(key.to_owned(), "x".repeat(MAX_BYTES / 4), TTL);
        }
        assert_eq!(fills.take_batch().len(), 1);
    }

    #[test]
    fn a_deletion_takes_back_what_waits_and_undoes_what_is_being_written() {
        let fills = Fills::default();
        push(&fills, "a");
        push(&fills, "b");
        assert_eq!(fills.take_batch().len(), 2);
        push(&fills, "a");
        push(&fills, "c");
        fills.forget(|key| key == "a");
        assert_eq!(fills.pending(), 3, "a and b in flight, c waiting");
        assert_eq!(fills.settle(), ["a"]);
        assert_eq!(fills.settle(), [""; 0]);
        assert_eq!(fills.take_batch()[0].key, "c");
    }

    #[tokio::test]
    async fn who_waits_for_the_queue_to_empty_is_woken() {
        let fills = Fills::default();
        fills.until_empty().await;
        push(&fills, "a");
        tokio::join!(fills.until_empty(), async {
            tokio::task::yield_now().await;
            assert_eq!(fills.take_batch().len(), 1);
            fills.settle();
        });
        assert_eq!(fills.pending(), 0);
    }
}
