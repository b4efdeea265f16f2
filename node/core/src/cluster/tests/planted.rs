//! Bugs are planted one at a time, and never in a build for use.

use crate::planted::{Bug, Planted};

/// Without debug assertions there is no room in it for a bug, and no function that makes one.
#[cfg(not(debug_assertions))]
const _: () = {
    assert!(size_of::<Planted>() == 0);
    assert!(!Planted::NOTHING.is(Bug::NoQuorum));
};

/// Asserts that `planted` is exactly these bugs.
#[track_caller]
fn check(planted: Planted, bugs: &[Bug]) {
    let found: Vec<Bug> = Bug::ALL.into_iter().filter(|bug| planted.is(*bug)).collect();
    assert_eq!(found, bugs);
}

#[test]
fn nothing_is_planted_unless_asked_for() {
    check(Planted::NOTHING, &[]);
    check(Planted::default(), &[]);
}

#[cfg(debug_assertions)]
#[test]
fn one_bug_is_planted_at_a_time() {
    for bug in Bug::ALL {
        check(Planted::some(bug), &[bug]);
    }
}
