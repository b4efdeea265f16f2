mod model;

use std::time::Duration;

use super::footprint;
use super::*;
use crate::time::Timestamp;

const START: Timestamp = Timestamp::from_micros(1_000_000);
const SECOND: Expiry = Expiry::After(Duration::from_secs(1));
const MICROSECOND: Duration = Duration::from_micros(1);

/// Spreads small numbers over all bits, as a real hash does, and never makes two of them equal.
fn hash(key: u32) -> u64 {
    u64::from(key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// What an entry of a 4-byte key and a 28-byte value costs.
const SMALL: usize = footprint::ENTRY + 32;

/// A shard with room for `entries` small entries.
fn shard(policy: EvictionPolicy, entries: usize) -> Shard {
    Shard::new(ShardConfig { memory_limit_bytes: entries * SMALL, policy })
}

fn set(shard: &mut Shard, now: Timestamp, key: u32, expiry: Expiry) -> SetOutcome {
    shard.set(now, hash(key), Record::new(&key.to_be_bytes(), &[7; 28]), expiry).unwrap()
}

fn get(shard: &mut Shard, now: Timestamp, key: u32) -> bool {
    shard.get(now, hash(key), &key.to_be_bytes()).is_some()
}

fn fill(shard: &mut Shard, keys: std::ops::Range<u32>) {
    keys.for_each(|key| {
        set(shard, START, key, Expiry::Never);
    });
}

fn present(shard: &mut Shard, keys: std::ops::Range<u32>) -> usize {
    keys.filter(|key| shard.ttl(START, hash(*key), &key.to_be_bytes()).is_some()).count()
}

#[test]
fn refused_set_changes_nothing() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 4);
    fill(&mut shard, 0..4);
    let before = shard.stats();
    let value = [0; 4 * SMALL];
    let refused = shard.set(START, hash(0), Record::new(&0_u32.to_be_bytes(), &value), Expiry::Never);
    let footprint_bytes = footprint::ENTRY + footprint::allocation(4 + value.len());
    assert_eq!(refused, Err(TooLarge { footprint_bytes, memory_limit_bytes: 4 * SMALL }));
    assert_eq!(shard.stats(), before);
    assert_eq!(shard.get(START, hash(0), &0_u32.to_be_bytes()).map(Entry::value), Some(&[7; 28][..]));
}

#[test]
fn the_largest_entry_that_fits_alone_is_stored_alone() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 4);
    fill(&mut shard, 0..4);
    let value = [1; 4 * SMALL];
    let fits = |bytes: &usize| footprint::ENTRY + footprint::allocation(4 + bytes) <= 4 * SMALL;
    let largest = (0..value.len()).rfind(fits).unwrap();
    let mut set = |bytes| shard.set(START, hash(9), Record::new(&9_u32.to_be_bytes(), &value[..bytes]), Expiry::Never);
    assert!(set(largest + 1).is_err());
    assert!(set(largest).is_ok());
    assert_eq!((shard.stats().entries, shard.stats().evictions), (1, 4));
}

#[test]
fn every_eviction_is_counted() {
    for policy in [EvictionPolicy::SegmentedLru, EvictionPolicy::Lru] {
        let mut shard = shard(policy, 100);
        fill(&mut shard, 0..250);
        assert_eq!((shard.stats().entries, shard.stats().evictions), (100, 150), "{policy:?}");
        assert_eq!((present(&mut shard, 0..150), present(&mut shard, 150..250)), (0, 100), "{policy:?}");
    }
}

#[test]
fn slots_follow_the_number_of_entries_down() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 10_000);
    let slots = |shard: &Shard| shard.parts().0.queues().map(|queue| queue.slots()).iter().sum::<usize>();
    fill(&mut shard, 0..10_000);
    assert!(slots(&shard) >= 10_000);
    // Ten times fewer entries of ten times the size: the limit stays reached, the slots do not stay.
    for key in 0..2000_u32 {
        shard.set(START, hash(key), Record::new(&key.to_be_bytes(), &[7; 10 * SMALL]), Expiry::Never).unwrap();
    }
    assert!(shard.stats().entries < 1000);
    assert!(slots(&shard) < 2000, "{}", slots(&shard));
    // And none at all: what is left is what an empty shard may keep.
    (0..2000_u32).for_each(|key| {
        shard.delete(START, hash(key), &key.to_be_bytes());
    });
    assert_eq!(shard.stats().entries, 0);
    assert!(slots(&shard) < 1000, "{}", slots(&shard));
}

