use std::time::Duration;

use bytes::BytesMut;
use quoit_proto_types::{
    Ballot, Boot, Fence, Identity, Instance, Label, Role,
    message::session::VERSIONS,
    view::{AssignedTokens, Intent, Liveness, Owner, ViewConfig, ViewFields},
};

use super::*;
use crate::{
    dial::Resolver, endpoints::Endpoints, error::RequestError, packets::PacketBytes, pool::Dialler,
    tls::CertificateFiles,
};

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
        placed: None,
        live: Liveness::Up,
        degraded: false,
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
        copies: 1,
        ring: [1, 2, 3].map(owner).to_vec(),
        target: None,
        tokens: AssignedTokens::default(),
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

/// Applies `change` to the second of three members and looks at what becomes of the connection to it.
#[track_caller]
fn redials(known: &View, change: impl FnOnce(&mut Member), expected: Redial) {
    let next = changed(known, |fields| change(&mut fields.members[1]));
    let verdicts: Vec<_> = known.members().iter().zip(next.members()).map(|(a, b)| redial(a, b)).collect();
    assert_eq!(verdicts, [Redial::No, expected, Redial::No]);
}

#[test]
fn a_member_that_restarted_or_moved_is_dialled_anew() {
    let up = view(1, 5);
    let down = changed(&up, |fields| fields.members[1].live = Liveness::Down);
    let restart = |member: &mut Member| member.boot = Boot::new(2);
    for known in [&up, &down] {
        redials(known, restart, Redial::Always);
        redials(known, |member| member.address = "10.0.0.9:7750".parse().unwrap(), Redial::Always);
    }
    let restart_unseen = |member: &mut Member| (member.boot, member.live) = (Boot::new(2), Liveness::Down);
    redials(&up, restart_unseen, Redial::Always);
    let return_restarted = |member: &mut Member| (member.boot, member.live) = (Boot::new(2), Liveness::Up);
    redials(&down, return_restarted, Redial::Always);
}

#[test]
fn a_member_that_came_back_is_dialled_if_it_is_not_connected() {
    let up = view(1, 5);
    let down = changed(&up, |fields| fields.members[1].live = Liveness::Down);
    redials(&down, |member| member.live = Liveness::Up, Redial::IfLost);
}

#[test]
fn what_says_nothing_of_the_process_leaves_its_connection_alone() {
    let up = view(1, 5);
    let down = changed(&up, |fields| fields.members[1].live = Liveness::Down);
    redials(&up, |member| member.live = Liveness::Down, Redial::No);
    redials(&down, |_| (), Redial::No);
    redials(&up, |member| member.vnodes = 9, Redial::No);
    redials(&up, |member| member.priority = 7, Redial::No);
    redials(&up, |member| member.intent = Intent::Leave, Redial::No);
}

/// Dials nobody: it finds no certificate.
fn hopeless_dialler() -> Arc<Dialler> {
    let name = "tests".parse().unwrap();
    Arc::new(Dialler {
        packets: PacketBytes::default(),
        endpoints: Endpoints::udp(quinn::EndpointConfig::default(), PacketBytes::default(), Duration::ZERO),
        resolver: Resolver::default(),
        files: CertificateFiles::in_folder("no such folder"),
        identity: Identity { role: Role::Client, name, cluster: "prod".parse().unwrap() },
        dial_timeout: Duration::from_secs(1),
        seed: 1,
    })
}

