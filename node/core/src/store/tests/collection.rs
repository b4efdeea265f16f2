//! Tombstones, floors and seals: what keeps a deleted key from coming back.

use quoit_proto_types::version::{Hlc, Stamp};

use super::*;

fn value(hlc: u64) -> Stamp {
    Stamp::value(version(hlc), 0)
}

fn grave(hlc: u64) -> Stamp {
    Stamp::tombstone(version(hlc))
}

fn record(key: u32) -> Record {
    Record::new(&key.to_be_bytes(), &[7; 28])
}

impl Single {
    fn merge(&mut self, origin: Origin, key: u32, stamp: Stamp) -> Result<Applied, ApplyError> {
        let entry = Entry::new(record(key), stamp);
        let slot = self.slots.slot_of(entry.key());
        self.shard.apply((&self.slots, slot), START, (FENCE, origin), hash(key), entry)
    }

    /// Raises the floors of all slots.
    fn raise_floors(&mut self, until: u64) {
        self.slots.slots().slots().for_each(|slot| self.slots.raise_floor(slot, Hlc::new(until)));
    }

    fn purge(&mut self, until: u64, expired: u64) -> usize {
        self.shard.purge(&self.slots, |_| true, Hlc::new(until), Wall::from_millis(expired))
    }
}

const STORED: Result<Applied, ApplyError> = Ok(Applied::Stored { was_live: false });
const ORIGINS: [Origin; 3] = [Origin::Write, Origin::Handoff, Origin::Repair];

#[test]
fn another_fence_is_refused_and_changes_nothing() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 10);
    single.shard.seal(FENCE.next());
    for origin in ORIGINS {
        assert_eq!(single.merge(origin, 1, value(1)), Err(FenceMoved { at: FENCE.next() }.into()));
    }
    assert_eq!(single.stats(), ShardStats::default());
}

#[test]
fn what_is_absent_and_not_above_the_floor_stays_absent() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    assert_eq!(single.merge(Origin::Write, 1, value(5)), STORED);
    single.raise_floors(10);
    let too_old = Err(ApplyError::TooOld { until: Hlc::new(10) });
    for (origin, expected) in ORIGINS.into_iter().zip([too_old, Ok(Applied::Dropped), Ok(Applied::Dropped)]) {
        assert_eq!(single.merge(origin, 2, value(10)), expected);
        assert_eq!(single.merge(origin, 2, grave(10)), expected);
        assert_eq!(single.merge(origin, 10 + origin as u32, value(11)), STORED);
    }
    // What is present is merged.
    assert_eq!(single.merge(Origin::Handoff, 1, value(6)), Ok(Applied::Stored { was_live: true }));
    assert_eq!(single.merge(Origin::Repair, 1, value(7)), Ok(Applied::Stored { was_live: true }));
    assert_eq!(single.merge(Origin::Write, 1, value(8)), too_old);
}

#[test]
fn a_touch_is_as_old_as_its_value_where_that_is_absent() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    assert_eq!(single.merge(Origin::Write, 1, value(5)), STORED);
    single.raise_floors(10);
    let touched = |at| Stamp { touched: Hlc::new(at), ..value(5) };
    let too_old = Err(ApplyError::TooOld { until: Hlc::new(10) });
    assert_eq!(single.merge(Origin::Write, 1, touched(10)), too_old);
    assert_eq!(single.merge(Origin::Write, 1, touched(11)), Ok(Applied::Stored { was_live: true }));
    assert_eq!(single.merge(Origin::Write, 2, touched(11)), too_old);
}

#[test]
fn a_sealed_slot_takes_later_writes_and_no_repair_of_what_it_collects() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    assert_eq!(single.merge(Origin::Write, 1, value(5)), STORED);
    single.slots.slots().slots().for_each(|slot| single.slots.raise_seal(slot, Hlc::new(10)));
    let until = Hlc::new(10);
    assert_eq!(single.merge(Origin::Write, 1, value(10)), Err(ApplyError::TooOld { until }));
    assert_eq!(single.merge(Origin::Repair, 1, value(10)), Err(ApplyError::HeldBack { until }));
    assert_eq!(single.merge(Origin::Handoff, 1, value(10)), Ok(Applied::Stored { was_live: true }));
    assert_eq!(single.merge(Origin::Handoff, 2, value(10)), STORED);
    assert_eq!(single.merge(Origin::Repair, 3, value(11)), STORED);
    assert_eq!(single.merge(Origin::Write, 4, value(11)), STORED);
    single.slots.slots().slots().for_each(|slot| single.slots.lift_seal(slot));
    assert_eq!(single.merge(Origin::Write, 5, value(1)), STORED);
}

