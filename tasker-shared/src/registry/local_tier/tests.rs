use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::DateTime;
use proptest::prelude::*;
use uuid::Uuid;

use super::{GAPS, LocalTier, PASSED, weight};
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::registry::body;
use crate::registry::index::{Change, Entry, Pointer, Snapshot};
use crate::types::{ContentHash, HandlerMetadata};

fn entries(count: usize) -> Vec<Arc<Entry>> {
    let changes = (0..count).map(|number| Change {
        namespace: String::from("payments"),
        name: format!("template_{number:06}"),
        version: String::from("1.0.0"),
        pointer: Some(Pointer {
            sequence: 1,
            hash: ContentHash::from_bytes([7; 32]),
            named_task_uuid: Uuid::nil(),
            identity_strategy: IdentityStrategy::Strict,
            registered_at: DateTime::UNIX_EPOCH,
        }),
    });
    let (snapshot, _gone) = Snapshot::empty().with_changes(changes);
    let mut entries: Vec<_> = snapshot.iter().cloned().collect();
    entries.sort_by(|left, right| left.name().name.cmp(right.name().name));
    entries
}

fn body(entry: &Entry, padding: usize) -> Arc<HandlerMetadata> {
    body_with(entry, &serde_json::json!([]), padding)
}

fn body_with(entry: &Entry, steps: &serde_json::Value, padding: usize) -> Arc<HandlerMetadata> {
    let name = entry.name();
    let document = serde_json::json!({
        "name": name.name, "namespace_name": name.namespace, "version": name.version,
        "steps": steps, "padding": "x".repeat(padding),
    });
    let text: Arc<str> = document.to_string().into();
    Arc::new(body::assemble(name, &entry.pointer, &text.into()).expect("a template"))
}

fn insert(tier: &LocalTier, entry: &Arc<Entry>) {
    tier.insert(entry, body(entry, 0));
}

/// A tier with room for so many bodies without padding.
fn tier_for(bodies: u64) -> LocalTier {
    LocalTier::new(bodies * weight(&body(&entries(1)[0], 0)))
}

fn is_held(entry: &Entry) -> bool {
    LocalTier::peek(entry).is_some()
}

fn held(entries: &[Arc<Entry>]) -> Vec<usize> {
    (0..entries.len())
        .filter(|place| is_held(&entries[*place]))
        .collect()
}

/// What the tier believes that it holds is what it holds, within its bound.
fn assert_sound(tier: &LocalTier, entries: &[Arc<Entry>]) {
    let bodies = tier.lock();
    let held: Vec<_> = entries.iter().filter_map(|e| e.slot.held()).collect();
    assert_eq!(bodies.count, held.len());
    assert_eq!(
        bodies.bytes,
        held.iter().map(|held| held.weight).sum::<u64>()
    );
    assert!(bodies.bytes <= tier.0.max_bytes);
    let mut places = bodies.order.iter().enumerate();
    let is_in_its_place = places.all(|(index, entry)| {
        let held = entry.as_ref().map(|entry| entry.slot.held());
        held.is_none_or(|held| held.is_some_and(|held| held.index.load(Ordering::Relaxed) == index))
    });
    assert!(is_in_its_place);
    assert_eq!(bodies.order.iter().flatten().count(), held.len());
    assert!(bodies.order.len() <= 2 * bodies.count + GAPS);
    assert!(bodies.hand <= bodies.order.len());
}

