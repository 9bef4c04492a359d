//! Parsed bodies in this process, bounded by bytes.
//!
//! A body is held under the id of the directory's entry that it was loaded for, which stands for
//! one name with one pointer. A body that arrives late, after its name came to point elsewhere,
//! is held under an id that nobody asks for any more.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::directory::Entry;
use crate::metrics::{TEMPLATE_LOCAL_BYTES, TEMPLATE_LOCAL_ENTRIES};
use crate::types::HandlerMetadata;

/// What an entry costs beside its document: the typed view is about as large again.
const PARSED_FACTOR: u64 = 2;
const ENTRY_OVERHEAD: u64 = 512;

#[derive(Debug, Clone)]
struct Held {
    metadata: Arc<HandlerMetadata>,
    since: Instant,
}

/// The local tier. Lookups take no lock that writers hold for long, and allocate nothing.
#[derive(Debug, Clone)]
pub(super) struct LocalTier {
    bodies: Cache<u64, Held, hashbrown::DefaultHashBuilder>,
    gauges: Arc<OnceLock<Gauges>>,
}

/// Looked up once, with the first body: finding a gauge takes longer than setting it.
#[derive(Debug)]
struct Gauges {
    bytes: metrics::Gauge,
    entries: metrics::Gauge,
}

impl LocalTier {
    pub(super) fn new(max_bytes: u64) -> Self {
        let bodies = Cache::builder()
            .name("template_bodies")
            .max_capacity(max_bytes)
            .weigher(|_id, held: &Held| u32::try_from(weight(&held.metadata)).unwrap_or(u32::MAX))
            .build_with_hasher(hashbrown::DefaultHashBuilder::default());
        Self {
            bodies,
            gauges: Arc::default(),
        }
    }

    /// The body of this entry. Counts as a use of it.
    pub(super) fn get(&self, entry: &Entry) -> Option<Arc<HandlerMetadata>> {
        self.bodies.get(&entry.id).map(|held| held.metadata)
    }

    /// Holds a body; may drop others, or this one if it is larger than the tier.
    pub(super) fn insert(&self, entry: &Entry, metadata: Arc<HandlerMetadata>) {
        let since = Instant::now();
        self.bodies.insert(entry.id, Held { metadata, since });
        self.measure();
    }

    /// The body of this entry and how long it has been held.
    pub(super) fn peek(&self, entry: &Entry) -> Option<(Arc<HandlerMetadata>, Duration)> {
        let held = self.bodies.get(&entry.id)?;
        Some((held.metadata, held.since.elapsed()))
    }

    /// Drops the body that was held for the entry with this id.
    pub(super) fn remove(&self, id: u64) {
        self.bodies.invalidate(&id);
    }

    /// Drops all bodies.
    pub(super) fn clear(&self) {
        self.bodies.invalidate_all();
        self.bodies.run_pending_tasks();
        self.measure();
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a tier of 2^52 bytes fits in no memory"
    )]
    fn measure(&self) {
        let gauges = self.gauges.get_or_init(|| Gauges {
            bytes: metrics::gauge!(TEMPLATE_LOCAL_BYTES.name),
            entries: metrics::gauge!(TEMPLATE_LOCAL_ENTRIES.name),
        });
        gauges.bytes.set(self.bodies.weighted_size() as f64);
        gauges.entries.set(self.bodies.entry_count() as f64);
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