#[test]
fn repair_replaces_in_a_full_shard_and_inserts_nothing() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    single.fill(0..95);
    assert_eq!(single.merge(Origin::Repair, 200, value(1)), Err(ApplyError::NoRoom));
    assert_eq!(single.merge(Origin::Repair, 1, value(1000)), Ok(Applied::Stored { was_live: true }));
    (10..30).for_each(|key| assert!(single.delete(START, key)));
    assert_eq!(single.merge(Origin::Repair, 200, value(2000)), STORED);
    single.fill(95..120);
    assert_eq!(single.merge(Origin::Repair, 201, value(2000)), Err(ApplyError::NoRoom));
    assert_eq!(single.merge(Origin::Handoff, 201, value(2000)), STORED);
}

#[test]
fn a_floor_counts_that_rises_while_a_write_is_looked_at() {
    let write_to_an_expired_key = |graves: u32| {
        let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
        single.apply(START, hash(0), Stamp::value(version(1), START.as_millis() + 1), record(0)).unwrap();
        // The oldest tombstone is of the same slot: it leaves if that of the expired value takes its room.
        let slot = single.slots.slot_of(&0_u32.to_be_bytes());
        let other = (1..).find(|key: &u32| single.slots.slot_of(&key.to_be_bytes()) == slot).unwrap();
        assert_eq!(single.merge(Origin::Write, other, grave(9)), STORED);
        (1000..1000 + graves).for_each(|key| assert_eq!(single.merge(Origin::Write, key, grave(9)), STORED));
        let lost = single.stats().tombstones_lost;
        let written = single.apply(Wall::from_millis(START.as_millis() + 1), hash(0), value(5), record(0));
        (lost, written)
    };
    let too_many = (0..).find(|graves| write_to_an_expired_key(*graves).0 > 0).unwrap();
    assert_eq!(write_to_an_expired_key(too_many - 1), (0, Err(ApplyError::TooOld { until: Hlc::new(9) })));
    assert_eq!(write_to_an_expired_key(0), (0, STORED));
}

#[test]
fn tombstones_keep_to_their_share_and_those_that_leave_raise_the_floor() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 800);
    single.fill(0..600);
    (10_000..11_000).for_each(|key| assert!(!single.delete(START, key)));
    let stats = single.stats();
    assert!(stats.tombstones * GRAVE <= 100 * SMALL, "{stats:?}");
    assert!((stats.tombstones + 1) * GRAVE > 100 * SMALL, "{stats:?}");
    assert_eq!((stats.entries, stats.evictions), (600, 0));
    assert_eq!(stats.tombstones as u64 + stats.tombstones_lost, 1000);
    // Nothing that a lost tombstone hid comes back.
    for key in 10_000..11_000 {
        let hidden = single.merge(Origin::Handoff, key, value(u64::from(key - 10_000)));
        assert!(matches!(hidden, Ok(Applied::Dropped | Applied::Known { was_live: false })), "{key}: {hidden:?}");
    }
}

#[test]
fn values_make_room_for_values_before_tombstones_do() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    (1000..1010).for_each(|key| assert!(!single.delete(START, key)));
    single.fill(0..500);
    assert_eq!((single.stats().tombstones, single.stats().tombstones_lost), (10, 0));
    // One that needs the whole shard takes it.
    let value = vec![0; 100 * SMALL * 3 / 4];
    single.set_record(START, hash(1), Record::new(&1_u32.to_be_bytes(), &value), Expiry::Never).unwrap();
    let all = Record::new(&1_u32.to_be_bytes(), &vec![0; 96 * SMALL * 4 / 5]);
    single.set_record(START, hash(1), all, Expiry::Never).unwrap();
    let stats = single.stats();
    assert!(stats.bytes <= 100 * SMALL);
    assert_eq!(stats.tombstones as u64 + stats.tombstones_lost, 10);
}

