use std::sync::Arc;

use chrono::DateTime;
use uuid::Uuid;

use super::{LocalTier, weight};
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::registry::index::{Change, Entry, Pointer, Snapshot};
use crate::registry::resolution::assemble;
use crate::types::{ContentHash, HandlerMetadata};

/// Entries of as many templates, each with a row of its own.
fn entries(count: u128) -> Vec<Arc<Entry>> {
    let changes = (0..count).map(|number| Change {
        namespace: String::from("payments"),
        name: format!("template_{number:06}"),
        version: String::from("1.0.0"),
        pointer: Some(Pointer {
            sequence: 1,
            hash: ContentHash::from_bytes([7; 32]),
            named_task_uuid: Uuid::from_u128(number),
            identity_strategy: IdentityStrategy::Strict,
            registered_at: DateTime::UNIX_EPOCH,
        }),
    });
    let snapshot = Snapshot::empty().with_changes(changes);
    snapshot.iter().cloned().collect()
}

fn metadata(entry: &Entry, steps: &serde_json::Value, padding: usize) -> Arc<HandlerMetadata> {
    let name = entry.name();
    let document = serde_json::json!({
        "name": name.name, "namespace_name": name.namespace, "version": name.version,
        "steps": steps, "padding": "x".repeat(padding),
    });
    Arc::new(assemble(name, &entry.pointer, document.to_string().into()).expect("a template"))
}

fn small(entry: &Entry) -> Arc<HandlerMetadata> {
    metadata(entry, &serde_json::json!([]), 0)
}

fn held(tier: &LocalTier, entries: &[Arc<Entry>]) -> usize {
    let is_held = |entry: &&Arc<Entry>| tier.get(entry).is_some();
    entries.iter().filter(is_held).count()
}

#[test]
fn a_document_is_held_until_it_is_removed() {
    let entries = entries(2);
    let tier = LocalTier::new(1 << 20);
    let document = small(&entries[0]);
    tier.insert(&entries[0], Arc::clone(&document));
    tier.insert(&entries[1], small(&entries[1]));
    assert!(Arc::ptr_eq(&tier.get(&entries[0]).unwrap(), &document));
    tier.remove([&entries[0]]);
    assert!(tier.get(&entries[0]).is_none() && tier.get(&entries[1]).is_some());
    tier.clear();
    assert!(tier.get(&entries[1]).is_none());
    tier.insert(&entries[1], small(&entries[1]));
    assert!(tier.get(&entries[1]).is_some(), "a cleared tier is usable");
}

#[test]
fn a_document_is_returned_for_its_own_entry_only_and_replaced_by_the_next() {
    // Two entries of one row: the template was registered anew.
    let (old, new) = (entries(1), entries(1));
    let tier = LocalTier::new(1 << 20);
    tier.insert(&old[0], small(&old[0]));
    assert!(tier.get(&new[0]).is_none());
    tier.insert(&new[0], small(&new[0]));
    assert!(tier.get(&old[0]).is_none() && tier.get(&new[0]).is_some());
    assert_eq!(tier.0.entry_count(), 1);
    // A late load of the old document costs the new one a load, and is never used.
    tier.insert(&old[0], small(&old[0]));
    assert!(tier.get(&new[0]).is_none());
}

#[test]
fn the_tier_stays_within_its_bound() {
    let entries = entries(500);
    let one = u64::from(weight(&small(&entries[0])));
    let tier = LocalTier::new(10 * one);
    for entry in &entries {
        tier.insert(entry, small(entry));
        assert!(tier.0.weighted_size() <= 10 * one);
    }
    assert!(held(&tier, &entries) >= 1);
}

#[test]
fn a_document_that_is_larger_than_the_tier_is_not_held_and_drives_none_out() {
    let entries = entries(2);
    let tier = LocalTier::new(2 * u64::from(weight(&small(&entries[0]))));
    tier.insert(&entries[0], small(&entries[0]));
    let steps = serde_json::json!([]);
    tier.insert(&entries[1], metadata(&entries[1], &steps, 1 << 20));
    assert!(tier.get(&entries[0]).is_some() && tier.get(&entries[1]).is_none());
    let empty = LocalTier::new(0);
    empty.insert(&entries[0], small(&entries[0]));
    assert!(empty.get(&entries[0]).is_none());
}

#[test]
fn documents_in_use_survive_many_that_are_used_once() {
    let entries = entries(1_000);
    let (used, others) = entries.split_at(5);
    let tier = LocalTier::new(20 * u64::from(weight(&small(&entries[0]))));
    for entry in used {
        tier.insert(entry, small(entry));
    }
    for entry in others {
        for used in used {
            tier.get(used);
        }
        tier.insert(entry, small(entry));
    }
    assert_eq!(held(&tier, used), used.len());
}

#[test]
fn many_short_items_weigh_more_than_a_text_of_the_same_length() {
    let entries = entries(1);
    let steps = serde_json::json!([
        {"name": "a", "handler": {"callable": "A"}},
        {"name": "b", "handler": {"callable": "B"}, "dependencies": vec!["a"; 1_000]},
    ]);
    let items = metadata(&entries[0], &steps, 0);
    let padding = steps.to_string().len() - "[]".len();
    let text = metadata(&entries[0], &serde_json::json!([]), padding);
    assert_eq!(items.document.get().len(), text.document.get().len());
    let strings = 1_000 * u32::try_from(size_of::<String>()).expect("it is small");
    assert!(weight(&items) >= weight(&text) + strings);
}
