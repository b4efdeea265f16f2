//! Genesis by transcripts: commands in, what the founders do out. `UPDATE_TESTSCRIPTS=1 cargo test -p quoit-core` writes
//! them anew, to be read in review.

use std::{fs, path::Path};

use quoit_proto_types::{
    Ballot, Boot, Epoch, Instance, Ordinal, Term, View,
    message::genesis::{GenesisDigest, GenesisMessage},
    view::{Change, TimingProfile, ViewConfig},
};
use rand::{SeedableRng, rngs::StdRng};
use stage::{Stage, founder, label};

use super::{Finding, Genesis, GenesisConfig, GenesisStatus, Output};
use crate::{acceptor::Acceptor, planted::Planted, time::Timestamp};

mod stage;

/// Plays one script and compares the transcript. The name of the script is its claim.
fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/genesis/testscripts").join(name);
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
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/genesis/testscripts");
            let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut files: Vec<String> = files.collect();
            let mut played = vec![$(stringify!($name)),*];
            (files.sort(), played.sort());
            assert_eq!(files, played);
        }
    };
}

scripts! {
    a_founder_alone_listens_first
    a_founder_that_did_not_hear_decides_the_same
    a_late_proposal_to_an_earlier_instance_is_refused
    a_promise_survives_a_restart
    a_stranger_who_takes_us_for_a_founder_hears_why
    a_wiped_founder_does_not_undo_an_accepted_view
    accepted_views_are_proposed_again
    an_accepted_view_survives_a_restart
    founders_whose_lists_differ_form_nothing
    nobody_proposes_before_all_are_connected
    the_first_founder_forms_the_cluster
    the_lower_ballot_gives_way
    the_next_founder_takes_over
}

fn config(me: &str, founders: &[&str]) -> GenesisConfig {
    GenesisConfig {
        cluster: label("test"),
        founders: founders.iter().map(|name| label(name)).collect(),
        me: founder(me, 1, 1),
        config: ViewConfig::default(),
        started_at_ms: 1_000,
        planted: Planted::NOTHING,
    }
}

fn start(config: GenesisConfig, acceptor: Acceptor, seed: u64) -> Genesis {
    let alone = config.founders.len() == 1;
    let mut genesis = Genesis::new(config, acceptor, StdRng::seed_from_u64(seed), Timestamp::from_micros(2_345_678));
    if let Some((heard_nobody, _)) = genesis.poll_timeout().filter(|_| alone) {
        genesis.handle_timeout(heard_nobody);
    }
    genesis
}

fn genesis(me: &str, founders: &[&str]) -> Genesis {
    start(config(me, founders), Acceptor::default(), 1)
}

fn outputs(genesis: &mut Genesis) -> Vec<Output> {
    std::iter::from_fn(|| genesis.poll_output()).collect()
}

fn ballot(term: u64) -> Ballot {
    Ballot { term: Term::new(term), ordinal: Ordinal::new(2), boot: Boot::new(7) }
}

fn prepare(term: u64) -> GenesisMessage {
    GenesisMessage::Prepare { genesis: digest(), ballot: ballot(term) }
}

/// Of what three founders would found.
fn digest() -> GenesisDigest {
    let founders = ["n1", "n2", "n3"].map(label);
    GenesisDigest::of(&label("test"), &founders, &ViewConfig::default())
}

fn promise(name: &str, ballot: Ballot) -> GenesisMessage {
    GenesisMessage::Promise { ballot, accepted: None, founder: founder(name, 1, 1) }
}

fn founding(founders: &[&str], config: ViewConfig) -> GenesisMessage {
    GenesisMessage::Founding { founders: founders.iter().map(|name| label(name)).collect(), config }
}

/// The view of a founder alone.
pub(crate) fn view_of(name: &str) -> View {
    match outputs(&mut genesis(name, &[name])).pop() {
        Some(Output::Decided { view, .. }) => view,
        other => panic!("{other:?}"),
    }
}