#[test]
fn a_purge_forgets_the_tombstones_up_to_its_moment_and_no_values() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    for (key, stamp) in [(1, value(1)), (2, grave(2)), (3, grave(3)), (4, grave(4)), (5, value(5))] {
        assert_eq!(single.merge(Origin::Write, key, stamp), STORED);
    }
    assert_eq!(single.purge(3, 0), 2);
    assert_eq!((single.stats().entries, single.stats().tombstones), (2, 1));
    assert_eq!(single.purge(3, 0), 0);
}

#[test]
fn an_expired_entry_is_purged_only_when_nobody_can_have_prolonged_it() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    let expiring = |touched| Stamp { touched: Hlc::new(touched), ..Stamp::value(version(1), START.as_millis() + 10) };
    assert_eq!(single.merge(Origin::Write, 1, expiring(0)), STORED);
    assert_eq!(single.merge(Origin::Write, 2, expiring(9)), STORED);
    assert_eq!(single.merge(Origin::Write, 3, expiring(0)), STORED);
    assert!(!single.get(START.saturating_add(MILLISECOND * 10), 3));
    assert_eq!(single.purge(5, START.as_millis() + 9), 0);
    // The second was touched after the moment that is collected.
    assert_eq!(single.purge(5, START.as_millis() + 10), 2);
    assert_eq!((single.stats().entries, single.stats().tombstones), (0, 1));
}

#[test]
fn a_slot_that_is_lost_and_reset_starts_empty() {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    single.fill(0..50);
    single.delete(START, 1);
    let lost = single.slots.slot_of(&1_u32.to_be_bytes());
    let removed = single.shard.retain(&single.slots, |_, entry| single.slots.slot_of(entry.key()) != lost);
    assert_eq!(single.stats().entries + single.stats().tombstones + removed, 50);
    single.slots.raise_floor(lost, Hlc::new(99));
    single.slots.raise_seal(lost, Hlc::new(99));
    single.slots.reset(lost);
    assert_eq!(single.slots.summary(lost), Default::default());
    assert_eq!(single.merge(Origin::Write, 1, value(1)), STORED);
}

#[cfg(debug_assertions)]
mod planted {
    use super::*;
    use crate::planted::data::DataBug;

    fn single(bug: DataBug) -> Single {
        let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
        single.shard.config.planted = DataPlanted::some(bug);
        single
    }

    #[test]
    fn a_digest_can_miss_an_expiry() {
        let mut single = single(DataBug::DigestNotUpdatedOnExpiry);
        let slot = single.slots.slot_of(&1_u32.to_be_bytes());
        single.set(START, 1, SECOND);
        single.shard.set_shadowing(false);
        single.expire(START.saturating_add(Duration::from_secs(1)), 1);
        assert_eq!(single.slots.summary(slot).entries, 0);
        assert_ne!(single.slots.summary(slot).digest, Default::default());
    }

    #[test]
    fn a_lost_slot_can_be_kept() {
        let mut single = single(DataBug::KeepsDataAfterLosingSlot);
        single.set(START, 1, SECOND);
        assert_eq!(single.shard.retain(&single.slots, |_, _| false), 0);
        assert!(single.get(START, 1));
    }

    #[test]
    fn a_floor_can_be_ignored() {
        let mut single = single(DataBug::FloorIgnored);
        single.raise_floors(10);
        ORIGINS.into_iter().zip(20..).for_each(|(origin, key)| {
            assert_eq!(single.merge(origin, key, value(1)), STORED);
        });
    }

    #[test]
    fn an_equal_version_can_overwrite() {
        let mut single = single(DataBug::EqualVersionOverwrites);
        for byte in [1, 2, 1] {
            single.apply(START, hash(1), value(1), Record::new(&1_u32.to_be_bytes(), &[byte])).unwrap();
            assert_eq!(single.shard.segments.peek(hash(1)).unwrap().value(), [byte]);
        }
    }

    #[test]
    fn an_older_version_can_win() {
        let mut single = single(DataBug::OlderWins);
        single.merge(Origin::Write, 1, value(9)).unwrap();
        single.merge(Origin::Write, 1, value(8)).unwrap();
        assert_eq!(single.shard.segments.peek(hash(1)).unwrap().stamp(), value(8));
    }

    #[test]
    fn a_fence_can_be_ignored() {
        let mut single = single(DataBug::SealIgnored);
        single.shard.seal(FENCE.next());
        assert_eq!(single.merge(Origin::Write, 1, value(1)), STORED);
    }
}