#[tokio::test]
async fn requests_turn_to_the_new_handle_of_a_member_that_restarted() {
    let dialler = hopeless_dialler();
    let start = |member: &Member, before: Option<&Arc<Node>>| {
        Node::start(member, Arc::clone(&dialler), None, before.map(Arc::as_ref))
    };
    let (view, now) = (view(1, 5), Instant::now());
    let known = Topology::first(view.clone(), now, |member| start(member, None));
    let restarted = changed(&view, |fields| fields.members[1].boot = Boot::new(2));
    let next = known.next(restarted, now, start);
    let left: Vec<_> = known.left_out_of(&next).collect();
    let old = known.node(Ordinal::new(2)).unwrap();
    assert!(left.len() == 1 && Arc::ptr_eq(left[0], old));
    assert!(known.nodes().iter().filter(|node| next.has(node)).count() == 2);

    // Neither has dialled yet: this task has not let them.
    let deadline = now + Duration::from_secs(5);
    old.stop();
    assert!(matches!(old.connection(deadline).await, Err(RequestError::Closed)));
    old.stopped().await;
    let new = next.node(Ordinal::new(2)).unwrap();
    assert!(matches!(new.connection(deadline).await, Err(RequestError::Unavailable { .. })));

    // It is known not to be reached, so requests wait for its dial only when the view says that it is up.
    let down =
        changed(&next.view, |fields| (fields.members[1].boot, fields.members[1].live) = (Boot::new(3), Liveness::Down));
    let down = next.next(down, now, start);
    assert!(down.node(Ordinal::new(2)).unwrap().broken().is_some());
    let up = changed(&down.view, |fields| fields.members[1].live = Liveness::Up);
    let up = down.next(up, now, start);
    assert!(up.node(Ordinal::new(2)).unwrap().broken().is_none());
}

#[test]
fn the_ring_is_built_anew_only_if_something_of_it_changed() {
    let old = view(1, 5);
    let same = |change: fn(&mut ViewFields)| {
        let new = changed(&old, change);
        let same = same_ring(&old, &new);
        assert_eq!(same, old.ring() == new.ring(), "the ring itself says the same");
        same
    };
    assert!(same(|fields| fields.coordinator = Ordinal::new(2)));
    assert!(same(|fields| fields.members[1].live = Liveness::Down));
    assert!(same(|fields| fields.ring[0].boot = Boot::new(2)));
    // What is wanted is in force only with the next change of the ring.
    assert!(same(|fields| fields.config.replication = 2));
    assert!(same(|fields| fields.members[1].resettle(None, 9, true)));
    assert!(!same(|fields| fields.members[1].resettle(None, 9, false)));
    assert!(!same(|fields| fields.copies = 2));
    assert!(!same(|fields| fields.ring.truncate(2)));
    // With one copy it makes no difference where a node stands, but with more it may.
    let zoned = changed(&old, |fields| fields.members[1].zone = Some("a".parse().unwrap()));
    assert!(!same_ring(&old, &zoned));
}

/// The order in which members are asked for what is at `point`, and the first of them is said to be tried each time.
fn order(topology: &Topology, point: HashPoint) -> Vec<u32> {
    let mut tried = Vec::new();
    while let Some(next) = topology.choose(point, &tried) {
        tried.push(next);
    }
    tried.iter().map(|ordinal| ordinal.value()).collect()
}

#[tokio::test]
async fn owners_that_are_up_are_asked_first_and_everybody_in_the_end() {
    let dialler = hopeless_dialler();
    let topology = |change: fn(&mut ViewFields)| {
        let view = changed(&view(1, 5), |fields| {
            fields.copies = 2;
            change(fields);
        });
        Topology::first(view, Instant::now(), |member| Node::start(member, Arc::clone(&dialler), None, None))
    };
    // Neither is connected, as nobody has dialled yet.
    let (up, down) = (topology(|_| ()), topology(|fields| fields.members[1].live = Liveness::Down));
    for point in (0..64).map(|index| HashPoint::new(index << 58)) {
        let owners: Vec<_> = up.ring.owners(up.ring.slots().slot_of(point)).iter().map(|owner| owner.value()).collect();
        let found = order(&up, point);
        assert_eq!((found.len(), &found[..2]), (3, &*owners));
        let found = order(&down, point);
        assert_eq!((found.len(), found[2]), (3, 2), "who is down is the last choice");
        let up_owners: Vec<_> = owners.into_iter().filter(|owner| *owner != 2).collect();
        assert_eq!(found[..up_owners.len()], up_owners);
    }
}
