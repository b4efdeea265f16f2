mod collection;
mod laws;
mod model;

use std::time::Duration;

use quoit_proto_types::version::{EntryKind, Hlc, Stamp, Version};
use quoit_proto_types::{Boot, Fence, Ordinal, SlotCount};

use super::eviction::CHANCES_MAX;
use super::footprint;
use super::remembered::Remembered;
use super::shard::{Shard, ShardConfig};
use super::slots::SlotTable;
use super::*;
use crate::planted::data::DataPlanted;
use crate::time::Wall;

const START: Wall = Wall::from_millis(1_000_000);
const SECOND: Expiry = Expiry::After(Duration::from_secs(1));
const MILLISECOND: Duration = Duration::from_millis(1);
const FENCE: Fence = Fence::new(3);

/// Spreads small numbers over all bits, as a real hash does, and never makes two of them equal.
fn hash(key: u32) -> u64 {
    u64::from(key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn version(hlc: u64) -> Version {
    Version { hlc: Hlc::new(hlc), ordinal: Ordinal::new(1), boot: Boot::new(1) }
}

/// What an entry of a 4-byte key and a 28-byte value costs.
const SMALL: usize = footprint::ENTRY + 48;

/// What a tombstone of a 4-byte key costs.
const GRAVE: usize = footprint::ENTRY + 16;

/// Has up to `entries_max` entries expire, or tombstones removed, and says how many; looks at others are not counted.
fn expire(shard: &mut Shard, slots: &SlotTable, now: Wall, entries_max: usize) -> usize {
    let mut changed = 0;
    while changed < entries_max {
        let before = shard.stats();
        if shard.expire(slots, now, 1) == 0 {
            break;
        }
        changed += usize::from(shard.stats() != before);
    }
    changed
}

/// A shard, its slots, and a clock for versions that goes up with each write.
struct Single {
    shard: Shard,
    slots: SlotTable,
    last: u64,
}

impl Single {
    /// With room for `entries` small entries.
    fn new(policy: EvictionPolicy, entries: usize) -> Self {
        let config = ShardConfig { memory_limit_bytes: entries * SMALL, policy, planted: DataPlanted::NOTHING };
        let mut shard = Shard::new(config);
        shard.seal(FENCE);
        Self { shard, slots: SlotTable::new(SlotCount::from_log2(4).unwrap()), last: 0 }
    }

    fn apply(&mut self, now: Wall, hash: u64, stamp: Stamp, record: Record) -> Result<Applied, ApplyError> {
        let entry = Entry::new(record, stamp);
        let slot = self.slots.slot_of(entry.key());
        self.shard.apply((&self.slots, slot), now, (FENCE, Origin::Write), hash, entry)
    }

    fn version(&mut self) -> Version {
        self.last += 1;
        version(self.last)
    }

    fn set_record(&mut self, now: Wall, hash: u64, record: Record, expiry: Expiry) -> Result<Applied, ApplyError> {
        let stamp = Stamp::value(self.version(), expiry.expires_at_ms(now));
        self.apply(now, hash, stamp, record)
    }

    fn set(&mut self, now: Wall, key: u32, expiry: Expiry) -> bool {
        let record = Record::new(&key.to_be_bytes(), &[7; 28]);
        was_live(self.set_record(now, hash(key), record, expiry))
    }

    fn delete(&mut self, now: Wall, key: u32) -> bool {
        let stamp = Stamp::tombstone(self.version());
        was_live(self.apply(now, hash(key), stamp, Record::new(&key.to_be_bytes(), b"")))
    }

    /// Gives the entry of a key another time to live, as a coordinator does that has read it.
    fn touch(&mut self, now: Wall, key: u32, expiry: Expiry) -> bool {
        self.last += 1;
        let touched = Hlc::new(self.last);
        let bytes = key.to_be_bytes();
        let held = self.shard.get(&self.slots, now, (hash(key), &bytes), |entry| {
            let held = entry.filter(|entry| entry.is_live(now))?;
            Some((held.stamp(), Record::new(&bytes, held.value())))
        });
        let Some((stamp, record)) = held else { return false };
        let stamp = Stamp { touched, expires_at_ms: expiry.expires_at_ms(now), ..stamp };
        was_live(self.apply(now, hash(key), stamp, record))
    }

    fn get(&mut self, now: Wall, key: u32) -> bool {
        let is_live = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.is_live(now));
        self.shard.get(&self.slots, now, (hash(key), &key.to_be_bytes()), is_live)
    }

    fn ttl(&mut self, now: Wall, key: u32) -> Option<Expiry> {
        let entry = self.shard.peek(&self.slots, now, hash(key), &key.to_be_bytes());
        entry.filter(|entry| entry.is_live(now)).map(|entry| entry.remaining(now))
    }

    fn expire(&mut self, now: Wall, entries_max: usize) -> usize {
        expire(&mut self.shard, &self.slots, now, entries_max)
    }

    fn fill(&mut self, keys: std::ops::Range<u32>) {
        keys.for_each(|key| {
            self.set(START, key, Expiry::Never);
        });
    }

    fn present(&mut self, keys: std::ops::Range<u32>) -> usize {
        keys.filter(|key| self.ttl(START, *key).is_some()).count()
    }

    fn stats(&self) -> ShardStats {
        self.shard.stats()
    }
}

fn was_live(applied: Result<Applied, ApplyError>) -> bool {
    match applied.unwrap() {
        Applied::Stored { was_live } => was_live,
        other @ (Applied::Known { .. } | Applied::Dropped) => panic!("not stored: {other:?}"),
    }
}

#[test]
fn refused_set_changes_nothing() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 4);
    single.fill(0..4);
    let before = single.stats();
    let value = [0; 4 * SMALL];
    let record = Record::new(&0_u32.to_be_bytes(), &value);
    let refused = single.set_record(START, hash(0), record, Expiry::Never);
    let footprint_bytes = footprint::ENTRY + footprint::allocation(12 + 4 + value.len());
    assert_eq!(refused, Err(TooLarge { footprint_bytes, memory_limit_bytes: 4 * SMALL }.into()));
    assert_eq!(single.stats(), before);
    let held = single.shard.peek(&single.slots, START, hash(0), &0_u32.to_be_bytes());
    assert_eq!(held.map(Entry::value), Some(&[7; 28][..]));
}

