//! Parsed bodies in this process, bounded by bytes.
//!
//! A body is held at the directory's entry that it was loaded for ([`super::place`]), which stands
//! for one name with one pointer. A body that arrives late, after its name came to point elsewhere,
//! is at an entry that nobody finds any more, and is dropped by who notices.
//!
//! Which bodies are dropped when there are too many decides SIEVE (Y. Zhang and others, "SIEVE is
//! Simpler than LRU", NSDI 2024): a hand goes from the oldest body to the newest and begins again.
//! A body that was used since the hand last passed stays, at its place; the first that was not is
//! dropped. So a use costs no more than a mark, and many bodies that are used once do not drive out
//! those that are used again and again.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::directory::Entry;
use super::place::Held;
use crate::metrics::{TEMPLATE_LOCAL_BYTES, TEMPLATE_LOCAL_ENTRIES};
use crate::types::HandlerMetadata;

/// What an entry costs beside its document: the typed view is about as large again.
const PARSED_FACTOR: u64 = 2;
const ENTRY_OVERHEAD: u64 = 512;
/// How many gaps the order may have, beside as many as there are bodies.
const GAPS: usize = 64;

/// The local tier. Look-ups take no lock and allocate nothing.
#[derive(Debug, Clone)]
pub(super) struct LocalTier(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_bytes: u64,
    bodies: Mutex<Bodies>,
    gauges: OnceLock<Gauges>,
}

/// Looked up once, with the first body: finding a gauge takes longer than setting it.
#[derive(Debug)]
struct Gauges {
    bytes: metrics::Gauge,
    entries: metrics::Gauge,
}

/// What is held, in the order in which it came.
#[derive(Debug, Default)]
struct Bodies {
    /// From the oldest to the newest, with gaps where bodies were dropped.
    order: Vec<Record>,
    /// Where in the order the next body to drop is looked for.
    hand: usize,
    count: usize,
    bytes: u64,
    last_serial: u64,
}

/// That a body came to be held. A gap if that one is not held any more.
#[derive(Debug)]
struct Record {
    entry: Arc<Entry>,
    serial: u64,
}

impl Record {
    fn is_gap(&self) -> bool {
        !self.entry.place.holds(self.serial)
    }
}

impl LocalTier {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            max_bytes,
            bodies: Mutex::default(),
            gauges: OnceLock::new(),
        }))
    }

    /// The body of this entry. Counts as a use of it.
    pub(super) fn get(entry: &Entry) -> Option<Arc<HandlerMetadata>> {
        entry.place.use_body()
    }

    /// The body of this entry and how long it has been held.
    pub(super) fn peek(entry: &Entry) -> Option<(Arc<HandlerMetadata>, Duration)> {
        let held = entry.place.held()?;
        Some((Arc::clone(&held.metadata), held.since.elapsed()))
    }

    /// Holds a body, and drops others where it must. One that is larger than the tier is not held.
    pub(super) fn insert(&self, entry: &Arc<Entry>, metadata: Arc<HandlerMetadata>) {
        let weight = weight(&metadata);
        if weight > self.0.max_bytes {
            return;
        }
        // Taking a body apart takes a while, and nobody has to wait for it.
        let mut dropped = Vec::new();
        let mut bodies = self.lock();
        dropped.extend(bodies.take(entry));
        while bodies.bytes + weight > self.0.max_bytes {
            let Some(body) = bodies.evict() else { break };
            dropped.push(body);
        }
        bodies.add(entry, metadata, weight);
        bodies.close_gaps();
        self.measure(&bodies);
        drop(bodies);
    }

    /// Drops the body of this entry.
    pub(super) fn remove(&self, entry: &Entry) {
        let mut bodies = self.lock();
        let dropped = bodies.take(entry);
        if dropped.is_some() {
            bodies.close_gaps();
            self.measure(&bodies);
        }
        drop(bodies);
    }

    /// Drops all bodies.
    pub(super) fn clear(&self) {
        let mut bodies = self.lock();
        let order = std::mem::take(&mut bodies.order);
        let dropped: Vec<_> = order
            .iter()
            .map(|record| bodies.take(&record.entry))
            .collect();
        bodies.hand = 0;
        self.measure(&bodies);
        drop(bodies);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, Bodies> {
        self.0.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a tier of 2^52 bytes fits in no memory"
    )]
    fn measure(&self, bodies: &Bodies) {
        let gauges = self.0.gauges.get_or_init(|| Gauges {
            bytes: metrics::gauge!(TEMPLATE_LOCAL_BYTES.name),
            entries: metrics::gauge!(TEMPLATE_LOCAL_ENTRIES.name),
        });
        gauges.bytes.set(bodies.bytes as f64);
        gauges.entries.set(bodies.count as f64);
    }
}

impl Bodies {
    fn add(&mut self, entry: &Arc<Entry>, metadata: Arc<HandlerMetadata>, weight: u64) {
        self.last_serial += 1;
        let serial = self.last_serial;
        entry.place.replace(Some(Arc::new(Held {
            metadata,
            since: Instant::now(),
            weight,
            serial,
        })));
        let entry = Arc::clone(entry);
        self.order.push(Record { entry, serial });
        self.count += 1;
        self.bytes += weight;
    }

    /// Takes what the entry holds, which leaves a gap in the order.
    fn take(&mut self, entry: &Entry) -> Option<Arc<Held>> {
        let held = entry.place.replace(None)?;
        self.count -= 1;
        self.bytes -= held.weight;
        Some(held)
    }

    /// Takes the body that is to be dropped next; `None` if there is none.
    fn evict(&mut self) -> Option<Arc<Held>> {
        // Once around clears all marks. Whoever is used faster than the hand goes round does not keep
        // it going for ever.
        for step in 0..2 * self.order.len() {
            if self.hand >= self.order.len() {
                self.hand = 0;
            }
            let record = &self.order[self.hand];
            self.hand += 1;
            if record.is_gap() || (record.entry.place.take_use() && step < self.order.len()) {
                continue;
            }
            let entry = Arc::clone(&record.entry);
            return self.take(&entry);
        }
        None
    }

    /// Keeps the order about as long as there are bodies, at a cost that is spread over the changes
    /// that made the gaps.
    fn close_gaps(&mut self) {
        if self.order.len() <= 2 * self.count + GAPS {
            return;
        }
        let passed = &self.order[..self.hand];
        self.hand = passed.iter().filter(|record| !record.is_gap()).count();
        self.order.retain(|record| !record.is_gap());
    }
}

fn weight(metadata: &HandlerMetadata) -> u64 {
    let bytes = |count| u64::try_from(count).unwrap_or(u64::MAX);
    let document = &metadata.document;
    bytes(document.get().len())
        .saturating_mul(PARSED_FACTOR)
        .saturating_add(bytes(document.held_bytes()))
        .saturating_add(ENTRY_OVERHEAD)
}

#[cfg(test)]
mod tests;
