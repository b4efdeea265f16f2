use std::collections::BTreeMap;

use bytes::BytesMut;
use quoit_core::routing::Routing;
use quoit_proto_types::{
    Ballot, Boot, ClusterId, Fence, Identity, Instance, Label, Member, Ordinal, Role, View,
    message::session::VERSIONS,
    view::{AssignedTokens, Change, Intent, Liveness, Owner, ViewConfig, ViewFields, ViewHash},
};

use super::*;

/// Clients that one node tells of its views.
const CLIENTS: u64 = 5000;

fn name(index: u32) -> Label {
    format!("cache-{index}").parse().unwrap()
}

fn member(index: u32) -> Member {
    let identity = Identity { role: Role::Node, name: name(index), cluster: "prod".parse().unwrap() };
    Member {
        ordinal: Ordinal::new(index),
        node_id: identity.node_id(),
        name: name(index),
        instance: Instance::from_random(u128::from(index) << 90),
        boot: Boot::new(2),
        address: format!("cache-{index}.cache.prod.svc.cluster.local:7750").parse().unwrap(),
        zone: Some(["a", "b", "c"][index as usize % 3].parse().unwrap()),
        vnodes: 128,
        priority: 0,
        versions: VERSIONS,
        placed: None,
        live: Liveness::Up,
        degraded: false,
        intent: Intent::Stay,
    }
}

fn owner(index: u32) -> Owner {
    Owner { ordinal: Ordinal::new(index), boot: Boot::new(2) }
}

/// A settled view of `count` members.
fn settled(count: u32) -> View {
    View::new(ViewFields {
        cluster: "prod".parse().unwrap(),
        cluster_id: ClusterId::from_random(1 << 100),
        recovered_from: None,
        epoch: Epoch::new(4000),
        previous: ViewHash::default(),
        ballot: Ballot::default(),
        coordinator: Ordinal::new(1),
        voters: (1..=5).map(Ordinal::new).collect(),
        config: ViewConfig::default(),
        members: (1..=count).map(member).collect(),
        copies: 1,
        ring: (1..=count).map(owner).collect(),
        target: None,
        tokens: AssignedTokens::default(),
        fence: Fence::new(70),
        next_ordinal: Ordinal::new(count + 1),
        proposed_at_ms: 1_800_000_000_000,
        changes: vec![Change::RingChangeDone],
    })
    .unwrap()
}

/// What follows `base` when `change` is made, for the reason `reason`.
fn after(base: &View, reason: Change, change: impl FnOnce(&mut ViewFields)) -> View {
    let mut fields = base.fields().clone();
    (fields.epoch, fields.previous, fields.changes) = (fields.epoch.next(), base.hash(), vec![reason]);
    change(&mut fields);
    View::new(fields).unwrap()
}

/// The views of a cluster of `count` in which another coordinator is elected, a member goes down and comes back, and
/// another one joins and is given slots.
fn history(count: u32) -> Vec<View> {
    let newcomer = count + 1;
    let mut views = vec![settled(count)];
    let mut add = |reason, change: &dyn Fn(&mut ViewFields)| {
        let next = after(&views[views.len() - 1], reason, change);
        views.push(next);
    };
    add(Change::Elected(name(2)), &|view| view.coordinator = Ordinal::new(2));
    add(Change::Down(name(7)), &|view| view.members[6].live = Liveness::Down);
    add(Change::Up(name(7)), &|view| view.members[6].live = Liveness::Up);
    add(Change::Joined(name(newcomer)), &|view| {
        view.members.push(member(newcomer));
        view.next_ordinal = Ordinal::new(newcomer + 1);
    });
    add(Change::RingChangeBegun, &|view| view.target = Some((1..=newcomer).map(owner).collect()));
    add(Change::RingChangeDone, &|view| {
        view.ring = view.target.take().unwrap();
        view.fence = Fence::new(71);
    });
    views
}

