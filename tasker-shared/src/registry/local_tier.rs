//! Documents in this process, bounded by bytes.
//!
//! The tier holds at most one document of a row, with the index entry that it was loaded for, and
//! returns it for that entry only. A document that was replaced, or that arrives late, is therefore
//! never used, and the next load of its template takes its room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use uuid::Uuid;

use super::index::Entry;
use crate::metrics::{TEMPLATE_LOCAL_BYTES, TEMPLATE_LOCAL_ENTRIES};
use crate::models::core::task_template::{
    BatchConfiguration, DomainEventDefinition, EventDeclaration, StepDefinition, TaskTemplate,
};
use crate::types::HandlerMetadata;

/// The bytes of a held document beside its text and its lists: its struct, the allocations of its
/// short strings, and the nodes of the cache.
const OVERHEAD: usize = size_of::<HandlerMetadata>() + size_of::<Held>() + 512;

/// The local tier. Clones share it. A look-up takes no lock and allocates nothing.
#[derive(Debug, Clone)]
pub(super) struct LocalTier(Cache<Uuid, Held>);

#[derive(Debug, Clone)]
struct Held {
    /// The index entry that the document was loaded for.
    entry: u64,
    metadata: Arc<HandlerMetadata>,
    since: Instant,
}

impl LocalTier {
    /// Returns an empty tier. With `max_bytes` of 0 it stays empty.
    pub(super) fn new(max_bytes: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_row, held: &Held| weight(&held.metadata))
            .build();
        Self(cache)
    }

    /// Returns the document that `entry` points to.
    pub(super) fn get(&self, entry: &Entry) -> Option<Arc<HandlerMetadata>> {
        self.held(entry).map(|held| held.metadata)
    }

    /// Returns the document that `entry` points to, and the time since it was inserted.
    pub(super) fn get_with_age(&self, entry: &Entry) -> Option<(Arc<HandlerMetadata>, Duration)> {
        let held = self.held(entry)?;
        Some((held.metadata, held.since.elapsed()))
    }

    fn held(&self, entry: &Entry) -> Option<Held> {
        let held = self.0.get(&entry.pointer.named_task_uuid)?;
        (held.entry == entry.id).then_some(held)
    }

    /// Holds the document that `entry` points to, instead of the one that its row had before.
    pub(super) fn insert(&self, entry: &Entry, metadata: Arc<HandlerMetadata>) {
        let held = Held {
            entry: entry.id,
            metadata,
            since: Instant::now(),
        };
        self.0.insert(entry.pointer.named_task_uuid, held);
        self.settle();
    }

    /// Drops the documents of these entries' rows.
    pub(super) fn remove<'a>(&self, entries: impl IntoIterator<Item = &'a Arc<Entry>>) {
        for entry in entries {
            self.0.invalidate(&entry.pointer.named_task_uuid);
        }
        self.settle();
    }

    /// Drops all documents.
    pub(super) fn clear(&self) {
        self.0.invalidate_all();
        self.settle();
    }

    /// Evicts now, because the cache would otherwise exceed its bound until its next maintenance.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a tier of 2^52 bytes fits in no memory"
    )]
    fn settle(&self) {
        self.0.run_pending_tasks();
        metrics::gauge!(TEMPLATE_LOCAL_BYTES.name).set(self.0.weighted_size() as f64);
        metrics::gauge!(TEMPLATE_LOCAL_ENTRIES.name).set(self.0.entry_count() as f64);
    }
}

/// Estimates the bytes that a document takes: its text, at most as many again for the strings and
/// free parts of its typed view, and the lists of that view.
fn weight(metadata: &HandlerMetadata) -> u32 {
    let bytes = 2 * metadata.document.get().len() + lists(&metadata.template) + OVERHEAD;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Counts list items without their strings. An item of a few characters takes ten times its text.
fn lists(template: &TaskTemplate) -> usize {
    let steps = template.steps.iter().map(|step| {
        size_of::<StepDefinition>()
            + step.dependencies.len() * size_of::<String>()
            + step.publishes_events.len() * size_of::<EventDeclaration>()
            + step.batch_config.iter().len() * size_of::<BatchConfiguration>()
    });
    let systems = template.system_dependencies.iter();
    let secondary = systems.map(|systems| systems.secondary.len() * size_of::<String>());
    steps.chain(secondary).sum::<usize>()
        + template.domain_events.len() * size_of::<DomainEventDefinition>()
}

#[cfg(test)]
mod tests;
