//! Entries that wait to be written, and the task that writes them.
//!
//! The queue is bounded in entries and bytes. An entry that does not fit is dropped, because the
//! next reader of the value loads it and hands it over again. A deletion does not wait for entries
//! that were handed over before it: one may be written afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::{Notify, mpsc};

use super::client::RedisClient;
use super::commands::{self, Request};
use crate::cache::errors::Chain;
use crate::metrics::{CACHE_FILLS_DROPPED, CACHE_PENDING_FILLS};

const MAX_ENTRIES: usize = 1024;
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The most that is written in one go, so that no answer to a request on the same connection waits
/// long behind it.
const BATCH_ENTRIES: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;

/// The limit of writing one batch. No request waits for it.
const WRITE_LIMIT: Duration = Duration::from_secs(1);

/// An entry; it is pending until it is dropped.
struct Fill {
    key: String,
    value: String,
    ttl: Duration,
    pending: Arc<Pending>,
}

impl Fill {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.pending
            .bytes
            .fetch_sub(self.bytes(), Ordering::Relaxed);
        let before = self.pending.entries.fetch_sub(1, Ordering::AcqRel);
        show(before - 1);
        if before == 1 {
            self.pending.drained.notify_waiters();
        }
    }
}

#[derive(Default)]
struct Pending {
    entries: AtomicUsize,
    bytes: AtomicUsize,
    drained: Notify,
}

/// The sending end of the queue.
pub(super) struct Fills {
    queue: mpsc::Sender<Fill>,
    pending: Arc<Pending>,
}

/// The receiving end, for [`run`].
pub(super) struct Queued(mpsc::Receiver<Fill>);

impl Fills {
    pub(super) fn new() -> (Self, Queued) {
        let (queue, queued) = mpsc::channel(MAX_ENTRIES);
        let pending = Arc::default();
        (Self { queue, pending }, Queued(queued))
    }

    /// Queues an entry, or drops it if the queue is full; never waits.
    pub(super) fn push(&self, key: String, value: String, ttl: Duration) {
        let bytes = key.len() + value.len();
        let waiting = self.pending.bytes.fetch_add(bytes, Ordering::Relaxed);
        let entries = self.pending.entries.fetch_add(1, Ordering::AcqRel) + 1;
        show(entries);
        let fill = Fill {
            key,
            value,
            ttl,
            pending: Arc::clone(&self.pending),
        };
        if waiting + bytes > MAX_BYTES || self.queue.try_send(fill).is_err() {
            dropped("queue_full", 1);
        }
    }

    /// Returns the number of entries that are not written yet.
    pub(super) fn pending(&self) -> usize {
        self.pending.entries.load(Ordering::Acquire)
    }

    /// Waits until no entry is pending.
    pub(super) async fn until_empty(&self) {
        loop {
            let drained = self.pending.drained.notified();
            tokio::pin!(drained);
            // Registered before the check, so that no wake-up is lost between the two.
            drained.as_mut().enable();
            if self.pending() == 0 {
                return;
            }
            drained.await;
        }
    }
}

fn show(pending: usize) {
    gauge!(CACHE_PENDING_FILLS.name).set(f64::from(u32::try_from(pending).unwrap_or(u32::MAX)));
}

/// Counts entries that were not written.
pub(super) fn dropped(reason: &'static str, count: usize) {
    counter!(CACHE_FILLS_DROPPED.name, "reason" => reason).increment(count as u64);
}

/// Writes the queued entries until it is cancelled.
pub(super) async fn run(client: Arc<RedisClient>, mut queued: Queued) {
    let mut fills = Vec::with_capacity(BATCH_ENTRIES);
    while queued.0.recv_many(&mut fills, BATCH_ENTRIES).await > 0 {
        while !fills.is_empty() {
            let rest = fills.split_off(first_batch(&fills));
            if client.breaker.is_open() {
                dropped("unavailable", fills.len());
            } else {
                write(&client, &fills).await;
            }
            fills = rest;
        }
    }
}

/// Returns the number of entries in the first batch, which is at least one.
fn first_batch(fills: &[Fill]) -> usize {
    let mut bytes = 0;
    let fitting = fills.iter().take_while(|fill| {
        bytes += fill.bytes();
        bytes <= BATCH_BYTES
    });
    fitting.count().max(1)
}

async fn write(client: &RedisClient, batch: &[Fill]) {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    for fill in batch {
        pipeline.add_command(commands::set(&fill.key, &fill.value, fill.ttl));
    }
    let started = Instant::now();
    let limit = WRITE_LIMIT.max(client.budget);
    let key = batch.first().map_or("", |fill| &fill.key);
    if let Err(error) = client
        .call(key.as_bytes(), Request::Many(&pipeline), limit)
        .await
    {
        dropped("failed", batch.len());
        tracing::debug!(
            error = %Chain(&error),
            entries = batch.len(),
            elapsed = ?started.elapsed(),
            "entries were not written to the cache"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BATCH_BYTES, Fills, MAX_BYTES, MAX_ENTRIES, first_batch};

    const TTL: Duration = Duration::from_mins(1);

    fn push(fills: &Fills, key: &str) {
        fills.push(key.to_owned(), String::from("value"), TTL);
    }

    #[test]
    fn a_full_queue_drops_new_entries() {
        let (fills, mut queued) = Fills::new();
        (0..MAX_ENTRIES + 10).for_each(|number| push(&fills, &number.to_string()));
        assert_eq!(fills.pending(), MAX_ENTRIES);
        assert_eq!(queued.0.try_recv().expect("an entry").key, "0");
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_too() {
        let (fills, _queued) = Fills::new();
        for number in 0..10 {
            fills.push(format!("{number}"), "x".repeat(MAX_BYTES / 4), TTL);
        }
        assert_eq!(fills.pending(), 3);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_but_never_empty() {
        let (fills, mut queued) = Fills::new();
        for bytes in [BATCH_BYTES * 2, 1, BATCH_BYTES / 2, BATCH_BYTES] {
            fills.push(String::new(), "x".repeat(bytes), TTL);
        }
        let mut batch = Vec::new();
        while let Ok(fill) = queued.0.try_recv() {
            batch.push(fill);
        }
        assert_eq!(first_batch(&batch), 1);
        assert_eq!(first_batch(&batch[1..]), 2);
    }

    #[tokio::test]
    async fn a_waiter_is_woken_when_the_queue_is_empty() {
        let (fills, mut queued) = Fills::new();
        fills.until_empty().await;
        push(&fills, "a");
        tokio::join!(fills.until_empty(), async {
            tokio::task::yield_now().await;
            drop(queued.0.recv().await);
        });
        assert_eq!(fills.pending(), 0);
    }
}