#[test]
fn the_largest_entry_that_fits_alone_is_stored_alone() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 4);
    single.fill(0..4);
    let value = [1; 4 * SMALL];
    let fits = |bytes: &usize| footprint::ENTRY + footprint::allocation(12 + 4 + bytes) <= 4 * SMALL;
    let largest = (0..value.len()).rfind(fits).unwrap();
    let mut set = |bytes: usize| {
        let record = Record::new(&9_u32.to_be_bytes(), &value[..bytes]);
        single.set_record(START, hash(9), record, Expiry::Never)
    };
    assert!(set(largest + 1).is_err());
    assert!(set(largest).is_ok());
    assert_eq!((single.stats().entries, single.stats().evictions), (1, 4));
}

#[test]
fn every_eviction_is_counted_and_leaves_nothing() {
    for policy in [EvictionPolicy::SegmentedLru, EvictionPolicy::Lru] {
        let mut single = Single::new(policy, 100);
        single.fill(0..250);
        let stats = single.stats();
        assert_eq!((stats.entries, stats.evictions, stats.tombstones), (100, 150, 0), "{policy:?}");
        assert_eq!((single.present(0..150), single.present(150..250)), (0, 100), "{policy:?}");
    }
}

#[test]
fn slots_follow_the_number_of_entries_down() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 10_000);
    single.shard.set_shadowing(false);
    let slots = |single: &Single| single.shard.segments.queues().map(|queue| queue.slots()).iter().sum::<usize>();
    single.fill(0..10_000);
    assert!(slots(&single) >= 10_000);
    // Ten times fewer entries of ten times the size: the limit stays reached, the slots do not stay.
    for key in 0..2000_u32 {
        let record = Record::new(&key.to_be_bytes(), &[7; 10 * SMALL]);
        single.set_record(START, hash(key), record, Expiry::Never).unwrap();
    }
    assert!(single.stats().entries < 1000);
    assert!(slots(&single) < 2000, "{}", slots(&single));
    // And none at all: what is left is what an empty shard may keep.
    (0..2000_u32).for_each(|key| {
        single.delete(START, key);
    });
    assert_eq!(single.stats().entries, 0);
    assert!(slots(&single) < 1200, "{}", slots(&single));
}

