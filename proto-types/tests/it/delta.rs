//! Deltas between views: what results is the view that was meant, or an error.

use proptest::prelude::*;
use quoit_proto_types::{
    Boot, ClusterId, Epoch, Identity, Instance, Member, Ordinal, Role, SlotCount, SlotIndex, Tokens, View,
    view::{Change, DeltaError, Liveness, Owner, OwnersDelta, RingAlgorithm, TargetDelta, ViewDelta, ViewFields},
};

use crate::{samples, strategies};

proptest! {
    #![proptest_config(strategies::cases(128))]

    #[test]
    fn a_delta_makes_the_later_view_of_the_earlier((old, new) in strategies::views()) {
        let delta = ViewDelta::between(&old, &new).unwrap();
        let read = ViewDelta::decode(&samples::encoded(|out| delta.encode(out))).unwrap();
        prop_assert_eq!((read.base_epoch, read.epoch), (old.epoch(), new.epoch()));
        prop_assert_eq!(read.apply(&old, old.hash()), Ok(new.clone()));
        prop_assert_eq!(read.apply(&new, new.hash()), Err(DeltaError::OtherBase));
        prop_assert_eq!(ViewDelta::between(&new, &old), None);
    }

    /// Even if a caller takes another view for the base, nothing but the view that was meant can result.
    #[test]
    fn on_another_base_no_other_view_results(((_, new), (other, _)) in (strategies::views(), strategies::views())) {
        let mut fields = new.fields().clone();
        (fields.cluster_id, fields.recovered_from) = (other.fields().cluster_id, other.fields().recovered_from);
        (fields.epoch, fields.fence) = (Epoch::new(other.epoch().value() + 1), other.fence());
        let newer = View::new(fields).unwrap();
        let base = View::new(ViewFields { proposed_at_ms: 5, ..other.fields().clone() }).unwrap();
        if let Ok(found) = ViewDelta::between(&other, &newer).unwrap().apply(&base, other.hash()) {
            prop_assert_eq!(found, newer);
        }
    }

    /// Whatever bit is flipped, on the way or by an enemy who leaves the hash.
    #[test]
    fn a_tampered_delta_makes_no_other_view((old, new) in strategies::views(), bits in any::<[prop::sample::Index; 16]>()) {
        let bytes = samples::encoded(|out| ViewDelta::between(&old, &new).unwrap().encode(out));
        for bit in bits.map(|bit| bit.index(bytes.len() * 8)) {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(found) = ViewDelta::decode(&bytes).map(|delta| delta.apply(&old, old.hash())) {
                let refused = [DeltaError::OtherBase, DeltaError::OtherResult];
                let is_refused = |error| refused.contains(&error) || matches!(error, DeltaError::Invalid(_));
                prop_assert!(found.clone().map_or_else(is_refused, |view| view == new), "{:?}", found);
            }
        }
    }
}

/// What became of `change`, applied to the sample delta.
fn applied(change: impl FnOnce(&mut ViewDelta)) -> Result<View, DeltaError> {
    let mut delta = samples::delta();
    change(&mut delta);
    delta.apply(&samples::view(), samples::view().hash())
}

#[test]
fn every_field_is_vouched_for_by_the_hash() {
    assert_eq!(applied(|_| ()), Ok(samples::next_view()));
    assert_eq!(applied(|delta| delta.base = samples::view_hash(1)), Err(DeltaError::OtherBase));
    let changes: [fn(&mut ViewDelta); 13] = [
        |delta| delta.hash = samples::view_hash(1),
        |delta| delta.epoch = Epoch::new(11),
        |delta| delta.previous = samples::view_hash(1),
        |delta| delta.ballot = samples::ballot_above(),
        |delta| delta.coordinator = Ordinal::new(2),
        |delta| delta.voters.truncate(1),
        |delta| delta.config.replication = 1,
        |delta| delta.fence = samples::view().fence(),
        |delta| delta.next_ordinal = Ordinal::new(9),
        |delta| delta.proposed_at_ms += 1,
        |delta| delta.changes.push(Change::Formed),
        |delta| delta.members.clear(),
        |delta| delta.ring = OwnersDelta::default(),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let found = applied(change);
        assert!(matches!(found, Err(DeltaError::OtherResult | DeltaError::Invalid(_))), "{place}: {found:?}");
    }
    let joint = applied(|delta| delta.target = TargetDelta::Joint(OwnersDelta::default()));
    assert_eq!(joint, Err(DeltaError::OtherResult));
    let returned = applied(|delta| delta.removed.clear());
    assert_eq!(returned, Err(DeltaError::OtherResult));
}

