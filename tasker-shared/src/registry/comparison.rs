//! Compares what is cached with the database, now and then, one template at a time.
//!
//! A difference that outlives the bound must not exist. If one does, this is what finds it: the
//! metric `tasker_template_cache_mismatch_total` then leaves 0.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::error;

use super::index::{Entry, Moment, PollReason};
use super::local_tier::LocalTier;
use super::tiers::Tiers;
use super::{body, inspection};
use crate::metrics::{TEMPLATE_CACHE_COMPARISONS, TEMPLATE_CACHE_MISMATCH};

/// The pause between two comparisons.
const PAUSE: Duration = Duration::from_secs(10);

/// Compares a template that is picked at random, again and again.
pub(super) async fn run(tiers: Arc<Tiers>) {
    loop {
        sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
        let snapshot = tiers.index.snapshot_now();
        let Some(entry) = pick(&snapshot.iter().collect::<Vec<_>>()) else {
            continue;
        };
        if let Some(agrees) = compare(&tiers, &entry).await {
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
}

fn pick(entries: &[&Arc<Entry>]) -> Option<Arc<Entry>> {
    if entries.is_empty() {
        return None;
    }
    Some(Arc::clone(entries[rand::random_range(0..entries.len())]))
}

/// Whether directory and local body of `entry` agree with the database. `None` when that cannot
/// be told: the database does not answer, or moves on meanwhile.
pub(super) async fn compare(tiers: &Tiers, entry: &Arc<Entry>) -> Option<bool> {
    let Tiers {
        connections, index, ..
    } = tiers;
    let name = entry.name();
    let body_agrees = LocalTier::peek(entry).is_none_or(|(metadata, _age)| {
        inspection::content_hash(metadata.document.get()) == entry.pointer.hash
    });
    let stored = body::load(connections, name).await.ok()?;
    // What the database has said by now is in the directory after a poll that is sent now.
    index
        .poll_sent_after(Moment::now(), PollReason::Timer)
        .await
        .ok()?;
    let snapshot = index.snapshot_now();
    let known = snapshot.get(name).map(|entry| &entry.pointer);
    let pointer_agrees = match (known, stored.as_ref().map(|stored| &stored.pointer)) {
        (Some(known), Some(stored)) if known.sequence > stored.sequence => return None,
        (known, stored) => known == stored,
    };
    if !pointer_agrees {
        // Changed between the two looks? Then a second one settles it.
        let again = body::load(connections, name).await.ok()?;
        if again.map(|again| again.pointer) != stored.map(|stored| stored.pointer) {
            return None;
        }
    }
    Some(body_agrees && pointer_agrees)
}