#[test]
fn a_full_shard_has_few_idle_slots() {
    for policy in [EvictionPolicy::SegmentedLru, EvictionPolicy::Lru] {
        let mut shard = shard(policy, 10_000);
        for key in (0..30_000).chain(20_000..30_000) {
            if !get(&mut shard, START, key) {
                set(&mut shard, START, key, Expiry::Never);
            }
        }
        let [probation, protected] = shard.parts().0.queues();
        let idle = probation.slots() + protected.slots() - shard.stats().entries;
        assert!(idle * 72 < shard.stats().bytes / 12, "{policy:?}: {idle} idle slots");
    }
}

#[test]
fn a_new_deadline_moves_no_record() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 4);
    set(&mut shard, START, 1, Expiry::Never);
    let at = |shard: &mut Shard| shard.get(START, hash(1), &1_u32.to_be_bytes()).unwrap().value().as_ptr();
    let before = (at(&mut shard), shard.stats().bytes);
    assert!(shard.touch(START, hash(1), &1_u32.to_be_bytes(), SECOND));
    assert_eq!((at(&mut shard), shard.stats().bytes), (before.0, before.1 + footprint::DEADLINE));
    assert!(shard.touch(START, hash(1), &1_u32.to_be_bytes(), Expiry::Never));
    assert_eq!((at(&mut shard), shard.stats().bytes), before);
}

#[test]
fn a_scan_does_not_push_out_what_is_read_often() {
    let hot = 0..400;
    let survivors = |policy| {
        let mut shard = shard(policy, 1000);
        fill(&mut shard, hot.clone());
        assert!(hot.clone().all(|key| get(&mut shard, START, key)));
        fill(&mut shard, 1000..20_000);
        present(&mut shard, hot.clone())
    };
    assert_eq!(survivors(EvictionPolicy::SegmentedLru), 400);
    assert_eq!(survivors(EvictionPolicy::Lru), 0);
}

#[test]
fn the_protected_half_gives_way_to_newer_favourites() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 1000);
    for keys in [0..500, 500..1000] {
        fill(&mut shard, keys.clone());
        assert!(keys.clone().all(|key| get(&mut shard, START, key)));
    }
    fill(&mut shard, 1000..20_000);
    assert_eq!((present(&mut shard, 0..500), present(&mut shard, 500..1000)), (0, 500));
}

#[test]
fn writing_alone_does_not_protect() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 100);
    (0..3).for_each(|_| fill(&mut shard, 0..50));
    fill(&mut shard, 100..200);
    assert_eq!(present(&mut shard, 0..50), 0);
}

#[test]
fn an_entry_lives_to_the_microsecond_before_its_deadline() {
    let deadline = START.saturating_add(Duration::from_secs(1));
    let last = Timestamp::from_micros(deadline.as_micros() - 1);
    let key = 1_u32.to_be_bytes();
    type Access = fn(&mut Shard, Timestamp, &[u8]) -> bool;
    let accesses: [Access; 4] = [
        |shard, now, key| shard.get(now, hash(1), key).is_some(),
        |shard, now, key| shard.ttl(now, hash(1), key).is_some(),
        |shard, now, key| shard.touch(now, hash(1), key, SECOND),
        |shard, now, key| shard.delete(now, hash(1), key),
    ];
    for access in accesses {
        let mut shard = shard(EvictionPolicy::SegmentedLru, 4);
        set(&mut shard, START, 1, SECOND);
        assert_eq!(shard.ttl(last, hash(1), &key), Some(Expiry::After(MICROSECOND)));
        assert!(access(&mut shard, last, &key));

        set(&mut shard, START, 1, SECOND);
        assert!(!access(&mut shard, deadline, &key));
        assert_eq!((shard.stats().entries, shard.stats().bytes, shard.next_deadline()), (0, 0, None));
        assert_eq!(shard.stats().expirations, 1);
    }
}