#[test]
fn a_full_shard_has_few_idle_slots() {
    for policy in [EvictionPolicy::SegmentedLru, EvictionPolicy::Lru] {
        let mut single = Single::new(policy, 10_000);
        for key in (0..30_000).chain(20_000..30_000) {
            if !single.get(START, key) {
                single.set(START, key, Expiry::Never);
            }
        }
        (0..5000).for_each(|key| {
            single.delete(START, key);
        });
        let slots: usize = single.shard.segments.queues().iter().map(|queue| queue.slots()).sum();
        let idle = slots - single.stats().entries - single.stats().tombstones;
        assert!(idle * footprint::SLAB_SLOT < single.stats().bytes / 12, "{policy:?}: {idle} idle slots");
    }
}

#[test]
fn a_new_deadline_costs_what_it_weighs() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 4);
    single.set(START, 1, Expiry::Never);
    let before = single.stats().bytes;
    assert!(single.touch(START, 1, SECOND));
    // The moment of the touch and the expiry need the next size class.
    assert_eq!(single.stats().bytes, before + 16 + footprint::DEADLINE);
    assert!(single.touch(START, 1, Expiry::Never));
    assert_eq!(single.stats().bytes, before + 16);
}

#[test]
fn a_scan_does_not_push_out_what_is_read_often() {
    let hot = 0..400;
    let survivors = |policy| {
        let mut single = Single::new(policy, 1000);
        single.fill(hot.clone());
        assert!(hot.clone().all(|key| single.get(START, key)));
        single.fill(1000..20_000);
        single.present(hot.clone())
    };
    assert_eq!(survivors(EvictionPolicy::SegmentedLru), 400);
    assert_eq!(survivors(EvictionPolicy::Lru), 0);
}

#[test]
fn what_is_protected_gives_way_to_newer_favourites() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 1000);
    for key in 0..1400 {
        single.set(START, key, Expiry::Never);
        assert!(single.get(START, key));
    }
    single.fill(2000..20_000);
    assert_eq!((single.present(0..500), single.present(500..1400)), (0, 900));
}

#[test]
fn what_comes_back_soon_after_its_eviction_is_protected() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 1000);
    single.fill(0..1100);
    // Evicted just now.
    single.fill(50..100);
    single.fill(2000..20_000);
    let back = single.present(50..100);
    assert!(back > 40, "{back}");
}

#[test]
fn of_a_loop_longer_than_what_fits_most_stays() {
    let hits = |policy| {
        let mut single = Single::new(policy, 5000);
        let mut lap =
            || (0..6250).filter(|key| single.get(START, *key) || single.set(START, *key, Expiry::Never)).count();
        (0..24).for_each(|_| {
            lap();
        });
        lap()
    };
    assert_eq!(hits(EvictionPolicy::Lru), 0);
    let held = hits(EvictionPolicy::SegmentedLru);
    assert!(held > 4500, "{held}");
}

#[test]
fn all_that_was_used_keeps_nobody_from_room() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 2000);
    single.fill(0..2000);
    assert!((0..2000).all(|key| single.get(START, key)));
    single.set(START, 2000, Expiry::Never);
    assert_eq!((single.present(0..2001), single.stats().evictions), (2000, 1));
}

#[test]
fn one_eviction_spares_so_many_and_no_more() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 10_000);
    let all = 0..10_020;
    single.fill(0..10_000);
    assert!((0..10_000).all(|key| single.get(START, key)));
    // The protected segment is full after this.
    single.fill(10_000..10_020);
    let held = all.filter(|key| single.get(START, *key)).count();
    let marked = |single: &Single| single.shard.segments.iter().filter(|(_, entry)| entry.is_used()).count();
    assert_eq!(marked(&single), held);
    single.set(START, 20_000, Expiry::Never);
    assert!((held - CHANCES_MAX - 1..held).contains(&marked(&single)), "{} of {held}", marked(&single));
}

#[test]
fn what_is_read_often_stays_if_nothing_is_on_probation() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 1000);
    let hot = 0..100;
    single.fill(hot.clone());
    let mut missed = 0;
    // Tombstones take more than the tenth that is left for probation, and all else is read.
    for key in 1000..9000 {
        single.set(START, key, Expiry::Never);
        if key % 2 == 0 {
            single.delete(START, key);
        } else {
            assert!(single.get(START, key));
        }
        if key % 50 == 0 {
            let absent: Vec<_> = hot.clone().filter(|key| !single.get(START, *key)).collect();
            missed += absent.len();
            for key in absent {
                single.set(START, key, Expiry::Never);
            }
        }
    }
    assert!(single.stats().evictions > 1000);
    // When all have been read once, as before the first eviction, nothing tells which were read often.
    assert!(missed < 10, "{missed}");
}

