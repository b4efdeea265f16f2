use bytes::BytesMut;
use quoit_proto_types::{
    Ballot, Boot, Fence, Identity, Instance, Label, Role,
    message::session::VERSIONS,
    view::{Intent, Liveness, Owner, ViewConfig, ViewFields},
};

use super::*;

fn cluster(id: u128) -> ClusterId {
    ClusterId::from_random(id)
}

fn member(index: u32) -> Member {
    let name: Label = format!("n{index}").parse().unwrap();
    let identity = Identity { role: Role::Node, name: name.clone(), cluster: "prod".parse().unwrap() };
    Member {
        ordinal: Ordinal::new(index),
        node_id: identity.node_id(),
        name,
        instance: Instance::from_random(u128::from(index)),
        boot: Boot::new(1),
        address: format!("10.0.0.{index}:7750").parse().unwrap(),
        zone: None,
        vnodes: 8,
        priority: 0,
        versions: VERSIONS,
        live: Liveness::Up,
        intent: Intent::Stay,
    }
}

fn fields(id: u128, epoch: u64) -> ViewFields {
    let owner = |ordinal| Owner { ordinal: Ordinal::new(ordinal), boot: Boot::new(1) };
    ViewFields {
        cluster: "prod".parse().unwrap(),
        cluster_id: cluster(id),
        epoch: Epoch::new(epoch),
        recovered_from: None,
        previous: ViewHash::default(),
        ballot: Ballot::default(),
        coordinator: Ordinal::new(1),
        voters: [1, 2, 3].map(Ordinal::new).to_vec(),
        config: ViewConfig::default(),
        members: [1, 2, 3].map(member).to_vec(),
        ring: [1, 2, 3].map(owner).to_vec(),
        target: None,
        fence: Fence::new(1),
        next_ordinal: Ordinal::new(4),
        proposed_at_ms: 0,
        changes: Vec::new(),
    }
}

pub(crate) fn view(id: u128, epoch: u64) -> View {
    View::new(fields(id, epoch)).unwrap()
}

fn recovered(id: u128, from: u128, epoch: u64) -> View {
    View::new(ViewFields { recovered_from: Some(cluster(from)), ..fields(id, epoch) }).unwrap()
}

/// What follows `base` when `change` is made.
fn changed(base: &View, change: impl FnOnce(&mut ViewFields)) -> View {
    let mut fields = base.fields().clone();
    fields.epoch = fields.epoch.next();
    fields.previous = base.hash();
    change(&mut fields);
    View::new(fields).unwrap()
}

#[track_caller]
fn check(known: &View, candidate: &View, expected: Verdict) {
    assert_eq!(judge(known, &left_before(known), candidate), expected);
}

#[test]
fn only_a_later_view_of_the_same_cluster_replaces_the_known_one() {
    check(&view(1, 5), &view(1, 6), Verdict::Install);
    check(&view(1, 5), &view(1, 5), Verdict::Keep);
    check(&view(1, 5), &view(1, 4), Verdict::Keep);
}

#[test]
fn the_cluster_that_was_made_of_a_survivor_replaces_the_one_it_survived() {
    check(&view(1, 5), &recovered(2, 1, 1_000_005), Verdict::Install);
    check(&recovered(2, 1, 1_000_005), &view(1, 6), Verdict::Keep);
    check(&view(1, 5), &recovered(3, 2, 2_000_005), Verdict::Rival);
}

#[test]
fn what_was_left_by_any_recovery_never_comes_back() {
    let (first, second, third) = (view(1, 5), recovered(2, 1, 1_000_005), recovered(3, 2, 2_000_005));
    let left = left_behind(&first, &left_before(&first), &second);
    let left = left_behind(&second, &left, &third);
    assert_eq!(judge(&third, &left, &first), Verdict::Keep);
    assert_eq!(judge(&third, &left, &second), Verdict::Keep);
    assert_eq!(judge(&third, &left, &view(4, 1)), Verdict::Rival);
}

#[test]
fn how_many_are_remembered_is_bounded() {
    let mut left = Vec::new();
    for id in 2..100 {
        left = left_behind(&recovered(id, id - 1, 5), &left, &recovered(id + 1, id, 6));
    }
    assert!(left.len() <= LEFT_MAX, "{}", left.len());
    assert!(left.contains(&cluster(99)));
}

#[test]
fn a_cluster_of_no_relation_is_a_rival_whatever_its_epoch() {
    for epoch in [1, 5, 9] {
        check(&view(1, 5), &view(2, epoch), Verdict::Rival);
    }
}

#[track_caller]
fn reads(known: &View, kind: FrameType, body: &BytesMut, expected: Result<View, NoView>) {
    assert_eq!(read(Some((known, known.hash())), kind, body), expected);
}

#[test]
fn a_delta_gives_the_view_it_leads_to() {
    let old = view(1, 5);
    let new = changed(&old, |fields| fields.members[1].live = Liveness::Down);
    let newest = changed(&new, |fields| fields.members[2].live = Liveness::Down);
    let delta = |from: &View, to: &View| {
        let mut out = BytesMut::new();
        ViewDelta::between(from, to).unwrap().encode(&mut out);
        out
    };
    reads(&old, FrameType::ViewDelta, &delta(&old, &new), Ok(new.clone()));
    reads(&old, FrameType::ViewDelta, &delta(&new, &newest), Err(NoView::OtherBase));
    reads(&newest, FrameType::ViewDelta, &delta(&old, &new), Err(NoView::Old));
    reads(&old, FrameType::ViewDelta, &BytesMut::from(&b"?"[..]), Err(NoView::Malformed));
    reads(&old, FrameType::Done, &BytesMut::new(), Err(NoView::Malformed));
    assert_eq!(read_first(FrameType::ViewDelta, &delta(&old, &new)), Err(NoView::OtherBase));
    let mut whole = BytesMut::new();
    newest.encode(&mut whole);
    reads(&old, FrameType::View, &whole, Ok(newest.clone()));
    assert_eq!(read_first(FrameType::View, &whole), Ok(newest));
}

#[test]
fn the_ring_is_built_anew_only_if_something_of_it_changed() {
    let old = view(1, 5);
    let same = |change: fn(&mut ViewFields)| same_ring(&old, &changed(&old, change));
    assert!(same(|fields| fields.coordinator = Ordinal::new(2)));
    assert!(same(|fields| fields.members[1].live = Liveness::Down));
    assert!(same(|fields| fields.ring[0].boot = Boot::new(2)));
    assert!(!same(|fields| fields.members[1].vnodes = 9));
    assert!(!same(|fields| fields.members[1].zone = Some("a".parse().unwrap())));
    assert!(!same(|fields| fields.ring.truncate(2)));
    assert!(!same(|fields| fields.config.replication = 2));
    let other_ring = changed(&old, |fields| fields.members[1].vnodes = 9).ring();
    assert_ne!(old.ring(), other_ring);
}
