//! Genesis by transcripts: commands in, what the founders do out. `UPDATE_TESTSCRIPTS=1 cargo test -p quoit-core` writes
//! them anew, to be read in review.

use std::{fs, path::Path};

use quoit_proto_types::{
    Ballot, Boot, Epoch, Instance, Ordinal, Term, View, message::peer::GenesisDigest, view::ViewConfig,
};
use rand::{SeedableRng, rngs::StdRng};
use stage::{Stage, founder, label};

use super::{Finding, Genesis, GenesisConfig, GenesisStatus, Output};
use crate::time::Timestamp;
use quoit_proto_types::message::peer::PeerMessage;

mod stage;

/// Plays one script and compares the transcript. The name of the script is its claim.
fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/membership/testscripts").join(name);
    let expected = fs::read_to_string(&path).unwrap();
    let mut stage = Stage::default();
    let mut transcript = String::new();
    for line in expected.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            transcript.push_str(&format!("{line}\n"));
            stage.play(command).iter().for_each(|happened| transcript.push_str(&format!("  {happened}\n")));
        } else if !line.starts_with("  ") {
            transcript.push_str(&format!("{line}\n"));
        }
    }
    #[expect(clippy::disallowed_methods, reason = "the tests ask whether to write, the machines ask nothing")]
    if std::env::var_os("UPDATE_TESTSCRIPTS").is_some() {
        fs::write(&path, transcript).unwrap();
    } else {
        assert_eq!(transcript, expected, "{name}");
    }
}

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_script_is_played() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/membership/testscripts");
            let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut files: Vec<String> = files.collect();
            let mut played = vec![$(stringify!($name)),*];
            (files.sort(), played.sort());
            assert_eq!(files, played);
        }
    };
}

scripts! {
    a_founder_alone_forms_at_once
    a_founder_that_comes_back_hears_of_the_view
    a_late_proposal_to_an_earlier_process_is_refused
    a_restarted_founder_is_superseded
    a_stranger_who_takes_us_for_a_founder_hears_why
    a_view_of_the_dead_binds_nobody
    a_view_that_a_living_founder_did_not_accept_binds_nobody
    accepted_views_are_proposed_again
    founders_whose_lists_differ_form_nothing
    nobody_proposes_before_all_are_connected
    the_first_founder_forms_the_cluster
    the_next_founder_takes_over
    the_lower_ballot_gives_way
}

fn genesis(me: &str, founders: &[&str]) -> Genesis {
    let config = GenesisConfig {
        cluster: label("test"),
        founders: founders.iter().map(|name| label(name)).collect(),
        me: founder(me, 1),
        config: ViewConfig::default(),
    };
    Genesis::new(config, StdRng::seed_from_u64(1), Timestamp::default())
}

fn outputs(genesis: &mut Genesis) -> Vec<Output> {
    std::iter::from_fn(|| genesis.poll_output()).collect()
}

fn ballot(term: u64) -> Ballot {
    Ballot { term: Term::new(term), ordinal: Ordinal::new(2), boot: Boot::new(7) }
}

fn prepare(term: u64) -> PeerMessage {
    let founders = ["n1", "n2", "n3"].map(label);
    let genesis = GenesisDigest::of(&label("test"), &founders, &ViewConfig::default());
    PeerMessage::Prepare { epoch: Epoch::GENESIS, genesis, ballot: ballot(term) }
}

fn promise(name: &str, ballot: Ballot) -> PeerMessage {
    PeerMessage::Promise { epoch: Epoch::GENESIS, ballot, accepted: None, founder: founder(name, 1) }
}

/// The view of a founder alone.
fn view_of(name: &str) -> View {
    match outputs(&mut genesis(name, &[name])).pop() {
        Some(Output::Install(view)) => view,
        other => panic!("{other:?}"),
    }
}

/// Whatever `from` sends, `n1` of three founders does nothing but count it.
fn check_ignored(from: &str, messages: Vec<PeerMessage>) {
    let mut n1 = genesis("n1", &["n1", "n2", "n3"]);
    n1.handle_connected(Timestamp::default(), &label("n2"));
    outputs(&mut n1);
    let (status, count) = (n1.status(), messages.len() as u64);
    for message in messages {
        n1.handle_message(Timestamp::default(), &label(from), message);
    }
    assert_eq!((outputs(&mut n1), n1.ignored(), n1.status()), (vec![], count, status));
}

#[test]
fn strangers_are_ignored() {
    let founding = |founders: &[&str]| PeerMessage::Founding {
        founders: founders.iter().map(|name| label(name)).collect(),
        config: ViewConfig::default(),
    };
    let (epoch, view) = (Epoch::GENESIS, view_of("n9"));
    check_ignored(
        "n9",
        vec![
            prepare(1),
            promise("n9", ballot(1)),
            PeerMessage::Propose { epoch, ballot: ballot(1), view: view.clone() },
            PeerMessage::Accepted { epoch, ballot: ballot(1) },
            PeerMessage::Reject { epoch, ballot: ballot(1), seen: ballot(2) },
            PeerMessage::Commit { view },
            founding(&["n8", "n9"]),
        ],
    );
}