#[test]
fn only_the_last_deadline_counts() {
    let late = START.saturating_add(Duration::from_secs(3600));
    let key = 1_u32.to_be_bytes();
    let changes: [fn(&mut Shard); 2] = [
        |shard| assert_eq!(set(shard, START, 1, Expiry::Never), SetOutcome::Replaced),
        |shard| assert!(shard.touch(START, hash(1), &1_u32.to_be_bytes(), Expiry::Never)),
    ];
    for change in changes {
        let mut shard = shard(EvictionPolicy::SegmentedLru, 4);
        set(&mut shard, START, 1, SECOND);
        change(&mut shard);
        assert_eq!((shard.next_deadline(), shard.expire(late, 10)), (None, 0));
        assert_eq!(shard.ttl(late, hash(1), &key), Some(Expiry::Never));
    }
}

#[test]
fn expired_memory_comes_back_without_reads_the_earliest_first_and_in_portions() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 200);
    (0..100).for_each(|key| {
        set(&mut shard, START, key, Expiry::After(MICROSECOND * (100 - key)));
    });
    let now = START.saturating_add(MICROSECOND * 60);
    assert_eq!(shard.next_deadline(), Some(START.saturating_add(MICROSECOND)));
    assert_eq!((shard.expire(now, 25), shard.stats().entries), (25, 75));
    assert_eq!(shard.next_deadline(), Some(START.saturating_add(MICROSECOND * 26)));
    assert_eq!((shard.expire(now, 100), shard.stats().entries), (35, 40));
    assert_eq!((shard.expire(now, 100), shard.stats().expirations), (0, 60));
}

#[test]
fn nothing_alive_leaves_while_something_expired_is_held() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 100);
    fill(&mut shard, 0..50);
    (50..85).for_each(|key| {
        set(&mut shard, START, key, SECOND);
    });
    let later = START.saturating_add(Duration::from_secs(2));
    (100..150).for_each(|key| {
        set(&mut shard, later, key, Expiry::Never);
    });
    assert_eq!(shard.stats().evictions, 0);
    assert_eq!(present(&mut shard, 0..50) + present(&mut shard, 100..150), 100);
}

#[test]
fn a_set_that_lives_for_no_time_replaces_and_is_gone() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 4);
    set(&mut shard, START, 1, Expiry::Never);
    assert_eq!(set(&mut shard, START, 1, Expiry::After(Duration::ZERO)), SetOutcome::Replaced);
    assert!(!get(&mut shard, START, 1));
}

#[test]
fn a_time_to_live_beyond_all_time_is_for_ever() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 4);
    set(&mut shard, START, 1, Expiry::After(Duration::MAX));
    assert_eq!(shard.ttl(Timestamp::MAX, hash(1), &1_u32.to_be_bytes()), Some(Expiry::Never));
    assert_eq!(shard.next_deadline(), None);
}

#[test]
fn keys_with_equal_hashes_are_never_mistaken_for_each_other() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 4);
    shard.set(START, 5, Record::new(b"a", b"1"), SECOND).unwrap();
    assert!(shard.get(START, 5, b"b").is_none());
    assert!(!shard.touch(START, 5, b"b", SECOND));
    assert!(!shard.delete(START, 5, b"b"));
    assert_eq!(shard.ttl(START, 5, b"b"), None);
    // Only one of them can be cached, and the loss of the other is counted.
    assert_eq!(shard.set(START, 5, Record::new(b"b", b"2"), Expiry::Never), Ok(SetOutcome::Inserted));
    assert_eq!(shard.stats().evictions, 1);
    assert!(shard.get(START, 5, b"a").is_none());
    assert_eq!(shard.get(START, 5, b"b").map(Entry::value), Some(&b"2"[..]));
}

#[test]
fn clear_empties_and_keeps_the_counters() {
    let mut shard = shard(EvictionPolicy::SegmentedLru, 4);
    set(&mut shard, START, 1, SECOND);
    shard.clear();
    assert_eq!(shard.stats(), ShardStats { sets: 1, ..ShardStats::default() });
    assert_eq!(shard.next_deadline(), None);
}