#[test]
fn a_value_that_was_read_and_grows_stays_as_one_that_was_read() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    single.fill(0..100);
    assert!(single.get(START, 50));
    let grown = Record::new(&50_u32.to_be_bytes(), &[7; 200]);
    single.set_record(START, hash(50), grown, Expiry::Never).unwrap();
    assert!(single.stats().evictions > 0);
    single.fill(1000..1200);
    assert!(single.get(START, 50));
}

#[test]
fn writing_alone_does_not_protect() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    (0..3).for_each(|_| single.fill(0..50));
    single.fill(100..200);
    assert_eq!(single.present(0..50), 0);
}

#[test]
fn an_entry_lives_to_the_millisecond_before_its_deadline() {
    let deadline = START.saturating_add(Duration::from_secs(1));
    let last = Wall::from_millis(deadline.as_millis() - 1);
    type Access = fn(&mut Single, Wall) -> bool;
    let accesses: [Access; 4] = [
        |single, now| single.get(now, 1),
        |single, now| single.ttl(now, 1).is_some(),
        |single, now| single.touch(now, 1, SECOND),
        |single, now| single.delete(now, 1),
    ];
    for access in accesses {
        let mut single = Single::new(EvictionPolicy::SegmentedLru, 40);
        single.set(START, 1, SECOND);
        assert_eq!(single.ttl(last, 1), Some(Expiry::After(MILLISECOND)));
        assert!(access(&mut single, last));

        single.set(START, 1, SECOND);
        assert!(!access(&mut single, deadline));
        let stats = single.stats();
        assert_eq!((stats.entries, stats.tombstones), (0, 1));
        // What expired keeps its expiry, which needs the next size class; what was deleted has none.
        assert!([GRAVE, GRAVE + 16].contains(&stats.bytes), "{}", stats.bytes);
        assert_eq!((stats.expirations, single.shard.next_deadline()), (1, None));
    }
}

#[test]
fn only_the_last_deadline_counts() {
    let late = START.saturating_add(Duration::from_secs(3600));
    let changes: [fn(&mut Single); 2] = [
        |single| assert!(single.set(START, 1, Expiry::Never)),
        |single| assert!(single.touch(START, 1, Expiry::Never)),
    ];
    for change in changes {
        let mut single = Single::new(EvictionPolicy::SegmentedLru, 4);
        single.set(START, 1, SECOND);
        change(&mut single);
        assert_eq!((single.shard.next_deadline(), single.expire(late, 10)), (None, 0));
        assert_eq!(single.ttl(late, 1), Some(Expiry::Never));
    }
}

#[test]
fn expired_memory_comes_back_without_reads_the_earliest_first_and_in_portions() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 200);
    (0..100).for_each(|key| {
        single.set(START, key, Expiry::After(MILLISECOND * (100 - key)));
    });
    let now = START.saturating_add(MILLISECOND * 60);
    assert!(single.shard.next_deadline().is_some_and(|next| next <= START.saturating_add(MILLISECOND)));
    assert_eq!((single.expire(now, 25), single.stats().entries), (25, 75));
    assert_eq!(single.shard.next_deadline(), Some(START.saturating_add(MILLISECOND * 26)));
    assert_eq!((single.expire(now, 100), single.stats().entries), (35, 40));
    assert_eq!((single.expire(now, 100), single.stats().expirations), (0, 60));
}

#[test]
fn nothing_alive_leaves_while_something_expired_is_held() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    single.fill(0..50);
    (50..85).for_each(|key| {
        single.set(START, key, SECOND);
    });
    let later = START.saturating_add(Duration::from_secs(2));
    (100..137).for_each(|key| {
        single.set(later, key, Expiry::Never);
    });
    assert_eq!(single.stats().evictions, 0);
    assert_eq!(single.present(0..50) + single.present(100..137), 87);
}

#[test]
fn a_set_that_lives_for_no_time_replaces_and_is_gone() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 10);
    single.set(START, 1, Expiry::Never);
    assert!(single.set(START, 1, Expiry::After(Duration::ZERO)));
    assert!(!single.get(START, 1));
    assert_eq!((single.stats().entries, single.stats().tombstones), (0, 1));
}

