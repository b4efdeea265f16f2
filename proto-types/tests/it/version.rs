//! Versions, levels and sets of slots: in order, as they are named, and as they are told.

use std::collections::BTreeSet;

use proptest::prelude::*;
use quoit_proto_types::{
    Boot, EntryKind, Hlc, Ordinal, ReadLevel, SlotCount, SlotIndex, SlotSet, Stamp, Version, WriteLevel,
    codec::{self, DecodeError},
};

use crate::{samples::encoded, strategies};

fn version(hlc: u64, ordinal: u32, boot: u32) -> Version {
    Version { hlc: Hlc::new(hlc), ordinal: Ordinal::new(ordinal), boot: Boot::new(boot) }
}

#[test]
fn a_version_is_later_by_its_clock_then_by_its_node_then_by_that_ones_life() {
    let order = [version(0, 9, 9), version(1, 1, 2), version(1, 2, 1), version(1, 2, 2), version(2, 0, 0)];
    assert!(order.is_sorted_by(|a, b| a < b));
    assert!(Version::default() < version(0, 0, 1) && Hlc::MIN == Hlc::default());
    assert_eq!(version((5 << 16) + 3, 2, 1).to_string(), "5.3@2.1");
}

#[test]
fn a_millisecond_whose_counter_is_used_up_is_followed_by_the_next() {
    let last = Hlc::new((7 << 16) | 0xffff);
    assert_eq!((last.millis(), last.next(), last.next().millis()), (7, Hlc::from_millis(8), 8));
    assert_eq!(Hlc::from_millis(7).next().to_string(), "7.1");
    assert_eq!(Hlc::new(u64::MAX).next(), Hlc::new(u64::MAX), "it never goes back");
    for beyond in [Hlc::MILLIS_MAX + 1, u64::MAX] {
        assert_eq!(Hlc::from_millis(beyond), Hlc::from_millis(Hlc::MILLIS_MAX));
    }
    assert_eq!(Hlc::from_millis(Hlc::MILLIS_MAX).millis(), Hlc::MILLIS_MAX);
}

#[test]
fn a_later_write_wins_over_any_touch_of_an_earlier_one() {
    let (old, new) = (Stamp::value(version(1, 1, 1), 0), Stamp::value(version(2, 1, 1), 0));
    let touched = Stamp { touched: Hlc::new(u64::MAX), expires_at_ms: 5, ..old };
    assert!(new.supersedes(&old) && new.supersedes(&touched) && touched.supersedes(&old));
    assert!(!old.supersedes(&touched) && !touched.supersedes(&new) && !old.supersedes(&old));
}

#[test]
fn of_two_touches_of_one_moment_the_longer_one_stays() {
    let touch = |expires_at_ms| Stamp { touched: Hlc::new(7), ..Stamp::value(version(1, 1, 1), expires_at_ms) };
    let dead = |stamp: Stamp| Stamp { kind: EntryKind::Tombstone, ..stamp };
    // A node keeps no expiry after the last moment of the clock.
    let order = [touch(1), dead(touch(1)), touch(2), touch(Hlc::MILLIS_MAX), touch(0), dead(touch(0))];
    for (index, stamp) in order.iter().enumerate() {
        assert!(order[..index].iter().all(|before| stamp.supersedes(before) && !before.supersedes(stamp)), "{stamp:?}");
    }
    assert_eq!(touch(Hlc::MILLIS_MAX + 1).rank(), touch(0).rank());
    let later = Stamp { touched: Hlc::new(8), ..touch(1) };
    assert!(order.iter().all(|stamp| later.supersedes(stamp)), "a later touch may shorten");
}

#[test]
fn an_entry_is_absent_when_it_was_deleted_or_has_expired() {
    let expires = Stamp::value(version(1, 1, 1), 100);
    assert_eq!([99, 100, 101].map(|now| expires.is_absent_at(now)), [false, true, true]);
    assert!(!Stamp::value(version(1, 1, 1), 0).is_absent_at(u64::MAX), "0 is never");
    let deleted = Stamp::tombstone(version(1, 1, 1));
    assert!(deleted.is_absent_at(0) && deleted.kind == EntryKind::Tombstone);
}

