use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use quoit_proto_types::version::{EntryKind, Stamp, Version};
use quoit_proto_types::{Boot, Fence, Ordinal, SlotCount, SlotIndex};

use super::super::entry::Record;
use super::super::eviction::EvictionPolicy;
use super::super::merge::Origin;
use super::super::sharded::StoreConfig;
use super::*;
use crate::planted::data::DataPlanted;

const NOW: Wall = Wall::from_millis(1_000_000);
const MIB: usize = 1 << 20;
const SLOTS: SlotCount = SlotCount::from_log2(4).unwrap();

/// Of 16 shards.
fn store(seed: u64) -> Store {
    store_of(256 * MIB, seed)
}

fn store_of(memory_limit_bytes: usize, seed: u64) -> Store {
    let (policy, planted) = (EvictionPolicy::default(), DataPlanted::NOTHING);
    let store = Store::new(StoreConfig { memory_limit_bytes, value_bytes_max: MIB, policy, seed, planted });
    assert!(store.prepare(SLOTS));
    store
}

fn stamp(hlc: u64) -> Stamp {
    let version = Version { hlc: Hlc::new(hlc), ordinal: Ordinal::new(1), boot: Boot::new(1) };
    Stamp::value(version, 0)
}

fn apply(store: &Store, key: u32, stamp: Stamp) {
    let record = Record::new(&key.to_be_bytes(), &[7; 50]);
    store.apply(NOW, Fence::default(), Origin::Write, stamp, record).unwrap();
}

fn slot_of(key: u32) -> SlotIndex {
    SLOTS.slot_of(quoit_proto_types::HashPoint::of_key(quoit_proto_types::KeyspaceId::DEFAULT, &key.to_be_bytes()))
}

fn some_slots() -> SlotSet {
    SlotSet::of(SLOTS, |slot| slot.index() % 3 == 1)
}

fn keys(block: &EntryBlock) -> Vec<u32> {
    block.entries().map(|entry| u32::from_be_bytes(entry.unwrap().key.try_into().unwrap())).collect()
}

/// The keys of a whole walk, page by page; `between` runs after each page.
fn pull_all(store: &Store, slots: &SlotSet, bytes_max: usize, mut between: impl FnMut()) -> Vec<u32> {
    let mut from = Cursor::default();
    let mut all = Vec::new();
    loop {
        let (block, next) = store.pull(NOW, slots, from, bytes_max);
        all.extend(keys(&block));
        between();
        match next {
            Some(next) => {
                assert!(next > from, "a walk goes on");
                from = next;
            }
            None => return all,
        }
    }
}

#[test]
fn a_walk_meets_every_entry_of_its_slots_once() {
    let store = store(7);
    (0..3000).for_each(|key| apply(&store, key, stamp(1)));
    (0..500).for_each(|key| apply(&store, key, Stamp { kind: EntryKind::Tombstone, ..stamp(2) }));
    let slots = some_slots();
    let expected: Vec<u32> = (0..3000).filter(|key| slots.contains(slot_of(*key))).collect();
    for bytes_max in [1, 1000, 10_000, MIB] {
        let mut met = pull_all(&store, &slots, bytes_max, || ());
        met.sort_unstable();
        assert_eq!(met, expected, "in pages of {bytes_max} bytes");
    }
}

#[test]
fn a_new_walk_meets_what_came_since_the_last_one() {
    // Of one shard, whose list is remembered for sure.
    let store = store_of(9 * MIB, 7);
    assert_eq!(store.shards_count(), 1);
    let all = SlotSet::of(SLOTS, |_| true);
    for count in [0, 1, 100, 200] {
        (0..count).for_each(|key| apply(&store, key, stamp(1)));
        assert_eq!(pull_all(&store, &all, 1000, || ()).len(), count as usize);
    }
}

#[test]
fn a_page_is_as_long_as_asked_and_one_entry_more_at_most() {
    let store = store(7);
    (0..3000).for_each(|key| apply(&store, key, stamp(1)));
    let (block, next) = store.pull(NOW, &some_slots(), Cursor::default(), 1000);
    assert!((1000..1100).contains(&block.as_bytes().len()), "{}", block.as_bytes().len());
    assert!(next.is_some());
}

#[test]
fn a_list_tells_what_a_pull_brings_and_a_fetch_brings_what_is_listed() {
    let store = store(7);
    (0..1000).for_each(|key| apply(&store, key, stamp(1 + u64::from(key))));
    let slots = some_slots();
    let mut listed = BTreeMap::new();
    let mut from = Some(Cursor::default());
    while let Some(cursor) = from {
        let (known, next) = store.list(&slots, cursor, 17);
        assert!(known.len() <= 17);
        listed.extend(known.iter().map(|known| (known.key, (known.stamp, known.handle))));
        from = next;
    }
    let expected = (0..1000).filter(|key| slots.contains(slot_of(*key)));
    let expected: BTreeMap<u128, Stamp> =
        expected.map(|key| (key_hash(&key.to_be_bytes()), stamp(1 + u64::from(key)))).collect();
    assert_eq!(listed.iter().map(|(key, (stamp, _))| (*key, *stamp)).collect::<BTreeMap<_, _>>(), expected);

    let handles: Vec<Handle> = listed.values().map(|(_, handle)| *handle).chain([Handle(1)]).collect();
    let fetched = store.fetch(&handles, MIB);
    let keys: BTreeSet<u128> = keys(&fetched).iter().map(|key| key_hash(&key.to_be_bytes())).collect();
    assert!(keys.iter().eq(expected.keys()));
    let some = store.fetch(&handles, 500);
    assert!((500..600).contains(&some.as_bytes().len()));
}

