//! Invariants that no planted bug breaks first are broken here, by facts that are made up. The mutation gate shows that the
//! others can fail.

use std::time::Duration;

use quoit_core::time::Timestamp;
use quoit_proto_types::{
    Ballot, Boot, Epoch, Instance, Label, Nonce, View,
    message::{election::ElectionMessage, peer::PeerMessage},
    view::{TimingProfile, ViewFields},
};

use super::{
    Fact, Hearing, Invariant, Ledger, Setting, Stage, Violation, bounded::Bounded, issued_once::IssuedOnce,
    one_view_per_epoch::OneViewPerEpoch,
};
use crate::{
    measure::cost::ready_view,
    sim::{Actor, Options},
};

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn actor() -> Actor {
    let (instance, boot) = (Instance::from_random(1), Boot::new(1));
    Actor { serial: 0, host: 0, name: label("n1"), instance, boot, nonce: Nonce::new(1) }
}

fn setting() -> Setting {
    Setting {
        founders: vec![label("n1"), label("n2"), label("n3")],
        timing: TimingProfile::Lan,
        longest_delay: Duration::from_millis(1),
        longest_write: Duration::from_millis(1),
        hosts: 3,
    }
}

/// Shows `fact` to `invariant` at this time.
fn show(invariant: &mut dyn Invariant, ledger: &Ledger, now: Duration, fact: &Fact<'_>) -> Result<(), Violation> {
    let now = Timestamp::default().saturating_add(now);
    invariant.observe(Stage { now, ledger }, fact)
}

#[test]
fn two_views_of_one_epoch_are_found() {
    let view = ready_view(3, &Options::calm(3));
    let fields = view.fields().clone();
    let other = View::new(ViewFields { proposed_at_ms: fields.proposed_at_ms + 1, ..fields }).unwrap();
    let (by, ledger, mut invariant) = (actor(), Ledger::new(&setting()), OneViewPerEpoch::default());
    let mut install = |view: View| {
        let (hash, view) = (view.hash(), view.into());
        show(&mut invariant, &ledger, Duration::ZERO, &Fact::Installed { by: &by, view: &view, hash })
    };
    assert_eq!(install(view.clone()), Ok(()));
    assert_eq!(install(view), Ok(()));
    assert_eq!(install(other).unwrap_err().invariant, "one view per epoch");
}

#[test]
fn a_ballot_of_two_processes_is_found() {
    let durable = quoit_core::meta::Meta::new(Instance::from_random(1));
    let message = PeerMessage::Election(ElectionMessage::Prepare { epoch: Epoch::new(1), ballot: Ballot::default() });
    let (first, to, ledger, mut invariant) = (actor(), label("n2"), Ledger::new(&setting()), IssuedOnce::default());
    let mut prepare = |from: &Actor| {
        let fact = Fact::Sent { from, at: None, durable: &durable, to: &to, message: &message };
        show(&mut invariant, &ledger, Duration::ZERO, &fact)
    };
    assert_eq!(prepare(&first), Ok(()));
    assert_eq!(prepare(&first), Ok(()));
    let second = Actor { serial: 1, ..first };
    assert_eq!(prepare(&second).unwrap_err().invariant, "ballots and ordinals are issued once");
}

#[test]
fn too_many_words_about_elections_are_found() {
    let durable = quoit_core::meta::Meta::new(Instance::from_random(1));
    let message = PeerMessage::Election(ElectionMessage::Elect { epoch: Epoch::new(1), round: 1, transferred: None });
    let (by, to, ledger) = (actor(), label("n2"), Ledger::new(&setting()));
    let fact = Fact::Sent { from: &by, at: None, durable: &durable, to: &to, message: &message };
    let said = |pause: Duration| {
        let mut invariant = Bounded::new(&setting());
        (0..1_000).try_for_each(|turn| show(&mut invariant, &ledger, pause * turn, &fact))
    };
    assert_eq!(said(Duration::from_millis(10)), Ok(()));
    assert_eq!(said(Duration::from_millis(1)).unwrap_err().invariant, "bounded");
}

#[test]
fn too_many_wishes_at_once_are_found() {
    let (by, ledger, mut invariant) = (actor(), Ledger::new(&setting()), Bounded::new(&setting()));
    let mut step = |outputs| {
        let role = quoit_proto_types::message::admin::ElectionRole::Follower;
        show(&mut invariant, &ledger, Duration::ZERO, &Fact::Stepped { by: &by, role, outputs })
    };
    assert_eq!(step(100), Ok(()));
    assert_eq!(step(10_000).unwrap_err().invariant, "bounded");
}

/// A voter whose clock jumps has heard what it has heard: others go by what it said of that.
#[test]
fn what_was_heard_before_a_jump_of_the_clock_was_heard() {
    let (second, half) = (Duration::from_secs(1), Duration::from_millis(500));
    let at = |time: Duration| Timestamp::default().saturating_add(time);
    let mut hearing = Hearing::new(second, half);
    let speaker = (Instance::from_random(2), Boot::new(1));
    (0..20).for_each(|turn| hearing.heard(1, speaker, at(Duration::from_millis(200) * turn)));
    let now = at(second * 4);
    hearing.woke(1, now, now);
    let steady = |hearing: &Hearing, after| hearing.was_steady((1, speaker), second * 3, (at(half), after), now);
    assert!(steady(&hearing, at(second * 2)));
    hearing.woke(1, now, now);
    assert!(steady(&hearing, at(second * 2)), "twice makes no difference");
    assert!(!steady(&hearing, at(second * 6)), "that is long ago by then");
}