#[test]
fn a_moment_has_eight_bytes_or_none_and_nothing_between() {
    let decode = |bytes: &[u8]| codec::decode_exact::<Hlc>(bytes, "moment", 16);
    for (bits, bytes) in
        [(0, &[0][..]), (1, &[8, 1, 0, 0, 0, 0, 0, 0, 0]), (u64::MAX, &[8, 255, 255, 255, 255, 255, 255, 255, 255])]
    {
        assert_eq!(encoded(|out| codec::encode(&Hlc::new(bits), out)), bytes);
        assert_eq!(decode(bytes), Ok(Hlc::new(bits)));
    }
    let none_at_length = [8, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(decode(&none_at_length), Err(DecodeError::Malformed { what: "moment" }));
    for length in (1..8).chain(9..15) {
        let bytes = [&[length][..], &vec![7; length.into()]].concat();
        assert_eq!(decode(&bytes), Err(DecodeError::Malformed { what: "moment" }), "{length}");
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
    }
}

#[test]
fn for_people_a_moment_is_a_number() {
    let told = serde_json::to_string(&version(7, 2, 1)).unwrap();
    assert_eq!(told, r#"{"hlc":7,"ordinal":2,"boot":1}"#);
    assert_eq!(serde_json::from_str::<Version>(&told).unwrap(), version(7, 2, 1));
}

#[test]
fn levels_are_read_as_they_are_named() {
    for level in WriteLevel::ALL {
        assert_eq!((level.to_string().parse(), level.name().to_uppercase().parse()), (Ok(level), Ok(level)));
    }
    for level in ReadLevel::ALL {
        assert_eq!((level.to_string().parse(), level.name().to_uppercase().parse()), (Ok(level), Ok(level)));
    }
    assert!(WriteLevel::ALL.is_sorted() && ReadLevel::ALL.is_sorted(), "from the weakest to the strongest");
    assert_eq!((WriteLevel::default(), ReadLevel::default()), (WriteLevel::Two, ReadLevel::One));
    let unknown = "three".parse::<WriteLevel>().map_err(|error| error.to_string());
    assert_eq!(unknown, Err("`three` is no level: any, one, two, quorum or all".to_owned()));
    let unknown = "two".parse::<ReadLevel>().map_err(|error| error.to_string());
    assert_eq!(unknown, Err("`two` is no level: one, quorum or all".to_owned()));
    let long = "é".repeat(1000).parse::<ReadLevel>().unwrap_err().to_string();
    assert!(long.len() < 120, "{long}");
}

#[test]
fn levels_are_numbered_as_they_always_were() {
    let number = |level: WriteLevel| encoded(|out| codec::encode(&level, out));
    assert_eq!(WriteLevel::ALL.map(number), [vec![0], vec![1], vec![2], vec![3], vec![4]]);
    let number = |level: ReadLevel| encoded(|out| codec::encode(&level, out));
    assert_eq!(ReadLevel::ALL.map(number), [vec![0], vec![1], vec![2]]);
    let [value, tombstone] =
        [EntryKind::Value, EntryKind::Tombstone].map(|kind| encoded(|out| codec::encode(&kind, out)));
    assert_eq!((value, tombstone), (vec![0], vec![1]));
}

fn decode_set(bytes: &[u8]) -> Result<SlotSet, DecodeError> {
    codec::decode_exact(bytes, "slots", 1 << 20)
}

fn slot(set: &SlotSet, index: usize) -> SlotIndex {
    set.slots().slots().nth(index).unwrap()
}

fn indices(set: &SlotSet) -> BTreeSet<usize> {
    set.iter().map(|slot| slot.index()).collect()
}

proptest! {
    #![proptest_config(strategies::cases(128))]

    #[test]
    fn of_two_versions_one_is_later_unless_they_are_one(a in strategies::stamp(), b in strategies::stamp()) {
        let same = a.rank() == b.rank();
        prop_assert_eq!(usize::from(a.supersedes(&b)) + usize::from(b.supersedes(&a)), usize::from(!same));
    }

    #[test]
    fn the_next_moment_is_later(bits in 0..u64::MAX) {
        prop_assert!(Hlc::new(bits).next() > Hlc::new(bits));
    }

    #[test]
    fn a_set_is_read_as_written(set in strategies::slot_set()) {
        let bytes = encoded(|out| codec::encode(&set, out));
        prop_assert_eq!(decode_set(&bytes), Ok(set));
        for length in 0..bytes.len() {
            prop_assert!(decode_set(&bytes[..length]).is_err(), "the first {} bytes", length);
        }
    }

    /// Against sets of indices.
    #[test]
    fn sets_are_sets(a in strategies::slot_set(), b in strategies::slot_set(), count in 0..5000_usize, index in 0..4096_usize) {
        let b = SlotSet::of(a.slots(), |slot| indices(&b).contains(&slot.index()));
        let (in_a, in_b) = (indices(&a), indices(&b));
        prop_assert_eq!((a.len(), a.is_empty()), (in_a.len(), in_a.is_empty()));
        prop_assert_eq!(a.meets(&b), !in_a.is_disjoint(&in_b));
        let mut both = a.clone();
        both.extend(&b);
        prop_assert_eq!(indices(&both), in_a.union(&in_b).copied().collect::<BTreeSet<_>>());
        let mut rest = a.clone();
        rest.subtract(&b);
        prop_assert_eq!(indices(&rest), in_a.difference(&in_b).copied().collect::<BTreeSet<_>>());
        let mut rest = a.clone();
        let taken = rest.take(count);
        prop_assert_eq!(indices(&taken), in_a.iter().copied().take(count).collect::<BTreeSet<_>>());
        prop_assert_eq!(indices(&rest), in_a.iter().copied().skip(count).collect::<BTreeSet<_>>());
        let one = slot(&a, index % a.slots().count() as usize);
        let mut more = a.clone();
        more.insert(one);
        prop_assert!(more.contains(one) && more.len() == a.len() + usize::from(!a.contains(one)));
        more.remove(one);
        prop_assert!(!more.contains(one) && more.len() + 1 >= a.len());
    }
}

#[test]
fn a_set_has_no_slot_of_a_larger_cluster() {
    let [few, many] = [4, 8].map(|log2| SlotSet::of(SlotCount::from_log2(log2).unwrap(), |_| true));
    let beyond = slot(&many, 200);
    let mut set = few.clone();
    set.insert(beyond);
    set.remove(beyond);
    assert_eq!((set.len(), set.contains(beyond)), (16, false));
}

/// A set of 2^4 slots, encoded as `runs`.
fn runs(runs: &[(u32, u32)]) -> Result<Vec<usize>, DecodeError> {
    let bytes = encoded(|out| codec::encode(&(SlotCount::from_log2(4).unwrap(), runs), out));
    decode_set(&bytes).map(|set| set.iter().map(|slot| slot.index()).collect())
}

#[test]
fn hostile_runs_are_refused() {
    assert_eq!(runs(&[]), Ok(vec![]));
    assert_eq!(runs(&[(0, 16)]).map(|slots| slots.len()), Ok(16));
    assert_eq!(runs(&[(1, 2), (3, 1), (8, 1)]), Ok(vec![1, 2, 6, 15]));
    let refused: Result<Vec<usize>, _> = Err(DecodeError::Malformed { what: "slots" });
    for hostile in [
        &[(0, 17)][..],
        &[(16, 1)],
        &[(1, 16)],
        &[(0, 0)],
        &[(0, 1), (0, 0)],
        &[(8, 8), (0, 1)],
        &[(8, 4), (4, 1)],
        &[(0, u32::MAX)],
        &[(u32::MAX, 1)],
        &[(u32::MAX, u32::MAX)],
        &[(1, 15), (1, 15), (1, 15)],
    ] {
        assert_eq!(runs(hostile), refused, "{hostile:?}");
    }
    assert!(decode_set(&[21, 0]).is_err(), "more slots than any cluster has");
}
