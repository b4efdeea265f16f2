use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use quoit_proto_types::version::Version;
use quoit_proto_types::{Boot, Ordinal};

use super::super::expiry::Expiry;
use super::super::slots::key_hash;
use super::*;

const NOW: Wall = Wall::from_millis(1_000_000);
const FENCE: Fence = Fence::new(1);
const MIB: usize = 1 << 20;

fn unprepared(memory_limit_bytes: usize, value_bytes_max: usize) -> Store {
    let policy = EvictionPolicy::default();
    Store::new(StoreConfig { memory_limit_bytes, value_bytes_max, policy, seed: 7, planted: DataPlanted::NOTHING })
}

fn store(memory_limit_bytes: usize, value_bytes_max: usize) -> Store {
    let store = unprepared(memory_limit_bytes, value_bytes_max);
    assert!(store.prepare(SlotCount::DEFAULT));
    (0..store.shards_count()).for_each(|shard| store.seal(shard, FENCE));
    store
}

fn version(hlc: u64) -> Version {
    Version { hlc: Hlc::new(hlc), ordinal: Ordinal::new(1), boot: Boot::new(1) }
}

fn set(store: &Store, hlc: u64, key: &[u8], value: &[u8], expiry: Expiry) -> Result<Applied, ApplyError> {
    let stamp = Stamp::value(version(hlc), expiry.expires_at_ms(NOW));
    store.apply(NOW, FENCE, Origin::Write, stamp, Record::new(key, value))
}

fn delete(store: &Store, hlc: u64, key: &[u8]) -> Result<Applied, ApplyError> {
    store.apply(NOW, FENCE, Origin::Write, Stamp::tombstone(version(hlc)), Record::new(key, b""))
}

fn value(store: &Store, now: Wall, key: &[u8]) -> Option<Vec<u8>> {
    let read = |entry: Option<&Entry>| entry.filter(|entry| entry.is_live(now)).map(|entry| entry.value().to_vec());
    store.get_with(now, FENCE, key, read).unwrap()
}

fn ttl(store: &Store, now: Wall, key: &[u8]) -> Option<Expiry> {
    let read = |entry: Option<&Entry>| entry.filter(|entry| entry.is_live(now)).map(|entry| entry.remaining(now));
    store.peek_with(now, FENCE, key, read).unwrap()
}

#[test]
fn every_operation_finds_the_shard_of_its_key() {
    let store = store(64 * MIB, 1024);
    let later = NOW.saturating_add(Duration::from_secs(4));
    let stored = |was_live| Ok(Applied::Stored { was_live });
    for key in (0..1000_u32).map(u32::to_be_bytes) {
        assert_eq!(set(&store, 1, &key, &key, Expiry::Never), stored(false));
        assert_eq!(set(&store, 2, &key, b"2", Expiry::After(Duration::from_secs(9))), stored(true));
        assert_eq!(value(&store, NOW, &key), Some(b"2".to_vec()));
        assert_eq!(ttl(&store, later, &key), Some(Expiry::After(Duration::from_secs(5))));
        assert_eq!(delete(&store, 3, &key), stored(true));
        assert_eq!((value(&store, NOW, &key), ttl(&store, NOW, &key)), (None, None));
        assert_eq!(delete(&store, 4, &key), stored(false));
    }
    let stats = store.stats();
    assert_eq!((stats.hits, stats.misses, stats.sets, stats.deletes), (1000, 1000, 2000, 1000));
    assert_eq!((stats.entries, stats.tombstones, stats.tombstones_lost), (0, 1000, 0));
}

#[test]
fn a_store_without_slots_serves_nobody() {
    let store = unprepared(MIB, 1024);
    let moved = FenceMoved { at: Fence::default() };
    assert_eq!(set(&store, 1, b"key", b"value", Expiry::Never), Err(moved.into()));
    assert_eq!(store.get_with(NOW, Fence::default(), b"key", |_| ()), Err(moved));
    assert_eq!(store.peek_with(NOW, Fence::default(), b"key", |_| ()), Err(moved));
    assert_eq!((store.expire(NOW, 1), store.next_deadline(), store.stats()), (0, None, ShardStats::default()));
    store.clear();
    assert!(store.prepare(SlotCount::DEFAULT));
    assert!(store.prepare(SlotCount::DEFAULT));
    assert!(!store.prepare(SlotCount::from_log2(4).unwrap()));
}

#[test]
fn a_sealed_shard_serves_its_fence_only() {
    let store = store(256 * MIB, MIB);
    (0..store.shards_count()).for_each(|shard| store.seal(shard, FENCE.next()));
    let moved = FenceMoved { at: FENCE.next() };
    for key in (0..100_u32).map(u32::to_be_bytes) {
        assert_eq!(set(&store, 1, &key, b"", Expiry::Never), Err(moved.into()));
        assert_eq!(store.get_with(NOW, FENCE, &key, |_| ()), Err(moved));
        assert_eq!(store.peek_with(NOW, FENCE, &key, |_| ()), Err(moved));
        assert_eq!(store.get_with(NOW, FENCE.next(), &key, |entry| entry.is_none()), Ok(true));
    }
}

