use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::value::to_raw_value;
use tasker_shared::types::{ContentHash, HandlerMetadata};
use uuid::Uuid;

use super::ResolvedCache;
use crate::worker::test_support::metadata;

fn cache(max_entries: u64) -> ResolvedCache {
    ResolvedCache::new(max_entries)
}

fn named(name: &str) -> Arc<HandlerMetadata> {
    Arc::new(metadata(name, 1, 1))
}

#[test]
fn an_empty_cache_says_so() {
    let stats = cache(10).stats(vec!["billing".into()], Instant::now());

    assert_eq!(stats.total_cached, 0);
    assert_eq!(stats.cache_hits + stats.cache_misses, 0);
    assert_eq!(stats.cache_evictions, 0);
    assert_eq!(stats.oldest_entry_age_seconds, 0);
    assert_eq!(stats.average_access_count.to_bits(), 0);
    assert_eq!(stats.supported_namespaces, ["billing"]);
}

#[test]
fn statistics_tell_what_a_sequence_of_look_ups_did() {
    let cache = cache(10);
    let start = Instant::now();
    let (first, second) = (named("first"), named("second"));

    assert!(cache.lookup(&first, start).is_none());
    let made = cache.insert(Arc::clone(&first), None, start);
    assert!(!made.cached);
    assert_eq!((made.age, made.access_count), (Duration::ZERO, 1));

    let later = start + Duration::from_secs(5);
    let hit = cache.lookup(&first, later).expect("it is held");
    assert!(hit.cached);
    assert_eq!((hit.age, hit.access_count), (Duration::from_secs(5), 2));
    assert!(cache.lookup(&first, later).is_some());

    assert!(cache.lookup(&second, later).is_none());
    cache.insert(second, None, later);

    let stats = cache.stats(Vec::new(), start + Duration::from_secs(7));
    assert_eq!(stats.total_cached, 2);
    assert_eq!((stats.cache_hits, stats.cache_misses), (2, 2));
    assert_eq!(stats.cache_evictions, 0);
    assert_eq!(stats.oldest_entry_age_seconds, 7);
    assert_eq!(stats.average_access_count.to_bits(), 2.0_f64.to_bits());
}

#[test]
fn an_entry_made_from_another_hash_or_sequence_is_a_miss_and_is_replaced() {
    let cache = cache(10);
    let now = Instant::now();
    cache.insert(Arc::new(metadata("task", 1, 1)), None, now);

    let changed = Arc::new(metadata("task", 2, 2));
    assert!(cache.lookup(&changed, now).is_none());
    cache.insert(Arc::clone(&changed), None, now);
    assert!(cache.lookup(&changed, now).is_some());

    let registered_again = metadata("task", 2, 3);
    assert!(cache.lookup(&registered_again, now).is_none());

    let stats = cache.stats(Vec::new(), now);
    assert_eq!(stats.total_cached, 1);
    assert_eq!((stats.cache_hits, stats.cache_misses), (1, 2));
    assert_eq!(stats.cache_evictions, 0, "a replacement is no eviction");
}

#[test]
fn an_entry_of_another_row_or_time_is_a_miss_although_hash_and_position_are_the_same() {
    let cache = cache(10);
    let now = Instant::now();
    let held = metadata("task", 1, 1);
    cache.insert(Arc::new(held.clone()), None, now);
    // The database was made anew.
    for other in [
        HandlerMetadata {
            named_task_uuid: Uuid::max(),
            ..held.clone()
        },
        HandlerMetadata {
            registered_at: DateTime::<Utc>::MAX_UTC,
            ..held.clone()
        },
    ] {
        assert!(cache.lookup(&other, now).is_none());
    }
    assert!(cache.lookup(&held, now).is_some());
}

#[test]
fn a_late_caller_with_an_old_pointer_cannot_make_the_current_one_hit_an_old_body() {
    let cache = cache(10);
    let now = Instant::now();
    let (old, current) = (metadata("task", 1, 1), metadata("task", 2, 2));
    cache.insert(Arc::new(current.clone()), None, now);
    cache.insert(Arc::new(old), None, now);

    assert!(cache.lookup(&current, now).is_none());
}

#[test]
fn the_least_recently_used_entry_makes_room_and_is_counted() {
    let cache = cache(2);
    let now = Instant::now();
    for name in ["kept", "unused"] {
        cache.insert(named(name), None, now);
    }
    cache.entries.run_pending_tasks();
    assert!(cache.lookup(&named("kept"), now).is_some());
    cache.insert(named("new"), None, now);

    let stats = cache.stats(Vec::new(), now);
    assert_eq!(stats.total_cached, 2);
    assert_eq!(stats.cache_evictions, 1);
    assert!(cache.lookup(&named("kept"), now).is_some());
    assert!(cache.lookup(&named("new"), now).is_some());
    assert!(cache.lookup(&named("unused"), now).is_none());
}

#[test]
fn names_that_join_to_the_same_text_are_different_entries() {
    let cache = cache(10);
    let now = Instant::now();
    let with = |namespace: &str, name: &str| HandlerMetadata {
        namespace: namespace.into(),
        ..metadata(name, 1, 1)
    };
    cache.insert(Arc::new(with("a", "bc")), None, now);

    assert!(cache.lookup(&with("ab", "c"), now).is_none());
    assert!(cache.lookup(&with("a", "bc"), now).is_some());
}

#[test]
fn removing_and_clearing_tell_what_was_there_and_are_no_evictions() {
    let cache = cache(10);
    let now = Instant::now();
    for name in ["a", "b", "c"] {
        cache.insert(named(name), None, now);
    }
    assert!(cache.remove("namespace", "a", "1.0.0"));
    assert!(!cache.remove("namespace", "a", "1.0.0"));
    assert_eq!(cache.clear(), 2);
    assert_eq!(cache.clear(), 0);

    let stats = cache.stats(Vec::new(), now);
    assert_eq!((stats.total_cached, stats.cache_evictions), (0, 0));
}

#[test]
fn retain_drops_what_is_refused() {
    let cache = cache(10);
    let now = Instant::now();
    cache.insert(Arc::new(metadata("old", 1, 1)), None, now);
    cache.insert(Arc::new(metadata("current", 2, 2)), None, now);

    let current = ContentHash::from_bytes([2; 32]);
    let dropped = cache.retain(|held| held.hash == current);
    assert_eq!(dropped.len(), 1);
    assert_eq!(dropped[0].name, "old");
    assert!(cache.lookup(&metadata("current", 2, 2), now).is_some());
    assert!(cache.lookup(&metadata("old", 1, 1), now).is_none());
}

#[test]
fn the_document_is_the_registered_one_unless_it_is_overridden() {
    let cache = cache(10);
    let now = Instant::now();
    let plain = cache.insert(named("plain"), None, now);
    assert_eq!(
        plain.template.document().get(),
        plain.template.metadata().document.get()
    );

    let document = to_raw_value(&serde_json::json!({"overridden": true})).unwrap();
    let overridden = cache.insert(named("overridden"), Some(document.into()), now);
    assert_eq!(
        overridden.template.document().get(),
        r#"{"overridden":true}"#
    );
}