#[test]
fn what_is_held_twice_weighs_twice() {
    let entries = entries(1);
    let name = entries[0].name();
    let assembled = |callable: &str| {
        let text = format!(r#"{{"name": "a", "task_handler": {{"callable": "{callable}"}}}}"#);
        let text: Arc<str> = text.into();
        body::assemble(name, &entries[0].pointer, &text.into()).expect("a template")
    };
    let short = weight(&assembled("A"));
    let long = "A".repeat(1_001);
    assert!(weight(&assembled(&long)) >= short + 2 * 1_000);
}

#[test]
fn many_short_items_weigh_more_than_a_text_of_the_same_length() {
    let entries = entries(1);
    let dependencies = vec!["a"; 1_000];
    let steps = serde_json::json!([
        {"name": "a", "handler": {"callable": "A"}},
        {"name": "b", "handler": {"callable": "B"}, "dependencies": dependencies},
    ]);
    let items = body_with(&entries[0], &steps, 0);
    let text = body(&entries[0], steps.to_string().len() - "[]".len());
    assert_eq!(items.document.get().len(), text.document.get().len());
    let of_the_strings = 1_000 * u64::try_from(size_of::<String>()).expect("it is small");
    assert!(weight(&items) >= weight(&text) + of_the_strings);
}

#[test]
fn a_body_is_held_until_it_is_removed() {
    let entries = entries(2);
    let tier = tier_for(10);
    assert!(LocalTier::get(&entries[0]).is_none());
    let metadata = body(&entries[0], 0);
    tier.insert(&entries[0], Arc::clone(&metadata));
    insert(&tier, &entries[1]);
    assert!(Arc::ptr_eq(
        &LocalTier::get(&entries[0]).unwrap(),
        &metadata
    ));
    assert_sound(&tier, &entries);
    tier.remove(&entries[0]);
    tier.remove(&entries[0]);
    assert_eq!(held(&entries), [1]);
    assert_sound(&tier, &entries);
    tier.clear();
    assert_eq!(held(&entries), [0; 0]);
    assert_sound(&tier, &entries);
    assert_eq!(Arc::strong_count(&metadata), 1, "nothing else keeps it");
}

#[test]
fn a_body_that_comes_twice_counts_once() {
    let entries = entries(1);
    let tier = tier_for(10);
    insert(&tier, &entries[0]);
    let second = body(&entries[0], 100);
    tier.insert(&entries[0], Arc::clone(&second));
    assert!(Arc::ptr_eq(&LocalTier::get(&entries[0]).unwrap(), &second));
    assert_sound(&tier, &entries);
}

#[test]
fn without_uses_the_oldest_is_dropped_first() {
    let entries = entries(6);
    let tier = tier_for(4);
    for entry in &entries {
        insert(&tier, entry);
        assert_sound(&tier, &entries);
    }
    assert_eq!(held(&entries), [2, 3, 4, 5]);
}

#[test]
fn what_is_used_outlives_many_that_are_used_once() {
    let entries = entries(100);
    let tier = tier_for(4);
    insert(&tier, &entries[0]);
    insert(&tier, &entries[1]);
    for entry in &entries[2..] {
        LocalTier::get(&entries[1]).expect("it is used all the time");
        insert(&tier, entry);
    }
    assert!(!is_held(&entries[0]));
    assert!(is_held(&entries[1]));
    assert_sound(&tier, &entries);
}

#[test]
fn a_use_counts_until_the_hand_has_passed() {
    let entries = entries(7);
    let tier = tier_for(3);
    for entry in &entries[..3] {
        insert(&tier, entry);
    }
    LocalTier::get(&entries[0]).unwrap();
    insert(&tier, &entries[3]);
    assert_eq!(held(&entries), [0, 2, 3]);
    // The hand is behind the first, and goes on from there.
    insert(&tier, &entries[4]);
    assert_eq!(held(&entries), [0, 3, 4]);
    insert(&tier, &entries[5]);
    insert(&tier, &entries[6]);
    assert_eq!(held(&entries), [0, 5, 6]);
    assert_sound(&tier, &entries);
}

#[test]
fn the_hand_does_not_wait_behind_the_newest_for_the_next() {
    let entries = entries(5);
    let tier = tier_for(3);
    for entry in &entries[..3] {
        insert(&tier, entry);
    }
    LocalTier::get(&entries[0]).unwrap();
    LocalTier::get(&entries[1]).unwrap();
    insert(&tier, &entries[3]);
    assert_eq!(held(&entries), [0, 1, 3]);
    insert(&tier, &entries[4]);
    assert_eq!(held(&entries), [1, 3, 4]);
}

#[test]
fn a_look_at_a_body_is_no_use_of_it() {
    let entries = entries(3);
    let tier = tier_for(2);
    insert(&tier, &entries[0]);
    insert(&tier, &entries[1]);
    assert!(LocalTier::peek(&entries[0]).is_some());
    insert(&tier, &entries[2]);
    assert_eq!(held(&entries), [1, 2]);
}

#[test]
fn room_is_made_where_all_are_in_use() {
    let entries = entries(4);
    let tier = tier_for(3);
    for entry in &entries[..3] {
        insert(&tier, entry);
        LocalTier::get(entry).unwrap();
    }
    insert(&tier, &entries[3]);
    assert_eq!(held(&entries), [1, 2, 3]);
    assert_sound(&tier, &entries);
}

#[test]
fn the_hand_passes_so_many_in_use_and_no_more() {
    let entries = entries(PASSED + 3);
    let count = entries.len() - 1;
    let tier = tier_for(count as u64);
    for entry in &entries[..count] {
        insert(&tier, entry);
        LocalTier::get(entry).unwrap();
    }
    insert(&tier, &entries[count]);
    assert!(is_held(&entries[PASSED - 1]) && !is_held(&entries[PASSED]));
    assert_sound(&tier, &entries);
}

#[test]
fn a_large_body_drives_out_several_and_one_that_is_too_large_none() {
    let entries = entries(5);
    let tier = tier_for(3);
    for entry in &entries[..3] {
        insert(&tier, entry);
    }
    let small = weight(&body(&entries[0], 0));
    let padding = usize::try_from(small / 4).unwrap();
    let large = body(&entries[3], padding);
    assert!((small + 1..=2 * small).contains(&weight(&large)));
    tier.insert(&entries[3], large);
    assert_eq!(held(&entries), [2, 3]);
    tier.insert(&entries[4], body(&entries[4], 10 * padding));
    assert_eq!(held(&entries), [2, 3]);
    assert_sound(&tier, &entries);
}

#[test]
fn a_tier_of_no_size_holds_nothing() {
    let entries = entries(1);
    let tier = LocalTier::new(0);
    insert(&tier, &entries[0]);
    assert_eq!(held(&entries), [0; 0]);
    assert_sound(&tier, &entries);
}

#[test]
fn entries_that_are_gone_are_let_go_of() {
    let entries = entries(1_000);
    let tier = tier_for(10_000);
    for entry in &entries {
        insert(&tier, entry);
    }
    for entry in &entries[1..] {
        tier.remove(entry);
        assert_sound(&tier, &entries);
    }
    let kept = entries.iter().filter(|entry| Arc::strong_count(entry) > 1);
    assert_eq!(kept.count(), 1);
}

#[test]
fn free_parts_count_once() {
    let entry = &entries(1)[0];
    let with = |free: usize| {
        let steps = serde_json::json!([{"name": "a", "handler": {"callable": "A",
            "initialization": {"text": "x".repeat(free)}}}]);
        weight(&body_with(entry, &steps, 0))
    };
    assert_eq!(with(10_000), with(0) + 10_000);
}

/// SIEVE without gaps: entries from the oldest to the newest, each with its mark and its weight.
#[derive(Default)]
struct Sieve {
    held: Vec<(usize, bool, u64)>,
    hand: usize,
}

impl Sieve {
    fn insert(&mut self, entry: usize, weight: u64, room: u64) {
        if weight > room {
            return;
        }
        self.remove(entry);
        while self.held.iter().map(|held| held.2).sum::<u64>() + weight > room {
            self.hand %= self.held.len();
            if std::mem::take(&mut self.held[self.hand].1) {
                self.hand += 1;
            } else {
                self.held.remove(self.hand);
            }
        }
        if self.hand >= self.held.len() {
            self.hand = 0;
        }
        self.held.push((entry, false, weight));
    }

    fn get(&mut self, entry: usize) {
        for held in self.held.iter_mut().filter(|held| held.0 == entry) {
            held.1 = true;
        }
    }

    fn remove(&mut self, entry: usize) {
        if let Some(at) = self.held.iter().position(|held| held.0 == entry) {
            self.held.remove(at);
            self.hand -= usize::from(at < self.hand);
        }
    }

    fn entries(&self) -> Vec<usize> {
        let mut entries: Vec<_> = self.held.iter().map(|held| held.0).collect();
        entries.sort_unstable();
        entries
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Insert(usize, usize),
    Get(usize),
    Remove(usize),
    Clear,
}

fn operation(entries: usize) -> impl Strategy<Value = Operation> {
    // Rarely cleared: gaps come together and are closed.
    prop_oneof![
        80 => (0..entries, 0..2_000usize).prop_map(|(entry, pad)| Operation::Insert(entry, pad)),
        80 => (0..entries).prop_map(Operation::Get),
        40 => (0..entries).prop_map(Operation::Remove),
        1 => Just(Operation::Clear),
    ]
}

proptest! {
    #[test]
    fn it_holds_what_sieve_would(
        room in 0..20u64,
        operations in prop::collection::vec(operation(30), 0..500),
    ) {
        let entries = entries(30);
        let tier = tier_for(room);
        let mut sieve = Sieve::default();
        for operation in operations {
            match operation {
                Operation::Insert(entry, padding) => {
                    let metadata = body(&entries[entry], padding);
                    sieve.insert(entry, weight(&metadata), tier.0.max_bytes);
                    tier.insert(&entries[entry], metadata);
                }
                Operation::Get(entry) => {
                    sieve.get(entry);
                    let found = LocalTier::get(&entries[entry]);
                    prop_assert!(found.is_none_or(|body| body.name == entries[entry].name().name));
                }
                Operation::Remove(entry) => {
                    sieve.remove(entry);
                    tier.remove(&entries[entry]);
                }
                Operation::Clear => {
                    sieve = Sieve::default();
                    tier.clear();
                }
            }
            prop_assert_eq!(held(&entries), sieve.entries());
            assert_sound(&tier, &entries);
        }
    }
}

/// Tells others that it is over, however it ends.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn threads_that_read_and_write_at_once_find_it_sound() {
    let entries = entries(24);
    let tier = tier_for(8);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = Done(&over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for entry in &entries {
                        let found = LocalTier::get(entry);
                        assert!(found.is_none_or(|body| body.name == entry.name().name));
                    }
                    assert_sound(&tier, &entries);
                }
            });
        }
        let writers: Vec<_> = (1..4)
            .map(|step| {
                let (tier, entries) = (&tier, &entries);
                scope.spawn(move || {
                    for round in 0..3_000 {
                        let entry = &entries[round * step % entries.len()];
                        match round % 500 {
                            0 => tier.clear(),
                            other if other % 5 == 0 => tier.remove(entry),
                            _ => insert(tier, entry),
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("a writer");
        }
        drop(done);
    });
    assert_sound(&tier, &entries);
}