#[test]
fn shards_are_few_enough_to_hold_several_of_the_largest_values() {
    for (memory, value, shards) in [
        (MIB, MIB, 1),
        (9 * MIB, MIB, 1),
        (256 * MIB, MIB, 16),
        (1024 * MIB, MIB, 64),
        (1024 * MIB, 16 * MIB, 4),
        (64 * 1024 * MIB, MIB, 1024),
        (64 * MIB, 1024, 64),
        (0, 0, 1),
    ] {
        assert_eq!(shard_count(memory, value), shards, "{memory} bytes of memory, values to {value} bytes");
    }
}

#[test]
fn keys_spread_over_the_shards() {
    let store = store(256 * MIB, MIB);
    (0..16_000_u32).for_each(|key| {
        set(&store, 1, &key.to_be_bytes(), b"", Expiry::Never).unwrap();
    });
    let entries: Vec<usize> = store.shards().map(|shard| shard.stats().entries).collect();
    assert_eq!(entries.len(), 16);
    assert!(entries.iter().all(|entries| (850..1150).contains(entries)), "{entries:?}");
}

#[test]
fn threads_never_exceed_the_limit_together_and_leave_exact_sums() {
    let store = store(32 * MIB, 64 * 1024);
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let store = &store;
            scope.spawn(move || {
                for key in 0..20_000_u32 {
                    let value = &[1; 9001][..key as usize % 9001];
                    let key = [key.to_be_bytes(), thread.to_be_bytes()].concat();
                    set(store, 1, &key, value, Expiry::Never).unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert!(stats.bytes <= store.memory_limit_bytes());
    assert!(stats.bytes > store.memory_limit_bytes() / 10 * 9, "{stats:?}");
    assert_eq!(stats.entries as u64 + stats.evictions, stats.sets);
    let entries: usize = SlotCount::DEFAULT.slots().map(|slot| store.summary(slot).entries as usize).sum();
    assert_eq!(entries, stats.entries);
    let all = SlotSet::of(SlotCount::DEFAULT, |_| true);
    let digests = store.digests_until(&all, Hlc::new(u64::MAX));
    assert!(all.iter().zip(digests).all(|(slot, digest)| store.summary(slot).digest == digest));
    store.clear();
    assert!(all.iter().all(|slot| store.summary(slot) == SlotSummary::default()));
}

#[test]
fn a_value_for_which_no_shard_has_room_is_refused() {
    let store = store(MIB, 16 * MIB);
    set(&store, 1, b"key", b"small", Expiry::Never).unwrap();
    let refused = set(&store, 2, b"key", &vec![0; 2 * MIB], Expiry::Never);
    assert!(matches!(refused, Err(ApplyError::TooLarge(_))), "{refused:?}");
    assert_eq!(value(&store, NOW, b"key"), Some(b"small".to_vec()));
}

#[test]
fn expiry_works_in_portions_and_reaches_every_shard() {
    let store = store(256 * MIB, MIB);
    (0..1000_u32).for_each(|key| {
        set(&store, 1, &key.to_be_bytes(), b"", Expiry::After(Duration::from_secs(1))).unwrap();
    });
    let deadline = NOW.saturating_add(Duration::from_secs(1));
    assert!(store.next_deadline().is_some_and(|next| next <= deadline));
    while store.expire(NOW, 1000) > 0 {}
    assert_eq!(store.stats().entries, 1000);
    let portions: Vec<usize> = (0..5).map(|_| store.expire(deadline, 300)).collect();
    assert_eq!((&portions[..3], portions[4]), (&[300; 3][..], 0));
    let stats = store.stats();
    assert_eq!((stats.entries, stats.tombstones, store.next_deadline()), (0, 1000, None));
    store.set_shadowing(false);
    assert_eq!(store.next_deadline(), Some(Wall::MIN));
    assert_eq!((store.expire(deadline, 2000), store.stats().bytes, store.next_deadline()), (1000, 0, None));
}

#[test]
fn a_shard_that_panicked_is_emptied_and_serves_on() {
    let store = store(9 * MIB, MIB);
    set(&store, 1, b"key", b"value", Expiry::Never).unwrap();
    let read = AssertUnwindSafe(|| store.get_with(NOW, FENCE, b"key", |_| panic!("while locked")));
    assert!(catch_unwind(read).is_err());
    assert_eq!(value(&store, NOW, b"key"), None);
    assert!(SlotCount::DEFAULT.slots().all(|slot| store.summary(slot) == SlotSummary::default()));
    set(&store, 1, b"key", b"again", Expiry::Never).unwrap();
    assert_eq!(value(&store, NOW, b"key"), Some(b"again".to_vec()));
}

#[test]
fn a_look_ahead_changes_nothing_and_waits_for_nobody() {
    let store = store(64 * MIB, 1024);
    let keys: Vec<[u8; 4]> = (0_u32..16_000).map(u32::to_be_bytes).collect();
    keys[1..].iter().for_each(|key| assert!(set(&store, 1, key, &[7; 1000], Expiry::Never).is_ok()));
    // Also with keys that are absent, twice the same, more than it takes, or in a shard that is held.
    let twice: Vec<_> = keys.iter().chain(&keys).map(|key| &key[..]).collect();
    let before = store.stats();
    store.warm(&twice);
    store.warm(&[]);
    store.get_with(NOW, FENCE, &keys[0], |_| store.warm(&twice)).unwrap();
    assert_eq!(store.stats(), ShardStats { misses: before.misses + 1, ..before });
    unprepared(64 * MIB, 1024).warm(&twice);
}

#[test]
fn what_a_processor_is_unlikely_to_have_at_hand_is_known_as_such() {
    let store = store(64 * MIB, 1024);
    let outgrows = |entries: u32| {
        (0..entries).for_each(|key| assert!(set(&store, 1, &key.to_be_bytes(), &[7; 1000], Expiry::Never).is_ok()));
        store.outgrows_caches(&[0; 4])
    };
    assert_eq!([4000, 16_000].map(outgrows), [false, true]);
    // Nobody waits to know it.
    assert!(!store.get_with(NOW, FENCE, &[0; 4], |_| store.outgrows_caches(&[0; 4])).unwrap());
}

#[test]
fn few_keys_are_looked_at_together_where_there_are_few_shards() {
    for (value_bytes_max, shards, together) in [(1024, 64, WARMED_MAX), (MIB, 4, 1), (4 * MIB, 1, 0)] {
        let store = store(64 * MIB, value_bytes_max);
        assert_eq!((store.shards_count(), store.warmed_max()), (shards, together));
    }
}

#[test]
fn clear_empties_every_shard() {
    let store = store(256 * MIB, MIB);
    (0..100_u32).for_each(|key| {
        set(&store, 1, &key.to_be_bytes(), b"", Expiry::Never).unwrap();
    });
    store.clear();
    assert_eq!((store.stats().entries, store.stats().bytes), (0, 0));
}

#[test]
fn seals_and_floors_hold_for_the_slots_they_name() {
    let store = store(64 * MIB, MIB);
    let slot_of = |key: &[u8]| store.slots().unwrap().slot_of(key);
    let mut sealed = SlotSet::none(SlotCount::DEFAULT);
    sealed.insert(slot_of(b"sealed"));
    let until = Hlc::new(9);
    store.seal_slots(&sealed, until);
    assert_eq!(set(&store, 9, b"sealed", b"", Expiry::Never), Err(ApplyError::TooOld { until }));
    assert!(set(&store, 9, b"free", b"", Expiry::Never).is_ok());
    assert_eq!(delete(&store, 10, b"sealed"), Ok(Applied::Stored { was_live: false }));
    store.unseal_slots(&sealed);
    assert_eq!(store.purge(&sealed, Hlc::new(10)), 1);
    assert_eq!(store.floor(slot_of(b"sealed")), Hlc::new(10));
    assert_eq!(store.floor(slot_of(b"free")), Hlc::MIN);
    assert_eq!(set(&store, 10, b"sealed", b"", Expiry::Never), Err(ApplyError::TooOld { until: Hlc::new(10) }));
    store.raise_floor(slot_of(b"sealed"), Hlc::new(5));
    assert_eq!(store.summary(slot_of(b"sealed")).floor, Hlc::new(10));
    store.reset_slots(&sealed);
    assert_eq!(set(&store, 1, b"sealed", b"", Expiry::Never), Ok(Applied::Stored { was_live: false }));
}

#[test]
fn slots_of_another_cluster_are_nobodys() {
    let store = store(MIB, MIB);
    let other = SlotSet::of(SlotCount::from_log2(15).unwrap(), |_| true);
    let last = other.iter().last().unwrap();
    assert_eq!((store.summary(last), store.floor(last)), (SlotSummary::default(), Hlc::MIN));
    store.raise_floor(last, Hlc::new(1));
    store.seal_slots(&other, Hlc::new(u64::MAX));
    store.reset_slots(&other);
    assert_eq!(store.purge(&other, Hlc::new(u64::MAX)), 0);
    assert!(set(&store, 1, b"key", b"", Expiry::Never).is_ok());
    assert_eq!(store.pull(NOW, &other, Default::default(), MIB).1, None);
    assert_ne!(key_hash(b"key"), key_hash(b"kez"));
}