#[test]
fn a_time_to_live_beyond_all_time_is_for_ever() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 4);
    single.set(START, 1, Expiry::After(Duration::MAX));
    assert_eq!(single.ttl(Wall::from_millis(u64::MAX), 1), Some(Expiry::Never));
    assert_eq!(single.shard.next_deadline(), None);
}

#[test]
fn keys_with_equal_hashes_are_never_mistaken_for_each_other() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 10);
    let value = |single: &mut Single, key: &[u8]| {
        single.shard.peek(&single.slots, START, 5, key).map(|entry| entry.value().to_vec())
    };
    single.set_record(START, 5, Record::new(b"a", b"1"), SECOND).unwrap();
    assert_eq!(value(&mut single, b"b"), None);
    // Only one of them can be held, and the loss of the other is counted.
    let stored = single.set_record(START, 5, Record::new(b"b", b"2"), Expiry::Never);
    assert_eq!(stored, Ok(Applied::Stored { was_live: false }));
    assert_eq!(single.stats().evictions, 1);
    assert_eq!((value(&mut single, b"a"), value(&mut single, b"b")), (None, Some(b"2".to_vec())));
    // A tombstone that has to go for another key leaves its floor.
    let stamp = Stamp::tombstone(single.version());
    assert_eq!(single.apply(START, 5, stamp, Record::new(b"b", b"")), Ok(Applied::Stored { was_live: true }));
    single.set_record(START, 5, Record::new(b"a", b"3"), Expiry::Never).unwrap();
    assert_eq!((single.stats().tombstones, single.stats().tombstones_lost), (0, 1));
    assert_eq!(single.slots.floor(single.slots.slot_of(b"b")), stamp.version.hlc);
}

#[test]
fn a_tombstone_is_shown_and_is_a_miss() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 10);
    single.set(START, 1, Expiry::Never);
    assert!(single.delete(START, 1));
    single.shard.get(&single.slots, START, (hash(1), &1_u32.to_be_bytes()), |entry| {
        let entry = entry.unwrap();
        assert_eq!((entry.stamp(), entry.value()), (Stamp::tombstone(version(2)), &b""[..]));
    });
    assert_eq!((single.stats().hits, single.stats().misses), (0, 1));
}

#[test]
fn an_expired_entry_is_a_tombstone_of_its_version_however_it_is_found() {
    let finders: [fn(&mut Single, Wall); 4] = [
        |single, now| assert!(!single.get(now, 1)),
        |single, now| assert_eq!(single.ttl(now, 1), None),
        |single, now| assert_eq!(single.expire(now, 10), 1),
        |single, now| assert!(!single.touch(now, 1, SECOND)),
    ];
    for find in finders {
        let mut single = Single::new(EvictionPolicy::SegmentedLru, 10);
        single.set(START, 1, SECOND);
        let now = START.saturating_add(Duration::from_secs(1));
        find(&mut single, now);
        let entry = single.shard.segments.peek(hash(1)).unwrap();
        let expected = Stamp { kind: EntryKind::Tombstone, ..Stamp::value(version(1), now.as_millis()) };
        assert_eq!((entry.stamp(), entry.value()), (expected, &b""[..]));
    }
}

#[test]
fn without_other_copies_nothing_is_left_of_what_goes() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    single.fill(0..20);
    (0..10).for_each(|key| assert!(single.delete(START, key)));
    single.shard.set_shadowing(false);
    (10..15).for_each(|key| assert!(single.delete(START, key)));
    assert!(!single.delete(START, 50));
    (15..20).for_each(|key| assert!(single.set(START, key, SECOND)));
    let later = START.saturating_add(Duration::from_secs(2));
    assert!(!single.get(later, 15));
    assert_eq!((single.stats().entries, single.stats().tombstones), (4, 10));
    assert_eq!(single.shard.next_deadline(), Some(Wall::MIN));
    assert_eq!((single.expire(later, 5), single.stats().entries, single.stats().tombstones), (5, 0, 9));
    assert_eq!((single.expire(later, 100), single.stats().bytes, single.shard.next_deadline()), (9, 0, None));
    assert_eq!(single.stats().tombstones_lost, 0);
}

#[test]
fn clear_empties_and_keeps_the_counters() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 4);
    single.set(START, 1, SECOND);
    single.shard.clear(&single.slots);
    assert_eq!(single.stats(), ShardStats { sets: 1, ..ShardStats::default() });
    assert_eq!(single.shard.next_deadline(), None);
}
