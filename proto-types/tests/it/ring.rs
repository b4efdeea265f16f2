//! The ring against a naive model, and what consistent hashing promises.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, option, prelude::*};
use quoit_proto_types::{
    HashPoint, Ordinal, Ring, SlotCount, SlotIndex,
    ring::{Circle, Meeting, RingMember},
};

use crate::{samples, strategies};

fn member(index: u32, vnodes: u32, zone: Option<u8>) -> RingMember {
    RingMember {
        ordinal: Ordinal::new(index),
        node_id: samples::node_id(&format!("n{index}")),
        zone: zone.map(|zone| samples::label(&format!("z{zone}"))),
        vnodes,
    }
}

/// Up to eight members, some of them witnesses, with and without zones, in any order.
fn members(zone: impl Strategy<Value = Option<u8>>) -> impl Strategy<Value = Vec<RingMember>> {
    let members = vec((0_u32..24, zone), 0..9).prop_map(|members| {
        (0..).zip(members).map(|(index, (vnodes, zone))| member(index, vnodes, zone)).collect::<Vec<_>>()
    });
    members.prop_shuffle()
}

fn zones() -> impl Strategy<Value = Option<u8>> {
    option::of(0_u8..3)
}

fn slot_count() -> impl Strategy<Value = SlotCount> {
    (4_u8..9).prop_map(|log2| SlotCount::from_log2(log2).unwrap())
}

/// The owners by the letter of the definition: members by the distance to their nearest token; one of each zone first.
fn naive_owners(members: &[RingMember], from: HashPoint, replication: u8) -> Vec<Ordinal> {
    let nearest = |member: &RingMember| {
        let points = (0..member.vnodes).map(|index| HashPoint::of_vnode(member.node_id, index));
        points.map(|point| point.value().wrapping_sub(from.value())).min()
    };
    let placed = members.iter().filter_map(|member| Some((nearest(member)?, member.node_id, member)));
    let clockwise = placed.map(|(distance, id, member)| ((distance, id), member)).collect::<BTreeMap<_, _>>();
    let clockwise: Vec<&RingMember> = clockwise.into_values().collect();
    let mut owners: Vec<&RingMember> = Vec::new();
    for member in &clockwise {
        if member.zone.is_none() || owners.iter().all(|owner| owner.zone != member.zone) {
            owners.push(member);
        }
    }
    let others: Vec<&RingMember> =
        clockwise.into_iter().filter(|member| owners.iter().all(|owner| owner.ordinal != member.ordinal)).collect();
    owners.into_iter().chain(others).take(usize::from(replication)).map(|member| member.ordinal).collect()
}

/// Each slot with its owners in both rings.
fn side_by_side<'a>(one: &'a Ring, other: &'a Ring) -> impl Iterator<Item = (SlotIndex, &'a [Ordinal], &'a [Ordinal])> {
    one.slots().slots().map(|slot| (slot, one.owners(slot), other.owners(slot)))
}