#[test]
fn what_expires_is_handed_on_as_a_tombstone() {
    let store = store(7);
    apply(&store, 1, Stamp { expires_at_ms: NOW.as_millis() + 1, ..stamp(1) });
    let all = SlotSet::of(SLOTS, |_| true);
    let (block, _) = store.pull(NOW.saturating_add(std::time::Duration::from_millis(1)), &all, Cursor::default(), MIB);
    let entries: Vec<_> = block.entries().map(Result::unwrap).collect();
    assert_eq!((entries.len(), entries[0].stamp.kind, entries[0].value), (1, EntryKind::Tombstone, &b""[..]));
}

#[test]
fn a_walk_under_change_misses_nothing_that_stays() {
    let store = store(7);
    (0..4000).for_each(|key| apply(&store, key, stamp(1)));
    let done = AtomicBool::new(false);
    let slots = some_slots();
    // The even ones stay, the odd ones are deleted and written anew while the walk runs, and others come and go.
    let met: BTreeSet<u32> = thread::scope(|scope| {
        for part in 0..2 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                for round in (2..).step_by(2).take_while(|_| !done.load(Ordering::Relaxed)) {
                    for key in (1..6000).step_by(2).filter(|key| key % 4 == 2 * part + 1) {
                        apply(store, key, Stamp { kind: EntryKind::Tombstone, ..stamp(round) });
                        apply(store, key, stamp(round + 1));
                    }
                }
            });
        }
        let met = pull_all(&store, &slots, 600, thread::yield_now).into_iter().collect();
        done.store(true, Ordering::Relaxed);
        met
    });
    let missed = (0..4000).step_by(2).filter(|key| slots.contains(slot_of(*key)) && !met.contains(key));
    assert_eq!(missed.count(), 0);
}

#[test]
fn walks_beside_each_other_do_not_disturb_each_other() {
    let store = store(7);
    (0..500).for_each(|key| apply(&store, key, stamp(1)));
    let all: Vec<SlotSet> = (0..16).map(|n| SlotSet::of(SLOTS, |slot| slot.index() != n)).collect();
    let mut cursors = vec![Some(Cursor::default()); all.len()];
    let mut met = vec![Vec::new(); all.len()];
    let mut added = 500;
    // More than are remembered.
    while cursors.iter().any(Option::is_some) {
        for ((slots, from), met) in all.iter().zip(&mut cursors).zip(&mut met) {
            if let Some(cursor) = *from {
                let (block, next) = store.pull(NOW, slots, cursor, 2000);
                met.extend(keys(&block));
                *from = next;
            }
        }
        apply(&store, added, stamp(1));
        added += 1;
    }
    for (slots, met) in all.iter().zip(met) {
        let met: BTreeSet<u32> = met.into_iter().collect();
        assert!((0..500).filter(|key| slots.contains(slot_of(*key))).all(|key| met.contains(&key)));
    }
}

#[test]
fn a_cursor_from_nowhere_ends_the_walk() {
    let store = store(7);
    apply(&store, 1, stamp(1));
    let all = SlotSet::of(SLOTS, |_| true);
    for shard in [16, u32::MAX] {
        let from = Cursor { shard, after: Some(Handle(1)) };
        assert_eq!(store.pull(NOW, &all, from, MIB), (EntryBlock::default(), None));
    }
}

#[test]
fn digests_agree_between_stores_and_tell_entries_up_to_a_moment() {
    let (one, other) = (store(7), store(8));
    (0..500).for_each(|key| apply(&one, key, stamp(1 + u64::from(key))));
    (0..300).rev().for_each(|key| apply(&other, key, stamp(1 + u64::from(key))));
    let slots = some_slots();
    assert_eq!(one.digests_until(&slots, Hlc::new(300)), other.digests_until(&slots, Hlc::new(400)));
    assert_ne!(one.digests_until(&slots, Hlc::new(301)), one.digests_until(&slots, Hlc::new(400)));
    let all: Vec<Digest> = slots.iter().map(|slot| one.summary(slot).digest).collect();
    assert_eq!(one.digests_until(&slots, Hlc::new(500)), all);
}

#[test]
fn what_is_pulled_and_applied_makes_stores_equal() {
    let (one, other) = (store(7), store(8));
    (0..500).for_each(|key| apply(&one, key, stamp(1 + u64::from(key))));
    (200..900).for_each(|key| apply(&other, key, stamp(1000 - u64::from(key))));
    let all = SlotSet::of(SLOTS, |_| true);
    for (from, to) in [(&one, &other), (&other, &one)] {
        let (block, next) = from.pull(NOW, &all, Cursor::default(), MIB);
        assert_eq!(next, None);
        for entry in block.entries().map(Result::unwrap) {
            let record = Record::new(entry.key, entry.value);
            to.apply(NOW, Fence::default(), Origin::Handoff, entry.stamp, record).unwrap();
        }
    }
    assert!(SLOTS.slots().all(|slot| one.summary(slot) == other.summary(slot)));
    assert_eq!(one.stats().entries, 900);
}