/// Whatever `from` sends, `n1` of three founders does nothing but count it.
fn check_ignored(from: &str, messages: Vec<GenesisMessage>) {
    let mut n1 = genesis("n1", &["n1", "n2", "n3"]);
    n1.handle_connected(Timestamp::default(), &label("n2"));
    outputs(&mut n1);
    let (status, count) = (n1.status(), messages.len() as u64);
    for message in messages {
        n1.handle_message(Timestamp::default(), &label(from), message);
    }
    assert_eq!((outputs(&mut n1), n1.ignored(), n1.status()), (vec![], count, status));
    assert_eq!(n1.acceptor(), &Acceptor::default());
}

#[test]
fn strangers_are_ignored() {
    check_ignored(
        "n9",
        vec![
            prepare(1),
            promise("n9", ballot(1)),
            GenesisMessage::Propose { ballot: ballot(1), view: view_of("n9") },
            GenesisMessage::Accepted { ballot: ballot(1) },
            GenesisMessage::Reject { ballot: ballot(1), seen: ballot(2) },
            founding(&["n8", "n9"], ViewConfig::default()),
        ],
    );
}

#[test]
fn what_no_honest_founder_sends_is_ignored() {
    let elsewhere = GenesisDigest::of(&label("elsewhere"), &[], &ViewConfig::default());
    let mut later = view_of("n2").fields().clone();
    later.epoch = Epoch::new(2);
    check_ignored(
        "n2",
        vec![
            promise("n2", ballot(1)),
            GenesisMessage::Accepted { ballot: ballot(1) },
            GenesisMessage::Reject { ballot: ballot(1), seen: ballot(u64::MAX) },
            prepare(u64::MAX),
            GenesisMessage::Prepare { genesis: elsewhere, ballot: ballot(1) },
            GenesisMessage::Prepare { genesis: digest(), ballot: Ballot::default() },
            GenesisMessage::Propose { ballot: ballot(1), view: View::new(later).unwrap() },
            GenesisMessage::Propose { ballot: Ballot::default(), view: view_of("n2") },
        ],
    );
}

#[test]
fn what_comes_from_a_lost_connection_changes_no_standing() {
    check_ignored("n3", vec![founding(&["n1", "n2", "n3"], ViewConfig::default())]);
}

#[test]
fn a_promise_in_another_name_does_not_count() {
    let mut n1 = genesis("n1", &["n1", "n2"]);
    let (now, n2) = (Timestamp::default(), label("n2"));
    n1.handle_connected(now, &n2);
    n1.handle_message(now, &n2, founding(&["n1", "n2"], ViewConfig::default()));
    let (turn, _) = n1.poll_timeout().unwrap();
    n1.handle_timeout(turn);
    let Some(Output::Send { message: GenesisMessage::Prepare { ballot, .. }, .. }) = outputs(&mut n1).pop() else {
        panic!("it is the turn of n1");
    };
    n1.handle_message(turn, &n2, promise("n1", ballot));
    assert_eq!((outputs(&mut n1), n1.ignored()), (vec![], 1));
    n1.handle_message(turn, &n2, promise("n2", ballot));
    assert!(matches!(outputs(&mut n1)[..], [Output::Send { message: GenesisMessage::Propose { .. }, .. }]));
}

#[test]
fn founders_whose_settings_differ_form_nothing() {
    let others = [
        ViewConfig { replication: 3, ..ViewConfig::default() },
        ViewConfig { timing: TimingProfile::Wan, ..ViewConfig::default() },
        ViewConfig { out_after_s: 60, ..ViewConfig::default() },
    ];
    for theirs in others {
        let mut n1 = genesis("n1", &["n1", "n2"]);
        let (now, n2) = (Timestamp::default(), label("n2"));
        n1.handle_connected(now, &n2);
        outputs(&mut n1);
        n1.handle_message(now, &n2, founding(&["n1", "n2"], theirs));
        let finding = Finding::ConfigDiffers { peer: n2.clone(), ours: ViewConfig::default(), theirs };
        assert!(finding.to_string().ends_with("give every founder the same settings"), "{finding}");
        assert_eq!(outputs(&mut n1), [Output::Report(finding)]);
        assert_eq!((n1.status(), n1.poll_timeout()), (GenesisStatus::Mismatch { with: vec![n2] }, None));
    }
}