#[test]
fn what_is_no_view_is_refused_as_such() {
    let refused = applied(|delta| delta.coordinator = Ordinal::new(9)).map_err(|error| error.to_string());
    assert_eq!(refused, Err("not a valid view: the coordinator is not a member".to_owned()));
}

/// Ids are derived again for members that changed, however well they are known.
#[test]
fn nobody_gets_the_place_of_another_on_the_ring() {
    let broken = Err("not a valid view: a node id does not follow from its name".to_owned());
    let stolen = applied(|delta| delta.members[0].node_id = samples::node_id("n4"));
    assert_eq!(stolen.map_err(|error| error.to_string()), broken);
    let renamed = applied(|delta| delta.members[0].name = samples::label("n9"));
    assert_eq!(renamed.map_err(|error| error.to_string()), broken);
    let other = applied(|delta| {
        (delta.members[0].name, delta.members[0].node_id) = (samples::label("n9"), samples::node_id("n9"));
    });
    assert_eq!(other, Err(DeltaError::OtherResult));
}

#[test]
fn there_is_no_delta_between_clusters_nor_to_what_is_not_later() {
    let (old, new) = (samples::view(), samples::next_view());
    let changed = |change: fn(&mut ViewFields)| {
        let mut fields = new.fields().clone();
        change(&mut fields);
        View::new(fields).unwrap()
    };
    let elsewhere = changed(|fields| fields.cluster_id = ClusterId::from_random(9));
    let recovered = changed(|fields| fields.recovered_from = None);
    for other in [&elsewhere, &recovered, &old] {
        assert_eq!(ViewDelta::between(&old, other), None);
    }
}

/// A view of `count` members, all of them owners.
fn large(count: u32) -> ViewFields {
    let member = |index: u32| {
        let name = format!("cache-{index:04}").parse().unwrap();
        let identity = Identity { role: Role::Node, name, cluster: samples::label("prod") };
        Member {
            ordinal: Ordinal::new(index),
            node_id: identity.node_id(),
            name: identity.name,
            instance: Instance::from_random(u128::from(index) << 90),
            boot: Boot::new(7),
            address: format!("10.1.{}.{}:7750", index / 250, index % 250).parse().unwrap(),
            ..samples::member(1)
        }
    };
    let members: Vec<Member> = (0..count).map(member).collect();
    let ring = members.iter().map(|member| Owner { ordinal: member.ordinal, boot: member.boot }).collect();
    let next_ordinal = Ordinal::new(count);
    ViewFields { members, ring, target: None, next_ordinal, ..samples::view_fields() }
}

#[test]
fn one_member_of_a_thousand_is_told_in_less_than_300_bytes() {
    let old = View::new(large(1_000)).unwrap();
    let mut fields = large(1_000);
    fields.epoch = Epoch::new(10);
    fields.previous = old.hash();
    fields.members[700].live = Liveness::Down;
    fields.changes = vec![Change::Down(fields.members[700].name.clone())];
    let new = View::new(fields).unwrap();
    let [whole, delta] = [
        samples::encoded(|out| new.encode(out)),
        samples::encoded(|out| ViewDelta::between(&old, &new).unwrap().encode(out)),
    ];
    assert!(delta.len() < 300 && whole.len() > 250 * delta.len(), "{} of {}", delta.len(), whole.len());
    assert_eq!(ViewDelta::decode(&delta).unwrap().apply(&old, old.hash()), Ok(new));
}

/// A ring change that ends puts tokens in force that everybody has been told already.
#[test]
fn tokens_are_told_once() {
    let mut fields = large(1_000);
    fields.config.ring_algorithm = RingAlgorithm::Balanced;
    fields.config.slots = SlotCount::from_log2(18).unwrap();
    fields.members.iter_mut().for_each(|member| member.placed = None);
    let tokens = |index: u32| Tokens::new((0..128).map(|token| SlotIndex::new(token * 2_000 + index)).collect());
    fields.tokens.ring = (0..1_000).map(tokens).collect();
    fields.target = Some(fields.ring[1..].to_vec());
    fields.tokens.target = (1..1_000).map(|index| tokens(index + 7)).collect();
    let joint = View::new(fields.clone()).unwrap();
    fields.epoch = Epoch::new(10);
    fields.previous = joint.hash();
    fields.ring = fields.target.take().unwrap();
    fields.tokens.ring = std::mem::take(&mut fields.tokens.target);
    let stable = View::new(fields).unwrap();
    let [whole, delta] = [
        samples::encoded(|out| joint.encode(out)),
        samples::encoded(|out| ViewDelta::between(&joint, &stable).unwrap().encode(out)),
    ];
    assert!(delta.len() < 300 && whole.len() < 700_000, "{} of {}", delta.len(), whole.len());
    assert_eq!(ViewDelta::decode(&delta).unwrap().apply(&joint, joint.hash()), Ok(stable));
}
