//! Compares a cached template with the database, now and then.
//!
//! A difference that outlives the bound would be a fault of this software, or a row that was written
//! with triggers off. The metric `tasker_template_cache_mismatch_total` counts them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::error;

use super::database_tier;
use super::index::{Entry, Moment, PollReason, TemplateIndex};
use super::local_tier::LocalTier;
use crate::database::PoolShare;
use crate::metrics::{TEMPLATE_CACHE_COMPARISONS, TEMPLATE_CACHE_MISMATCH};
use crate::types::ContentHash;

/// The mean pause between two comparisons.
const PAUSE: Duration = Duration::from_secs(10);

/// Compares one template, picked at random, again and again while templates are resolved.
pub(super) async fn run(pool: PoolShare, index: Arc<TemplateIndex>, local: LocalTier) {
    loop {
        sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
        if !index.is_in_use() {
            continue;
        }
        let Some(entry) = pick(&index) else { continue };
        let Some(agrees) = compare(&pool, &index, &local, &entry).await else {
            continue;
        };
        metrics::counter!(TEMPLATE_CACHE_COMPARISONS.name).increment(1);
        if !agrees {
            metrics::counter!(TEMPLATE_CACHE_MISMATCH.name).increment(1);
            let name = entry.name();
            error!(
                namespace = name.namespace,
                name = name.name,
                version = name.version,
                sequence = entry.pointer.sequence,
                hash = %entry.pointer.hash,
                "the cache disagrees with the database; report this, and restart the process"
            );
        }
    }
}

fn pick(index: &TemplateIndex) -> Option<Arc<Entry>> {
    let snapshot = index.snapshot_now();
    if snapshot.len() == 0 {
        return None;
    }
    let number = rand::random_range(0..snapshot.len());
    snapshot.iter().nth(number).cloned()
}

/// Returns whether the index and the local document of `entry` agree with the database. Returns
/// `None` if the database does not answer, or changes meanwhile.
async fn compare(
    pool: &PoolShare,
    index: &TemplateIndex,
    local: &LocalTier,
    entry: &Entry,
) -> Option<bool> {
    let name = entry.name();
    let document_agrees = local
        .get(entry)
        .is_none_or(|metadata| ContentHash::of(metadata.document.get()) == entry.pointer.hash);
    let stored = database_tier::load(pool, name).await.ok()?;
    let stored = stored.map(|stored| stored.pointer);
    // A poll that is sent now brings whatever that statement has seen into the index.
    index
        .poll_sent_after(Moment::now(), PollReason::Timer)
        .await
        .ok()?;
    let snapshot = index.snapshot_now();
    let known = snapshot.get(name).map(|entry| &entry.pointer);
    let pointer_agrees = match (known, &stored) {
        (Some(known), Some(stored)) if known.sequence > stored.sequence => return None,
        (known, stored) => known == stored.as_ref(),
    };
    if !pointer_agrees {
        // The name may have changed between the two; then a second look finds another pointer.
        let again = database_tier::load(pool, name).await.ok()?;
        if again.map(|again| again.pointer) != stored {
            return None;
        }
    }
    Some(document_agrees && pointer_agrees)
}