proptest! {
    #![proptest_config(strategies::cases(96))]

    #[test]
    fn the_walk_tells_how_each_owner_was_found(members in members(zones()), replication in 1_u8..6, from in any::<u64>()) {
        let from = HashPoint::new(from);
        let steps = Circle::of(&members).steps(from, replication);
        let mut owners = BTreeMap::new();
        let mut met = BTreeSet::new();
        let zone = |ordinal: Ordinal| members.iter().find(|member| member.ordinal == ordinal).unwrap().zone.clone();
        for step in &steps {
            let is_new = met.insert(step.member);
            prop_assert_eq!(is_new, step.meaning != Meeting::Again);
            match step.meaning {
                Meeting::Owner { place } => owners.extend([(place, step.member)]),
                Meeting::SameZone { owner, place } => {
                    prop_assert!(owner != step.member && met.contains(&owner));
                    prop_assert!(zone(owner).is_some() && zone(owner) == zone(step.member));
                    owners.extend(place.map(|place| (place, step.member)));
                }
                Meeting::Again => {}
            }
        }
        let distances = steps.iter().map(|step| step.point.value().wrapping_sub(from.value()));
        prop_assert!(distances.is_sorted());
        prop_assert!(owners.keys().copied().eq(0..owners.len()));
        let owners: Vec<_> = owners.into_values().collect();
        prop_assert_eq!(owners, naive_owners(&members, from, replication));
    }

    #[test]
    fn owners_are_those_of_the_definition(
        members in members(zones()), slots in slot_count(), replication in 0_u8..8,
    ) {
        let ring = Ring::build(&members, slots, replication);
        for slot in slots.slots() {
            prop_assert_eq!(ring.owners(slot), naive_owners(&members, slots.first_point(slot), replication));
            prop_assert_eq!(ring.primary(slot), ring.owners(slot).first().copied());
        }
    }

    #[test]
    fn owners_are_distinct_and_in_as_many_zones_as_can_be(
        members in members(zones()), slots in slot_count(), replication in 1_u8..8,
    ) {
        let placed: BTreeMap<Ordinal, &RingMember> =
            members.iter().filter(|member| member.vnodes > 0).map(|member| (member.ordinal, member)).collect();
        let zones_of = |ordinals: &mut dyn Iterator<Item = &Ordinal>| {
            let alone = |ordinal: &Ordinal| match &placed[ordinal].zone {
                Some(zone) => zone.to_string(),
                None => format!("alone: {ordinal}"),
            };
            ordinals.map(alone).collect::<BTreeSet<_>>().len()
        };
        let replicas = placed.len().min(usize::from(replication));
        let zones = zones_of(&mut placed.keys()).min(replicas);
        let ring = Ring::build(&members, slots, replication);
        for slot in slots.slots() {
            let owners: BTreeSet<_> = ring.owners(slot).iter().collect();
            prop_assert_eq!((ring.owners(slot).len(), owners.len()), (replicas, replicas));
            prop_assert_eq!(zones_of(&mut owners.into_iter()), zones);
        }
    }

    #[test]
    fn the_order_of_members_is_of_no_matter(
        (members, shuffled) in members(zones()).prop_flat_map(|members| {
            (Just(members.clone()), Just(members).prop_shuffle())
        }),
        slots in slot_count(),
        replication in 1_u8..8,
    ) {
        prop_assert_eq!(Ring::build(&members, slots, replication), Ring::build(&shuffled, slots, replication));
    }

    /// Read from left to right a member leaves, from right to left it joins.
    #[test]
    fn only_the_one_who_joins_or_leaves_moves(
        mut members in members(zones()), slots in slot_count(), replication in 1_u8..8,
    ) {
        let with = Ring::build(&members, slots, replication);
        let Some(one) = members.pop() else { return Ok(()) };
        let without = Ring::build(&members, slots, replication);
        for (slot, with, without) in side_by_side(&with, &without) {
            let [with, without] = [with, without].map(|owners| owners.iter().copied().collect::<BTreeSet<_>>());
            if with.contains(&one.ordinal) {
                let stayed: BTreeSet<_> = with.iter().copied().filter(|owner| *owner != one.ordinal).collect();
                prop_assert!(stayed.is_subset(&without), "{}: {:?} {:?}", slot, with, without);
                prop_assert!(without.len() - stayed.len() <= 1);
            } else {
                prop_assert_eq!(with, without, "{}", slot);
            }
        }
    }

    /// Without zones the order of the others stays as well, so no primary changes needlessly.
    #[test]
    fn without_zones_the_others_keep_their_order(
        mut members in members(Just(None)), slots in slot_count(), replication in 1_u8..8,
    ) {
        let with = Ring::build(&members, slots, replication);
        let Some(one) = members.pop() else { return Ok(()) };
        let without = Ring::build(&members, slots, replication);
        for (slot, with, without) in side_by_side(&with, &without) {
            let stayed: Vec<_> = with.iter().copied().filter(|owner| *owner != one.ordinal).collect();
            prop_assert!(without.starts_with(&stayed), "{}: {:?} {:?}", slot, with, without);
        }
    }

    #[test]
    fn every_point_is_in_the_slot_that_begins_before_it(point in any::<u64>(), slots in slot_count()) {
        let point = HashPoint::new(point);
        let slot = slots.slot_of(point);
        let first = slots.first_point(slot);
        prop_assert!(first <= point);
        prop_assert!(point.value() - first.value() < 1 << (64 - slots.log2()));
        prop_assert_eq!(slots.slot_of(first), slot);
        prop_assert_eq!(slots.slots().nth(slot.index()), Some(slot));
    }
}

#[test]
fn shares_follow_the_weights() {
    let weights = [64, 128, 128, 256, 512];
    let members: Vec<RingMember> = (0..).zip(weights).map(|(index, vnodes)| member(index, vnodes, None)).collect();
    let ring = Ring::build(&members, SlotCount::DEFAULT, 1);
    let total: u32 = weights.iter().sum();
    let shares = members.iter().map(|member| ring.primary_slots(member.ordinal));
    assert_eq!(shares.clone().sum::<usize>(), SlotCount::DEFAULT.count() as usize);
    for (member, slots) in members.iter().zip(shares) {
        let fair = f64::from(SlotCount::DEFAULT.count()) * f64::from(member.vnodes) / f64::from(total);
        let share = f64::from(u32::try_from(slots).unwrap()) / fair;
        assert!((0.8..1.25).contains(&share), "{} vnodes: {share} of the fair share", member.vnodes);
    }
}

#[test]
fn a_ring_without_vnodes_has_no_owners() {
    for members in [vec![], vec![member(0, 0, None), member(1, 0, Some(1))]] {
        let ring = Ring::build(&members, SlotCount::DEFAULT, 3);
        assert_eq!(ring.primary_of(HashPoint::new(1)), None);
        assert!(ring.slots().slots().all(|slot| ring.owners(slot).is_empty()));
        assert_eq!(ring.primary_slots(Ordinal::new(0)), 0);
    }
}
