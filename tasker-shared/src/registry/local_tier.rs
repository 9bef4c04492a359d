//! Parsed bodies in this process, bounded by bytes.
//!
//! A body is held at the directory's entry that it was loaded for ([`super::body_slot`]), which stands
//! for one name with one pointer. A body that arrives late, after its name came to point elsewhere,
//! is at an entry that nobody finds any more, and is dropped by who notices.
//!
//! SIEVE decides which bodies are dropped when there are too many (Y. Zhang and others, "SIEVE is
//! Simpler than LRU", NSDI 2024): a hand goes from the oldest body to the newest and begins again.
//! A body that was used since the hand last passed stays where it is; the first that was not is
//! dropped, or the one after [`PASSED`] that were. So a use costs no more than a mark, and many bodies
//! that are used once do not drive out those that are used again and again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::body_slot::Held;
use super::index::Entry;
use crate::metrics::{TEMPLATE_LOCAL_BYTES, TEMPLATE_LOCAL_ENTRIES};
use crate::models::core::task_template::{
    BatchConfiguration, DomainEventDefinition, EventDeclaration, StepDefinition, TaskTemplate,
};
use crate::types::HandlerMetadata;

/// What a body costs, whatever its document: its parts, its name's three, and two of them once more
/// where the document leaves them out.
const ENTRY_OVERHEAD: usize = size_of::<HandlerMetadata>() + size_of::<Held>() + 5 * 64;
/// How many gaps the order may have, beside as many as there are bodies.
const GAPS: usize = 64;
/// How many used bodies the hand passes, at most, before it drops one all the same: others wait for
/// it. Closing gaps takes longer, but has as many evictions before it as there are bodies.
const PASSED: usize = 256;

/// The local tier of one directory, whose entries have one slot each. Look-ups take no lock and allocate
/// nothing.
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
    order: Vec<Option<Arc<Entry>>>,
    /// Where in the order the next body to drop is looked for.
    hand: usize,
    count: usize,
    bytes: u64,
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
        entry.slot.use_body()
    }

    /// The body of this entry and how long it has been held.
    pub(super) fn peek(entry: &Entry) -> Option<(Arc<HandlerMetadata>, Duration)> {
        let held = entry.slot.held()?;
        Some((Arc::clone(&held.metadata), held.since.elapsed()))
    }

    /// Holds a body, and drops others where it must. One that is larger than the tier is not held.
    pub(super) fn insert(&self, entry: &Arc<Entry>, metadata: Arc<HandlerMetadata>) {
        let weight = weight(&metadata);
        if weight > self.0.max_bytes {
            return;
        }
        let mut dropped = Vec::new();
        let mut bodies = self.lock();
        dropped.extend(bodies.take(entry));
        while bodies.bytes + weight > self.0.max_bytes {
            let Some(body) = bodies.evict() else { break };
            dropped.push(body);
        }
        bodies.add(entry, metadata, weight);
        self.settle(bodies, dropped);
    }

    /// Drops the body of this entry. Whoever holds one later holds the lock later, and so sees what
    /// the caller saw: that the entry is gone, if it is.
    pub(super) fn remove(&self, entry: &Entry) {
        let mut bodies = self.lock();
        if let Some(dropped) = bodies.take(entry) {
            self.settle(bodies, [dropped]);
        }
    }

    /// Drops all bodies.
    pub(super) fn clear(&self) {
        let mut bodies = self.lock();
        let order = std::mem::take(&mut *bodies).order;
        let dropped: Vec<_> = order
            .iter()
            .flatten()
            .map(|entry| entry.slot.replace(None))
            .collect();
        self.settle(bodies, dropped);
    }

    /// Ends a change. What was dropped is taken apart afterwards, which takes a while and which nobody
    /// who waits for the lock has to wait for.
    fn settle(&self, mut bodies: MutexGuard<'_, Bodies>, dropped: impl IntoIterator) {
        bodies.close_gaps();
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
        // Behind the newest the hand begins again: it is not to wait there for the next one.
        while let Some(None) = self.order.last() {
            self.order.pop();
        }
        if self.hand >= self.order.len() {
            self.hand = 0;
        }
        entry.slot.replace(Some(Arc::new(Held {
            metadata,
            since: Instant::now(),
            weight,
            index: AtomicUsize::new(self.order.len()),
        })));
        self.order.push(Some(Arc::clone(entry)));
        self.count += 1;
        self.bytes += weight;
    }

    /// Takes what the entry holds, which leaves a gap in the order.
    fn take(&mut self, entry: &Entry) -> Option<Arc<Held>> {
        if entry.slot.is_empty() {
            return None;
        }
        let held = entry.slot.replace(None)?;
        self.order[held.index.load(Ordering::Relaxed)] = None;
        self.count -= 1;
        self.bytes -= held.weight;
        Some(held)
    }

    /// Takes the body that is to be dropped next; `None` if there is none.
    fn evict(&mut self) -> Option<Arc<Held>> {
        let mut passed = 0;
        while self.count > 0 {
            if self.hand >= self.order.len() {
                self.hand = 0;
            }
            let entry = self.order[self.hand].clone();
            self.hand += 1;
            let Some(entry) = entry else { continue };
            if passed < PASSED && entry.slot.take_use() {
                passed += 1;
                continue;
            }
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
        self.hand = self.order[..self.hand].iter().flatten().count();
        self.order.retain(Option::is_some);
        for (index, entry) in self.order.iter().flatten().enumerate() {
            if let Some(held) = entry.slot.held() {
                held.index.store(index, Ordering::Relaxed);
            }
        }
    }
}

/// Estimates the bytes that a document takes: its text, and at most as much again in the strings
/// and free parts of its typed view.
fn weight(metadata: &HandlerMetadata) -> u64 {
    let bytes = 2 * metadata.document.get().len() + lists(&metadata.template) + ENTRY_OVERHEAD;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What the lists of the typed view, and what its steps keep apart, take without their strings.
fn lists(template: &TaskTemplate) -> usize {
    let steps = template.steps.iter().map(|step| {
        step.dependencies.capacity() * size_of::<String>()
            + step.publishes_events.capacity() * size_of::<EventDeclaration>()
            + step.batch_config.iter().len() * size_of::<BatchConfiguration>()
    });
    let systems = template.system_dependencies.as_ref();
    template.steps.capacity() * size_of::<StepDefinition>()
        + steps.sum::<usize>()
        + systems.map_or(0, |systems| {
            systems.secondary.capacity() * size_of::<String>()
        })
        + template.domain_events.capacity() * size_of::<DomainEventDefinition>()
}

#[cfg(test)]
mod tests;
