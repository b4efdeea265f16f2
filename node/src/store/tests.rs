use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1);
const MIB: usize = 1 << 20;

fn store(memory_limit_bytes: usize, value_bytes_max: usize) -> Store {
    Store::new(StoreConfig { memory_limit_bytes, value_bytes_max, policy: EvictionPolicy::default(), seed: 7 })
}

fn value(store: &Store, now: Timestamp, key: &[u8]) -> Option<Vec<u8>> {
    store.get_with(now, key, |entry| entry.value().to_vec())
}

#[test]
fn every_operation_finds_the_shard_of_its_key() {
    let store = store(64 * MIB, 1024);
    let later = NOW.saturating_add(Duration::from_secs(4));
    for key in (0..1000_u32).map(u32::to_be_bytes) {
        assert_eq!(store.set(NOW, &key, &key, Expiry::Never), Ok(SetOutcome::Inserted));
        assert_eq!(store.set_record(NOW, Record::new(&key, b"2"), Expiry::Never), Ok(SetOutcome::Replaced));
        assert_eq!(value(&store, NOW, &key), Some(b"2".to_vec()));
        assert!(store.touch(NOW, &key, Expiry::After(Duration::from_secs(9))));
        assert_eq!(store.ttl(later, &key), Some(Expiry::After(Duration::from_secs(5))));
        assert!(store.delete(NOW, &key));
        assert_eq!((value(&store, NOW, &key), store.ttl(NOW, &key)), (None, None));
        assert!(!store.delete(NOW, &key));
    }
    let expected = ShardStats { hits: 1000, misses: 1000, sets: 2000, deletes: 1000, ..ShardStats::default() };
    assert_eq!(store.stats(), expected);
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
        (0, 0, 1),
    ] {
        assert_eq!(shard_count(memory, value), shards, "{memory} bytes of memory, values to {value} bytes");
    }
}

#[test]
fn keys_spread_over_the_shards() {
    let store = store(256 * MIB, MIB);
    (0..16_000_u32).for_each(|key| {
        store.set(NOW, &key.to_be_bytes(), b"", Expiry::Never).unwrap();
    });
    let entries: Vec<usize> = store.shards().map(|shard| shard.stats().entries).collect();
    assert_eq!(entries.len(), 16);
    assert!(entries.iter().all(|entries| (850..1150).contains(entries)), "{entries:?}");
}

#[test]
fn threads_never_exceed_the_limit_together() {
    let store = store(32 * MIB, 64 * 1024);
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let store = &store;
            scope.spawn(move || {
                for key in 0..20_000_u32 {
                    let size = key as usize % 9001;
                    store
                        .set(
                            NOW,
                            &[key.to_be_bytes(), thread.to_be_bytes()].concat(),
                            &[1; 9001][..size],
                            Expiry::Never,
                        )
                        .unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert!(stats.bytes <= store.memory_limit_bytes());
    assert!(stats.bytes > store.memory_limit_bytes() / 10 * 9, "{stats:?}");
    assert_eq!(stats.entries as u64 + stats.evictions, stats.sets);
}

#[test]
fn a_value_for_which_no_shard_has_room_is_refused() {
    let store = store(MIB, 16 * MIB);
    store.set(NOW, b"key", b"small", Expiry::Never).unwrap();
    assert!(store.set(NOW, b"key", &vec![0; 2 * MIB], Expiry::Never).is_err());
    assert_eq!(value(&store, NOW, b"key"), Some(b"small".to_vec()));
}

#[test]
fn expiry_works_in_portions_and_reaches_every_shard() {
    let store = store(256 * MIB, MIB);
    (0..1000_u32).for_each(|key| {
        store.set(NOW, &key.to_be_bytes(), b"", Expiry::After(Duration::from_secs(1))).unwrap();
    });
    let deadline = NOW.saturating_add(Duration::from_secs(1));
    assert_eq!(store.next_deadline(), Some(deadline));
    assert_eq!(store.expire(NOW, 1000), 0);
    let portions: Vec<usize> = (0..5).map(|_| store.expire(deadline, 300)).collect();
    assert_eq!(portions, [300, 300, 300, 100, 0]);
    assert_eq!((store.stats().entries, store.stats().bytes, store.next_deadline()), (0, 0, None));
}

#[test]
fn a_shard_that_panicked_is_emptied_and_serves_on() {
    let store = store(9 * MIB, MIB);
    store.set(NOW, b"key", b"value", Expiry::Never).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| store.get_with(NOW, b"key", |_| panic!("while locked"))));
    assert!(panicked.is_err());
    assert_eq!(value(&store, NOW, b"key"), None);
    store.set(NOW, b"key", b"again", Expiry::Never).unwrap();
    assert_eq!(value(&store, NOW, b"key"), Some(b"again".to_vec()));
}

#[test]
fn clear_empties_every_shard() {
    let store = store(256 * MIB, MIB);
    (0..100_u32).for_each(|key| {
        store.set(NOW, &key.to_be_bytes(), b"", Expiry::Never).unwrap();
    });
    store.clear();
    assert_eq!((store.stats().entries, store.stats().bytes), (0, 0));
}