/// A process that cannot have promised the ballot, because it has lost its memory and its disk, accepts nothing in it; one
/// that has its disk does.
#[test]
fn a_proposal_is_accepted_under_the_very_ballot_that_was_promised() {
    let answer = |acceptor: &Acceptor, ballot| {
        let mut n1 = start(config("n1", &["n1", "n2"]), acceptor.clone(), 2);
        n1.handle_message(Timestamp::default(), &label("n2"), GenesisMessage::Propose { ballot, view: view_of("n2") });
        (outputs(&mut n1).pop(), n1.acceptor().clone())
    };
    let sent = |message| Some(Output::Send { to: label("n2"), message });
    let mut promised = Acceptor::default();
    promised.prepare(ballot(5)).unwrap();
    let (accepted, after) = answer(&promised, ballot(5));
    assert_eq!(accepted, sent(GenesisMessage::Accepted { ballot: ballot(5) }));
    assert_eq!(after.accepted(), Some(&(ballot(5), view_of("n2"))));
    for (acceptor, other) in [(&promised, ballot(4)), (&promised, ballot(6)), (&Acceptor::default(), ballot(5))] {
        let refused = GenesisMessage::Reject { ballot: other, seen: acceptor.promised() };
        assert_eq!(answer(acceptor, other), (sent(refused), acceptor.clone()), "{other}");
    }
}

/// The proposer's own acceptance is in its acceptor when it decides, so that its parent writes it down with the rest.
#[test]
fn a_decided_view_is_accepted_by_its_proposer() {
    let mut n1 = genesis("n1", &["n1"]);
    let Some(Output::Decided { ballot, view }) = outputs(&mut n1).pop() else { panic!("it is alone") };
    assert_eq!((n1.acceptor().promised(), n1.acceptor().accepted()), (ballot, Some(&(ballot, view.clone()))));
    assert_eq!(view.fields().ballot, ballot);
    assert!((1_000 + 2_345 + 1_000..=1_000 + 2_345 + 1_050).contains(&view.fields().proposed_at_ms));
    assert_eq!(view.fields().changes, [Change::Formed]);

    // Started again without having been told that it was decided, it decides the same under a higher ballot.
    let mut again = start(config("n1", &["n1"]), n1.acceptor().clone(), 2);
    let Some(Output::Decided { ballot: higher, view: same }) = outputs(&mut again).pop() else { panic!("it is alone") };
    assert!(higher > ballot);
    assert_eq!(same, view);
}

#[test]
fn of_nine_founders_all_are_members_seven_vote_and_those_with_vnodes_own() {
    let names: Vec<String> = (1..=9).map(|i| format!("n{i}")).collect();
    let mut stage = Stage::default();
    stage.play(&format!("found {}", names.join(" ")));
    stage.play("witness n3");
    stage.play(&format!("start {}", names.join(" ")));
    stage.play("connect all");
    names.iter().for_each(|_| drop(stage.play("settle")));
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
    let settings = ViewConfig { replication: 0, ..ViewConfig::default() };
    let mut n1 = start(GenesisConfig { config: settings, ..config("n1", &["n1"]) }, Acceptor::default(), 1);
    assert!(matches!(outputs(&mut n1)[..], [Output::Report(Finding::Unformable { .. })]));
    assert_eq!(n1.poll_timeout(), None);
}

#[test]
fn two_clusters_never_share_an_id() {
    let form = |seed| outputs(&mut start(config("n1", &["n1"]), Acceptor::default(), seed));
    assert_ne!(form(1), form(2));
    assert_eq!(form(1), form(1));
    assert_ne!(founder("n1", 1, 1).instance, Instance::from_random(0));
}
