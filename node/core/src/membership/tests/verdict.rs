//! From the suspicions of voters to the word of a majority.

use proptest::{collection::vec, prelude::*};
use quoit_proto_types::{Boot, Ordinal, View, view::Liveness};

use super::views::{LAN, any_view, cases, millis, of, ordinals, view};
use crate::{
    membership::verdict::{Opinion, Opinions, Verdict},
    planted::Planted,
};

/// What the voters said: who, when in milliseconds, and whom it suspects, or calls [back](BACK).
type Said<'a> = &'a [(u32, u64, &'a [u32])];

/// Added to the ordinal of a member that is heard again.
const BACK: u32 = 1_000_000;

fn opinion(words: impl IntoIterator<Item = u32>) -> Opinion {
    let (back, suspects): (Vec<u32>, Vec<u32>) = words.into_iter().partition(|word| *word >= BACK);
    Opinion::new(
        suspects.into_iter().map(Ordinal::new).collect(),
        back.into_iter().map(|word| Ordinal::new(word - BACK)).collect(),
    )
}

fn opinions(said: Said<'_>) -> Opinions {
    let mut opinions = Opinions::default();
    for (voter, at, suspects) in said {
        opinions.note(millis(*at), Ordinal::new(*voter), opinion(suspects.iter().copied()));
    }
    opinions
}

/// Asserts whom `opinions` make down and up, two seconds after the start.
#[track_caller]
fn check(what: &str, view: &View, opinions: &Opinions, down: &[u32], up: &[u32]) {
    let verdict = opinions.verdict(millis(2_000), view, LAN, Planted::NOTHING);
    assert_eq!(verdict, Verdict { down: ordinals(down), up: ordinals(up) }, "{what}");
}

#[test]
fn a_majority_of_the_voters_makes_a_member_down() {
    let five = view(5, |_| ());
    check("nobody says anything", &five, &opinions(&[]), &[], &[]);
    let two: Said<'_> = &[(1, 2_000, &[5]), (2, 2_000, &[5])];
    check("two of five", &five, &opinions(two), &[], &[]);
    let split: Said<'_> = &[(1, 2_000, &[5]), (2, 2_000, &[4]), (3, 2_000, &[5])];
    check("three who do not agree", &five, &opinions(split), &[], &[]);
    let three: Said<'_> = &[(1, 2_000, &[4, 5]), (2, 2_000, &[5]), (3, 2_000, &[5])];
    check("three of five", &five, &opinions(three), &[5], &[]);
    let one = view(2, |fields| fields.voters.truncate(1));
    check("the only voter", &one, &opinions(&[(1, 2_000, &[2])]), &[2], &[]);
}

#[test]
fn a_majority_makes_a_member_up_again() {
    let view = view(5, |fields| of(fields, 5).live = Liveness::Down);
    let back: &[u32] = &[BACK + 5];
    let two: Said<'_> = &[(1, 2_000, back), (2, 2_000, back), (3, 2_000, &[]), (4, 2_000, &[])];
    check("two of five, two do not say so", &view, &opinions(two), &[], &[]);
    let three: Said<'_> = &[(1, 2_000, back), (2, 2_000, back), (3, 2_000, &[4, BACK + 5])];
    check("three of five", &view, &opinions(three), &[], &[5]);
    check("it is down already", &view, &opinions(&[(1, 2_000, &[5]), (2, 2_000, &[5]), (3, 2_000, &[5])]), &[], &[]);
}

#[test]
fn a_voter_that_was_not_heard_lately_says_nothing() {
    let three = view(3, |_| ());
    check("1 s ago", &three, &opinions(&[(1, 2_000, &[3]), (2, 1_000, &[3])]), &[], &[]);
    check("999 ms ago", &three, &opinions(&[(1, 2_000, &[3]), (2, 1_001, &[3])]), &[3], &[]);
    let again: Said<'_> = &[(1, 2_000, &[3]), (2, 1_900, &[3]), (2, 2_000, &[])];
    check("the last word counts", &three, &opinions(again), &[], &[]);
    let down = view(3, |fields| of(fields, 3).live = Liveness::Down);
    check("nor in favour", &down, &opinions(&[(1, 2_000, &[BACK + 3]), (2, 1_000, &[BACK + 3])]), &[], &[]);
}

#[test]
fn the_word_of_who_votes_no_more_is_forgotten() {
    let (old, new) = (view(3, |_| ()), view(3, |fields| fields.voters.truncate(1)));
    let mut opinions = opinions(&[(2, 2_000, &[3]), (3, 2_000, &[3])]);
    opinions.enter(&old, &new);
    check("one votes", &new, &opinions, &[], &[]);
    opinions.note(millis(2_000), Ordinal::new(1), opinion([3]));
    check("it says so itself", &new, &opinions, &[3], &[]);
}

/// Else a member would be down as soon as it was up: the voters repeat their words only with the next heartbeat.
#[test]
fn what_was_said_of_an_earlier_life_counts_no_more() {
    let said: Said<'_> = &[(1, 2_000, &[2, 3]), (2, 2_000, &[3])];
    let old = view(3, |_| ());
    let mut same = opinions(said);
    same.enter(&old, &old);
    check("the same life", &old, &same, &[3], &[]);
    let restarted = view(3, |fields| of(fields, 3).boot = Boot::new(2));
    let mut other = opinions(said);
    other.enter(&old, &restarted);
    check("another life", &restarted, &other, &[], &[]);
    let down = view(3, |fields| of(fields, 3).live = Liveness::Down);
    let mut back = opinions(said);
    back.enter(&down, &old);
    check("up again", &old, &back, &[], &[]);
    let mut went = opinions(said);
    went.enter(&old, &down);
    check("down it stays", &down, &went, &[], &[]);
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_minority_changes_nothing_and_a_majority_that_agrees_does(
        view in any_view(),
        suspects in vec(1..9_u32, 0..4),
        back in vec(1..9_u32, 0..4),
        speakers in 0..8_usize,
    ) {
        let mut opinions = Opinions::default();
        for voter in view.fields().voters.iter().take(speakers) {
            let words = suspects.iter().copied().chain(back.iter().map(|member| BACK + member));
            opinions.note(millis(2_000), *voter, opinion(words));
        }
        let verdict = opinions.verdict(millis(2_000), &view, LAN, Planted::NOTHING);
        let decides = speakers >= view.quorum();
        for member in view.members() {
            let suspected = suspects.contains(&member.ordinal.value());
            let goes = decides && suspected && member.live == Liveness::Up;
            let itself = view.fields().voters.iter().take(speakers).any(|voter| *voter == member.ordinal);
            let in_favour = if back.contains(&member.ordinal.value()) { speakers } else { usize::from(itself) };
            let comes = in_favour >= view.quorum() && member.live == Liveness::Down;
            prop_assert_eq!(verdict.down.contains(&member.ordinal), goes, "{}", &member.name);
            prop_assert_eq!(verdict.up.contains(&member.ordinal), comes, "{}", &member.name);
        }
        prop_assert!(verdict.down.union(&verdict.up).all(|ordinal| view.member(*ordinal).is_some()));
    }
}
