//! Merging is a join: any order, any grouping and any repetition of the same entries leave the same.

use proptest::collection::vec;
use proptest::prelude::*;
use quoit_proto_types::version::{EntryKind, Hlc, Stamp};

use super::*;

/// Few different stamps, so that many are equal, with values of their own all the same.
fn entries() -> impl Strategy<Value = Vec<(Stamp, Vec<u8>)>> {
    let kind = prop_oneof![3 => Just(EntryKind::Value), 1 => Just(EntryKind::Tombstone)];
    let expiry = prop_oneof![Just(0), START.as_millis() - 2..START.as_millis() + 3];
    let entry = (1..4_u64, 0..2_u32, 0..3_u64, kind, expiry, vec(0..3_u8, 0..2));
    let entry = entry.prop_map(|(hlc, ordinal, touched, kind, expires_at_ms, value)| {
        let version = Version { ordinal: Ordinal::new(ordinal), ..version(hlc) };
        (Stamp { version, touched: Hlc::new(touched), kind, expires_at_ms }, value)
    });
    vec(entry, 1..8)
}

fn merged(entries: &[(Stamp, Vec<u8>)]) -> Single {
    let mut single = Single::new(EvictionPolicy::SegmentedLru, 100);
    for (stamp, value) in entries {
        merge(&mut single, *stamp, value);
    }
    single
}

fn merge(single: &mut Single, stamp: Stamp, value: &[u8]) -> Applied {
    let entry = Entry::new(Record::new(b"key", value), stamp);
    let slot = single.slots.slot_of(entry.key());
    single.shard.apply((&single.slots, slot), START, (FENCE, Origin::Handoff), 1, entry).unwrap()
}

fn held(single: &Single) -> (Stamp, Vec<u8>) {
    let entry = single.shard.segments.peek(1).unwrap();
    (entry.stamp(), entry.value().to_vec())
}

proptest! {
    #[test]
    fn merge_is_commutative(entries in entries(), shuffled in any::<prop::sample::Index>()) {
        let mut others = entries.clone();
        others.reverse();
        let by = shuffled.index(others.len());
        others.rotate_left(by);
        prop_assert_eq!(held(&merged(&entries)), held(&merged(&others)));
    }

    #[test]
    fn merge_is_associative(entries in entries(), at in any::<prop::sample::Index>()) {
        // Two replicas merge a part each, then one merges what the other has.
        let (left, right) = entries.split_at(at.index(entries.len()));
        let mut both = merged(left);
        if !right.is_empty() {
            let (stamp, value) = held(&merged(right));
            merge(&mut both, stamp, &value);
        }
        prop_assert_eq!(held(&both), held(&merged(&entries)));
    }

    #[test]
    fn merge_is_idempotent(entries in entries()) {
        let mut single = merged(&entries);
        let before = held(&single);
        for (stamp, value) in &entries {
            let known = matches!(merge(&mut single, *stamp, value), Applied::Known { .. });
            prop_assert!(known);
        }
        prop_assert_eq!(held(&single), before);
    }

    #[test]
    fn a_touch_never_beats_a_newer_write(entries in entries(), touched in any::<u64>()) {
        let mut single = merged(&entries);
        let (newest, _) = held(&single);
        let older = Stamp { touched: Hlc::new(touched), ..Stamp::value(version(0), 0) };
        let known = matches!(merge(&mut single, older, b"old"), Applied::Known { .. });
        prop_assert!(known);
        prop_assert_eq!(held(&single).0, newest);
    }
}