fn push(views: &Views, view: &View) {
    views.push(&Routing::new(Arc::new(view.clone()), Instance::from_random(1), Boot::new(1)));
}

/// The bytes that a client which has the view of `known` gets on its stream, with the headers.
fn frame_bytes(views: &Views, known: Epoch, request: u64) -> (FrameType, usize) {
    let (header, body) = frame(views.update_from(known).unwrap(), RequestId::new(request));
    let mut out = BytesMut::new();
    header.encode_with(&mut out, 0, |out| out.extend_from_slice(&body));
    (header.kind, out.len())
}

#[test]
fn a_view_change_is_told_to_five_thousand_clients_for_less_than_a_full_view_each() {
    for count in [20, 100] {
        let history = history(count);
        let views = Views::default();
        push(&views, &history[0]);
        for view in &history[1..] {
            push(&views, view);
            let reason = &view.fields().changes;
            let before = Epoch::new(view.epoch().value() - 1);
            let (mut told, mut fetched) = (0, 0);
            for client in 0..CLIENTS {
                let (kind, bytes) = frame_bytes(&views, before, client);
                assert_eq!(kind, FrameType::ViewDelta, "{count} members, {reason:?}");
                told += bytes;
                let (kind, bytes) = frame_bytes(&views, Epoch::GENESIS, client);
                assert_eq!(kind, FrameType::View);
                fetched += bytes;
            }
            // One change takes 160 to 290 bytes, however many members there are; a whole view some 100 for each of them.
            assert!(told * 4 < fetched, "{count} members, {reason:?}: {told} of {fetched} bytes");
            assert!(told <= 5000 * 512, "{count} members, {reason:?}: {} bytes each", told / 5000);
        }
    }
}

#[test]
fn five_thousand_clients_are_told_by_one_encoded_body() {
    let history = history(100);
    let views = Views::default();
    push(&views, &history[0]);
    push(&views, &history[1]);
    let body = |client| frame(views.update_from(history[0].epoch()).unwrap(), RequestId::new(client)).1;
    let first = body(0);
    assert!((1..CLIENTS).all(|client| body(client).as_ptr() == first.as_ptr()));
}

#[test]
fn five_thousand_clients_are_told_one_by_one_over_the_whole_pause() {
    const SLICE: Duration = Duration::from_millis(10);
    // Sessions are numbered from a random number on.
    for first in [0, 1, 0x9e37_79b9_7f4a_7c15, u64::MAX - CLIENTS] {
        let mut sessions: Vec<_> = (0..CLIENTS).map(|index| Pauses::of_session(first + index)).collect();
        for view in 1..=3 {
            let mut slices: BTreeMap<u128, u32> = BTreeMap::new();
            for pauses in &mut sessions {
                let pause = pauses.draw(PAUSE_MAX);
                assert!(pause <= PAUSE_MAX);
                *slices.entry(pause.as_nanos() / SLICE.as_nanos()).or_default() += 1;
            }
            // 125 fall into each of the 40 slices if they are spread evenly, give or take 11.
            let fullest = slices.values().max().unwrap();
            assert!(slices.len() >= 40 && *fullest < 200, "view {view} after session {first}: {slices:?}");
        }
    }
}

#[test]
fn few_clients_are_told_at_once_and_thousands_over_the_whole_pause() {
    assert_eq!(longest_pause(1), Duration::from_micros(100));
    assert_eq!(longest_pause(1000), Duration::from_millis(100));
    assert_eq!([5000, usize::MAX].map(longest_pause), [PAUSE_MAX; 2]);
}

#[test]
fn no_client_is_always_the_last() {
    let mut pauses = Pauses::of_session(7);
    let drawn: Vec<_> = (0..100).map(|_| pauses.draw(PAUSE_MAX)).collect();
    assert!(drawn.iter().filter(|pause| **pause > PAUSE_MAX / 2).count().abs_diff(50) < 25, "{drawn:?}");
}
