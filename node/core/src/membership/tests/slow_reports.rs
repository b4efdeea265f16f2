//! From the words of members on who is slow, to the word of a majority.

use quoit_proto_types::{Boot, Ordinal, View, view::Liveness};

use super::views::{LAN, after, millis, of, ordinals, view};
use crate::{
    membership::slow_reports::{Paces, SlowReports},
    planted::Planted,
};

/// What the members said: who, when in milliseconds, and whom it finds slow.
type Said<'a> = &'a [(u32, u64, &'a [u32])];

fn reports(said: Said<'_>) -> SlowReports {
    let mut reports = SlowReports::default();
    for (member, at, slow) in said {
        reports.note(millis(*at), Ordinal::new(*member), slow.iter().copied().map(Ordinal::new).collect());
    }
    reports
}

/// Asserts whom `reports` make slow and quick, so many milliseconds after the start.
#[track_caller]
fn check_at(what: &str, at: u64, view: &View, reports: &SlowReports, slow: &[u32], quick: &[u32]) {
    let paces = reports.paces(millis(at), view, LAN, Planted::NOTHING);
    assert_eq!(paces, Paces { slow: ordinals(slow), quick: ordinals(quick) }, "{what}");
}

#[track_caller]
fn check(what: &str, view: &View, said: Said<'_>, slow: &[u32], quick: &[u32]) {
    check_at(what, 2_000, view, &reports(said), slow, quick);
}

fn degraded(members: u32, index: u32) -> View {
    view(members, |fields| of(fields, index).degraded = true)
}

#[test]
fn a_majority_of_those_who_measure_a_member_makes_it_slow() {
    let five = view(5, |_| ());
    check("nobody says anything", &five, &[], &[], &[]);
    check("two of the four others", &five, &[(1, 2_000, &[5]), (2, 2_000, &[5])], &[], &[]);
    let split: Said<'_> = &[(1, 2_000, &[5]), (2, 2_000, &[5]), (3, 2_000, &[4])];
    check("three who do not agree", &five, split, &[], &[]);
    let three: Said<'_> = &[(1, 2_000, &[4, 5]), (2, 2_000, &[5]), (3, 2_000, &[5])];
    check("three of the four others", &five, three, &[5], &[]);
    let with_itself: Said<'_> = &[(1, 2_000, &[5]), (2, 2_000, &[5]), (5, 2_000, &[5])];
    check("a member does not measure itself", &five, with_itself, &[], &[]);
    let one_down = view(5, |fields| of(fields, 4).live = Liveness::Down);
    check("two of the three others who are up", &one_down, &[(1, 2_000, &[5]), (2, 2_000, &[5])], &[5], &[]);
    check("who is down says nothing", &one_down, &[(1, 2_000, &[5]), (4, 2_000, &[5])], &[], &[]);
    check(
        "nothing is said of who is down",
        &one_down,
        &[(1, 2_000, &[4]), (2, 2_000, &[4]), (3, 2_000, &[4])],
        &[],
        &[],
    );
}

#[test]
fn it_takes_two_unless_there_are_only_two() {
    check("one of two others", &view(3, |_| ()), &[(1, 2_000, &[3])], &[], &[]);
    check("both", &view(3, |_| ()), &[(1, 2_000, &[3]), (2, 2_000, &[3])], &[3], &[]);
    let alone = view(3, |fields| of(fields, 2).live = Liveness::Down);
    check("the only one that is left", &alone, &[(1, 2_000, &[3])], &[], &[]);
    check("there is no third", &view(2, |_| ()), &[(1, 2_000, &[2])], &[2], &[]);
}

#[test]
fn it_is_quick_again_when_the_majority_is_gone() {
    let all: Said<'_> = &[(1, 2_000, &[5]), (2, 2_000, &[5]), (3, 2_000, &[5])];
    check("they still say so", &degraded(5, 5), all, &[], &[]);
    check("one does not", &degraded(5, 5), &all[..2], &[], &[5]);
    check("nobody does", &degraded(5, 5), &[], &[], &[5]);
    let alone = view(3, |fields| {
        of(fields, 2).live = Liveness::Down;
        of(fields, 3).degraded = true;
    });
    check("the only one that is left says so", &alone, &[(1, 2_000, &[3])], &[], &[]);
}

#[test]
fn a_member_that_was_not_heard_lately_says_nothing() {
    let three = view(3, |_| ());
    check("1 s ago", &three, &[(1, 2_000, &[3]), (2, 1_000, &[3])], &[], &[]);
    check("999 ms ago", &three, &[(1, 2_000, &[3]), (2, 1_001, &[3])], &[3], &[]);
    check("the last word counts", &three, &[(1, 2_000, &[3]), (2, 1_900, &[3]), (2, 2_000, &[])], &[], &[]);
}

#[test]
fn what_was_said_of_an_earlier_life_counts_no_more() {
    let (old, restarted) = (view(3, |_| ()), view(3, |fields| of(fields, 3).boot = Boot::new(2)));
    let mut reports = reports(&[(1, 2_000, &[3]), (2, 2_000, &[3])]);
    reports.enter(millis(2_000), &old, &restarted);
    check_at("another life", 2_000, &restarted, &reports, &[], &[]);
}

#[test]
fn a_member_changes_once_in_ten_seconds() {
    let said: Said<'_> = &[(1, 2_000, &[3]), (2, 2_000, &[3])];
    let (old, mut reports) = (view(3, |_| ()), reports(said));
    let slow = after(&old, |fields| of(fields, 3).degraded = true);
    reports.enter(millis(2_000), &old, &slow);
    check_at("the words are gone", 11_999, &slow, &reports, &[], &[]);
    check_at("ten seconds are over", 12_000, &slow, &reports, &[], &[3]);
    let quick = after(&slow, |fields| of(fields, 3).degraded = false);
    reports.enter(millis(12_000), &slow, &quick);
    for at in [21_999, 22_000] {
        for member in [1, 2] {
            reports.note(millis(at), Ordinal::new(member), vec![Ordinal::new(3)]);
        }
        let expected: &[u32] = if at < 22_000 { &[] } else { &[3] };
        check_at("and back", at, &quick, &reports, expected, &[]);
    }
}

#[test]
fn only_what_is_new_is_news() {
    let mut reports = SlowReports::default();
    let mut says =
        |slow: &[u32]| reports.note(millis(0), Ordinal::new(2), slow.iter().copied().map(Ordinal::new).collect());
    assert_eq!(
        [says(&[]), says(&[3]), says(&[3]), says(&[1, 3]), says(&[]), says(&[])],
        [false, true, false, true, true, false]
    );
}
