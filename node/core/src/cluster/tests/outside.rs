//! A node without a place in a view.

use std::{collections::BTreeMap, sync::Arc};

use quoit_proto_types::{
    Boot, Epoch, Fence, Identity, Instance, Label, Member, Nonce, Ordinal, Role, View,
    message::{
        heartbeat::{Heartbeat, Office},
        membership::{Applicant, JoinAnswer, MembershipMessage},
        peer::PeerMessage,
        session::VERSIONS,
    },
    view::TimingProfile,
};

use crate::{
    cluster::{Finding, Life, Output, outside::Outside, tests::stage::label},
    genesis::tests::view_of,
    meta::Meta,
    planted::Planted,
    time::Timestamp,
    timing::Timing,
};

fn millis(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

fn applicant() -> Applicant {
    Applicant {
        name: label("n9"),
        instance: Instance::from_random(9),
        boot: Boot::new(1),
        address: "n9:7750".parse().unwrap(),
        zone: None,
        vnodes: 8,
        priority: 0,
        versions: VERSIONS,
    }
}

/// The processes of peers, by name.
fn peers(names: &[&str]) -> BTreeMap<Label, Life> {
    let life = Life { instance: Instance::from_random(1), boot: Boot::new(1), nonce: Nonce::new(1) };
    names.iter().map(|name| (label(name), life)).collect()
}

/// What `outside` does when its time has come: to whom, and what.
#[track_caller]
fn check(what: &str, outside: &mut Outside, names: &[&str], does: &[&str]) {
    let meta = Meta::new(Instance::from_random(9));
    let outputs = outside.handle_timeout(outside.poll_timeout(), &applicant(), &meta, &peers(names));
    assert_eq!(outputs.iter().map(describe).collect::<Vec<_>>(), does, "{what}");
}

fn describe(output: &Output) -> String {
    if let Output::Beat { to, heartbeat: Heartbeat::Ping(ping) } = output {
        assert_eq!((ping.office, ping.fence, ping.suspects.len()), (Office::None, Fence::default(), 0));
        return format!("{to}: ping {}", ping.epoch.value());
    }
    let Output::Send { to, message: PeerMessage::Membership(message) } = output else { panic!("{output:?}") };
    if let MembershipMessage::Commit { view, .. } = message {
        return format!("{to}: commit {}", view.epoch().value());
    }
    if let MembershipMessage::ViewGet { epoch } = message {
        return format!("{to}: view after {}", epoch.value());
    }
    assert_eq!(*message, MembershipMessage::Join { applicant: applicant(), cluster: None });
    format!("{to}: join")
}

/// Has just left with the view 5 of the voters `n1`, `n2` and so on.
fn left(voters: u32) -> Outside {
    let mut fields = view_of("n1").fields().clone();
    let first = fields.members.remove(0);
    fields.members.extend((1..=voters).map(|index| {
        let name = label(&format!("n{index}"));
        let identity = Identity { role: Role::Node, name: name.clone(), cluster: fields.cluster.clone() };
        Member { ordinal: Ordinal::new(index), node_id: identity.node_id(), name, ..first.clone() }
    }));
    (fields.epoch, fields.next_ordinal) = (Epoch::new(5), Ordinal::new(voters + 1));
    fields.voters = (1..=voters).map(Ordinal::new).collect();
    Outside::leaving(millis(0), Arc::new(View::new(fields).unwrap()))
}

/// Whether `outside` is to end, now that `from` tells it has `epoch`.
fn pong(outside: &mut Outside, from: &str, epoch: u64) -> bool {
    let ends = outside.note_pong(&label(from), Epoch::new(epoch), Planted::NOTHING);
    assert!(ends.is_none_or(|epoch| epoch == Epoch::new(5)));
    ends.is_some()
}

#[test]
fn it_asks_for_a_view_then_knocks_at_the_members_in_turn() {
    let mut outside = Outside::joining(millis(0), Timing::of(TimingProfile::Lan));
    assert!(!outside.is_leaving());
    check("nobody has a view", &mut outside, &["n1", "n2"], &["n1: view after 0", "n2: view after 0"]);
    outside.note_member(millis(100), &label("n1"));
    assert_eq!(outside.poll_timeout(), millis(100), "at once");
    check("n1 has", &mut outside, &["n1", "n2"], &["n1: join"]);
    outside.note_member(millis(200), &label("n2"));
    let turns: Vec<&str> = vec!["n2: join", "n1: join", "n2: join", "n1: join"];
    turns.iter().for_each(|turn| check("in turn", &mut outside, &["n1", "n2", "n3"], &[turn]));
    check("n2 is not connected", &mut outside, &["n1", "n3"], &["n1: join"]);
    outside.forget(&label("n1"));
    check("n1 is gone", &mut outside, &["n1", "n3"], &["n1: view after 0", "n3: view after 0"]);
    check("alone", &mut outside, &[], &[]);
}

#[test]
fn pauses_grow_to_five_seconds_and_end_when_another_member_is_known() {
    for profile in TimingProfile::ALL {
        let rejoin = Timing::of(profile).rejoin.as_micros();
        let mut outside = Outside::joining(millis(0), Timing::of(profile));
        outside.note_member(millis(0), &label("n1"));
        let mut now = millis(0);
        let pauses: Vec<u128> = (0..7)
            .map(|_| {
                check("its time has come", &mut outside, &["n1"], &["n1: join"]);
                let pause = outside.poll_timeout().checked_duration_since(now).unwrap();
                now = outside.poll_timeout();
                pause.as_micros()
            })
            .collect();
        let expected = [1, 2, 4, 8, 16, 16, 16].map(|times| (rejoin * times).min(5_000_000));
        assert_eq!(pauses, expected, "{profile}");
        outside.note_member(now, &label("n1"));
        assert!(outside.poll_timeout() >= now, "n1 is known");
        outside.note_member(millis(1), &label("n2"));
        assert_eq!(outside.poll_timeout(), millis(1), "n2 is new");
    }
}

#[test]
fn nothing_is_done_before_its_time() {
    let mut outside = Outside::joining(millis(500), Timing::of(TimingProfile::Lan));
    let meta = Meta::new(Instance::from_random(9));
    assert_eq!(outside.handle_timeout(millis(499), &applicant(), &meta, &peers(&["n1"])), []);
    assert_eq!(outside.poll_timeout(), millis(500));
}

#[test]
fn an_operator_hears_a_refusal_once_and_queueing_never() {
    let mut outside = Outside::joining(millis(0), Timing::of(TimingProfile::Lan));
    let by = label("n1");
    let refused = || JoinAnswer::NoCoordinator;
    let queued = || JoinAnswer::Queued { coordinator: label("n2") };
    assert_eq!(outside.note_answer(&by, queued()), None);
    let news = Some(Finding::JoinRefused { by: by.clone(), answer: refused() });
    assert_eq!(outside.note_answer(&by, refused()), news);
    assert_eq!(outside.note_answer(&by, refused()), None, "the same again");
    assert_eq!(outside.answers(), &BTreeMap::from([(by.clone(), refused())]));
    let other = label("n2");
    let news = Some(Finding::JoinRefused { by: other.clone(), answer: refused() });
    assert_eq!(outside.note_answer(&other, refused()), news, "another says so");
}

/// It may be the only one that knows the view: whoever decides the next one must know it first.
#[test]
fn one_that_left_ends_when_a_majority_of_the_voters_has_the_view() {
    let mut three = left(3);
    assert!(three.is_leaving());
    assert!(!pong(&mut three, "n1", 5), "one of three");
    assert!(!pong(&mut three, "n1", 5), "the same again");
    assert!(!pong(&mut three, "n2", 4), "an older view");
    assert!(!pong(&mut three, "n7", 5), "no voter");
    assert!(pong(&mut three, "n3", 5), "two of three");
    for (voters, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
        let mut outside = left(voters);
        let ends: Vec<bool> = (1..=voters).map(|index| pong(&mut outside, &format!("n{index}"), 5)).collect();
        assert_eq!(ends.iter().position(|ends| *ends), Some(quorum - 1), "{voters} voters");
    }
}

#[test]
fn one_that_left_ends_when_anybody_has_a_later_view() {
    assert!(pong(&mut left(5), "n4", 6), "a majority had it, or there were no later one");
    assert!(pong(&mut left(5), "n7", 9), "whoever it is");
    let mut joining = Outside::joining(millis(0), Timing::of(TimingProfile::Lan));
    assert!(!pong(&mut joining, "n1", 6), "one that joins does not end");
}

#[test]
fn one_that_left_tells_the_voters_that_lack_the_view_until_they_have_it() {
    let mut outside = left(3);
    let all = ["n1: ping 5", "n1: commit 5", "n2: ping 5", "n2: commit 5", "n3: ping 5", "n3: commit 5"];
    check("all of them", &mut outside, &[], &all);
    assert_eq!(outside.poll_timeout(), millis(200), "with each heartbeat");
    pong(&mut outside, "n2", 5);
    let pings = ["n1: ping 5", "n2: ping 5", "n3: ping 5"];
    (0..9).for_each(|_| check("a view is larger than a heartbeat, and rarer", &mut outside, &[], &pings));
    let rest = ["n1: ping 5", "n1: commit 5", "n2: ping 5", "n3: ping 5", "n3: commit 5"];
    check("n2 has it", &mut outside, &[], &rest);
    assert_eq!(outside.poll_timeout(), millis(2_200));
}