#[test]
fn what_no_honest_founder_sends_is_ignored() {
    let (epoch, view) = (Epoch::GENESIS, view_of("n2"));
    let later = Epoch::GENESIS.next();
    let elsewhere = GenesisDigest::of(&label("elsewhere"), &[], &ViewConfig::default());
    check_ignored(
        "n2",
        vec![
            promise("n2", ballot(1)),
            PeerMessage::Accepted { epoch, ballot: ballot(1) },
            PeerMessage::Reject { epoch, ballot: ballot(1), seen: ballot(u64::MAX) },
            prepare(u64::MAX),
            PeerMessage::Prepare { epoch, genesis: elsewhere, ballot: ballot(1) },
            PeerMessage::Propose { epoch: later, ballot: ballot(1), view },
        ],
    );
}

#[test]
fn what_comes_from_a_lost_connection_changes_no_standing() {
    let mut foreign = view_of("n3").fields().clone();
    foreign.config.replication = 2;
    let agreed =
        PeerMessage::Founding { founders: ["n1", "n2", "n3"].map(label).to_vec(), config: ViewConfig::default() };
    check_ignored("n3", vec![agreed, PeerMessage::Commit { view: View::new(foreign).unwrap() }]);
}

#[test]
fn a_promise_in_another_name_does_not_count() {
    let mut n1 = genesis("n1", &["n1", "n2"]);
    let (now, n2) = (Timestamp::default(), label("n2"));
    n1.handle_connected(now, &n2);
    let config = ViewConfig::default();
    n1.handle_message(now, &n2, PeerMessage::Founding { founders: vec![label("n1"), n2.clone()], config });
    let (turn, _) = n1.poll_timeout().unwrap();
    n1.handle_timeout(turn);
    let Some(Output::Send { message: PeerMessage::Prepare { ballot, .. }, .. }) = outputs(&mut n1).pop() else {
        panic!("it is the turn of n1");
    };
    n1.handle_message(turn, &n2, promise("n1", ballot));
    assert_eq!((outputs(&mut n1), n1.ignored()), (vec![], 1));
    n1.handle_message(turn, &n2, promise("n2", ballot));
    assert!(matches!(outputs(&mut n1)[..], [Output::Send { message: PeerMessage::Propose { .. }, .. }]));
}

#[test]
fn another_view_of_the_same_epoch_is_reported() {
    let mut n1 = genesis("n1", &["n1", "n2"]);
    let (now, n2) = (Timestamp::default(), label("n2"));
    n1.handle_connected(now, &n2);
    n1.handle_message(now, &n2, PeerMessage::Commit { view: view_of("n1") });
    let mut other = view_of("n1").fields().clone();
    other.config.replication = 2;
    let other = View::new(other).unwrap();
    outputs(&mut n1);
    n1.handle_message(now, &n2, PeerMessage::Commit { view: other.clone() });
    let forked = Finding::Forked { peer: n2, ours: view_of("n1").hash(), theirs: other.hash() };
    assert_eq!((outputs(&mut n1), n1.status()), (vec![Output::Report(forked)], GenesisStatus::Formed));
}

#[test]
fn of_nine_founders_all_are_members_seven_vote_and_those_with_vnodes_own() {
    let names: Vec<String> = (1..=9).map(|i| format!("n{i}")).collect();
    let mut stage = Stage::default();
    stage.play(&format!("found {}", names.join(" ")));
    stage.play("witness n3");
    stage.play(&format!("start {}", names.join(" ")));
    stage.play("connect all");
    stage.play("settle");
    let view = stage.view("n9").unwrap();
    let numbers = |count| (1..=count).map(Ordinal::new).collect::<Vec<_>>();
    let fields = view.fields();
    assert_eq!(fields.members.iter().map(|member| member.ordinal).collect::<Vec<_>>(), numbers(9));
    assert_eq!(fields.voters, numbers(7));
    let owners: Vec<u32> = fields.ring.iter().map(|owner| owner.ordinal.value()).collect();
    assert_eq!(owners, [1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!((fields.coordinator, fields.next_ordinal), (Ordinal::new(1), Ordinal::new(10)));
    assert_eq!((fields.epoch.value(), fields.fence.value(), fields.target.clone()), (1, 1, None));
    assert!(names.iter().all(|name| stage.view(name).map(View::hash) == Some(view.hash())));
}

#[test]
fn settings_that_allow_no_view_are_reported_once() {
    let config = GenesisConfig {
        cluster: label("test"),
        founders: vec![label("n1")],
        me: founder("n1", 1),
        config: ViewConfig { replication: 0, ..ViewConfig::default() },
    };
    let mut n1 = Genesis::new(config, StdRng::seed_from_u64(1), Timestamp::default());
    assert!(matches!(outputs(&mut n1)[..], [Output::Report(Finding::Unformable { .. })]));
    assert_eq!(n1.poll_timeout(), None);
}

#[test]
fn two_clusters_never_share_an_id() {
    let form = |seed| {
        let config = GenesisConfig {
            cluster: label("test"),
            founders: vec![label("n1")],
            me: founder("n1", 1),
            config: ViewConfig::default(),
        };
        outputs(&mut Genesis::new(config, StdRng::seed_from_u64(seed), Timestamp::default()))
    };
    assert_ne!(form(1), form(2));
    assert_eq!(form(1), form(1));
    assert_ne!(founder("n1", 1).instance, Instance::from_random(0));
}
