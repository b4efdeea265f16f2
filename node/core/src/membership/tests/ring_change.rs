//! When the ring changes, to what, and when that is given up.

use std::time::Duration;

use proptest::prelude::*;
use quoit_proto_types::{
    Boot, Fence, Ordinal, View, limits,
    view::{Intent, Liveness, Owner, Placed, ViewFields},
};

use super::{
    plan::{News, plan},
    views::{LAN, after, any_view, cases, member, millis, of, owner, view},
};
use crate::{
    membership::ring_change::{RingChange, Step, next_ring},
    placement::tokens_towards,
    planted::Planted,
    timing::Timing,
};

/// What the coordinator `n1` does about the ring of `view`, `at` milliseconds after the start.
fn step(change: &mut RingChange, at: u64, view: &View) -> Step {
    change.step(millis(at), view, Ordinal::new(1), LAN, Planted::NOTHING)
}

/// Asserts which ring is wanted for three owners after `change`.
#[track_caller]
fn check(what: &str, change: impl FnOnce(&mut ViewFields), wanted: &[(u32, u32)]) {
    let wanted: Vec<Owner> = wanted.iter().map(|(index, boot)| owner(*index, *boot)).collect();
    assert_eq!(next_ring(&view(3, change)), wanted, "{what}");
}

/// `fields` with one more member, which owns nothing yet.
fn joined(fields: &mut ViewFields) {
    fields.members.push(member(4));
    fields.next_ordinal = Ordinal::new(5);
}

/// Three owners and one that is to be.
fn joint() -> View {
    view(4, |fields| {
        let target = std::mem::take(&mut fields.ring);
        fields.ring = target[..3].to_vec();
        (fields.target, fields.fence) = (Some(target), Fence::new(5));
    })
}

/// `owners` as far as they are to own, and everybody else, have told that they are ready for `view`.
fn ready(view: &View, synced: &[u32], installed: &[u32]) -> RingChange {
    let mut change = RingChange::new(millis(0));
    change.enter(millis(0), view);
    synced.iter().for_each(|index| {
        change.note_synced(millis(0), Ordinal::new(*index), view.fence(), 0);
    });
    installed.iter().for_each(|index| change.note_installed(Ordinal::new(*index), view.fence()));
    change
}

#[test]
fn the_ring_wanted_is_of_those_who_stay_and_are_up() {
    check("nothing happened", |_| (), &[(1, 1), (2, 1), (3, 1)]);
    check("one joined", joined, &[(1, 1), (2, 1), (3, 1), (4, 1)]);
    let witness = |fields: &mut ViewFields| {
        joined(fields);
        of(fields, 4).vnodes = 0;
    };
    check("a witness joined", witness, &[(1, 1), (2, 1), (3, 1)]);
    let down = |fields: &mut ViewFields| {
        joined(fields);
        of(fields, 4).live = Liveness::Down;
    };
    check("one joined and is down already", down, &[(1, 1), (2, 1), (3, 1)]);
    check("one leaves", |fields| of(fields, 2).intent = Intent::Leave, &[(1, 1), (3, 1)]);
    check("one is lost", |fields| of(fields, 2).intent = Intent::Lost, &[(1, 1), (3, 1)]);
    check("one owns no more", |fields| of(fields, 2).vnodes = 0, &[(1, 1), (3, 1)]);
}

#[test]
fn an_owner_that_is_down_keeps_its_place_until_it_is_back() {
    check("down", |fields| of(fields, 2).live = Liveness::Down, &[(1, 1), (2, 1), (3, 1)]);
    check("restarted", |fields| of(fields, 2).boot = Boot::new(4), &[(1, 1), (2, 4), (3, 1)]);
    let both = |fields: &mut ViewFields| {
        let member = of(fields, 2);
        (member.boot, member.live) = (Boot::new(4), Liveness::Down);
    };
    check("restarted, and down again", both, &[(1, 1), (2, 1), (3, 1)]);
}

#[test]
fn the_last_owners_stay_whatever_they_intend() {
    let all = |fields: &mut ViewFields| fields.members.iter_mut().for_each(|member| member.intent = Intent::Leave);
    check("all leave", all, &[(1, 1), (2, 1), (3, 1)]);
    let replicated = |fields: &mut ViewFields| {
        all(fields);
        (fields.config.replication, fields.copies) = (3, 3);
    };
    check("all leave a small ring", replicated, &[(1, 1), (2, 1)]);
    let one_stays = |fields: &mut ViewFields| {
        replicated(fields);
        of(fields, 1).intent = Intent::Stay;
    };
    check("two leave a small ring, and one of them goes first", one_stays, &[(1, 1), (2, 1)]);
    let one_is_down = |fields: &mut ViewFields| {
        one_stays(fields);
        (of(fields, 2).intent, of(fields, 2).live) = (Intent::Lost, Liveness::Down);
    };
    check("the one that is down", one_is_down, &[(1, 1), (3, 1)]);
    let one_comes = |fields: &mut ViewFields| {
        one_stays(fields);
        joined(fields);
    };
    check("another comes in their place", one_comes, &[(1, 1), (4, 1)]);
}

#[test]
fn the_members_that_would_take_slots_must_be_up() {
    let blocked = |view: &View| {
        let mut change = RingChange::new(millis(0));
        assert_eq!(step(&mut change, 0, view), Step::Rest);
        change.waiting(view).map(|waiting| waiting.to_string())
    };
    // Of n3's slots some would go to n2.
    let leaves = |fields: &mut ViewFields| {
        of(fields, 3).intent = Intent::Leave;
        of(fields, 2).live = Liveness::Down;
    };
    check("one leaves", leaves, &[(1, 1), (2, 1), (3, 1)]);
    assert_eq!(blocked(&view(3, leaves)), Some("n2 down, and would have to take slots".to_owned()));
    let up = view(3, |fields| of(fields, 3).intent = Intent::Leave);
    assert_eq!((blocked(&up), blocked(&view(3, |_| ()))), (None, None));
    // Who joins takes slots from others, and nobody else takes any.
    let joins = |fields: &mut ViewFields| {
        joined(fields);
        of(fields, 2).live = Liveness::Down;
    };
    check("one joins", joins, &[(1, 1), (2, 1), (3, 1), (4, 1)]);
    let more = |fields: &mut ViewFields| {
        fields.config.replication = 2;
        of(fields, 2).live = Liveness::Down;
    };
    assert_eq!(blocked(&view(3, more)), Some("n2 down, and would have to take slots".to_owned()));
    // A copy on every node is there already.
    let all = |fields: &mut ViewFields| {
        (fields.copies, fields.config.replication) = (limits::REPLICATION_ALL, limits::REPLICATION_ALL);
        leaves(fields);
    };
    check("nobody takes anything", all, &[(1, 1), (2, 1)]);
    let all_leave = view(2, |fields| fields.members.iter_mut().for_each(|member| member.intent = Intent::Leave));
    assert_eq!(blocked(&all_leave), Some("nobody could take the slots of n1, n2".to_owned()));
}

#[test]
fn who_restarted_waits_for_nobody() {
    let restarted = |fields: &mut ViewFields| {
        of(fields, 1).boot = Boot::new(7);
        of(fields, 2).live = Liveness::Down;
        of(fields, 3).intent = Intent::Leave;
    };
    check("n3 must wait for n2, n1 need not", restarted, &[(1, 7), (2, 1), (3, 1)]);
    let more = |fields: &mut ViewFields| {
        restarted(fields);
        fields.config.replication = 3;
        of(fields, 1).placed = Some(Placed { zone: None, vnodes: 3 });
    };
    check("nor for copies, nor its own weight", more, &[(1, 7), (2, 1), (3, 1)]);
    let view = view(3, more);
    let target = next_ring(&view);
    assert_eq!((view.copies_towards(&target), view.ring_towards(&target, &[])), (1, view.ring()));
}

/// Asserts how many slots of 64 are said to be lost with the ring change after `change`.
#[track_caller]
fn check_lost(what: &str, change: impl FnOnce(&mut ViewFields), lost: impl FnOnce(u32) -> bool) {
    let view = view(3, change);
    let mut ring_change = RingChange::new(millis(0));
    step(&mut ring_change, 0, &view);
    let Step::Begin { lost: found, .. } = step(&mut ring_change, 10_000, &view) else { panic!("{what}: it rests") };
    assert!(lost(found), "{what}: {found}");
}

#[test]
fn what_nobody_holds_any_more_is_told() {
    let gone = |fields: &mut ViewFields| (of(fields, 3).intent, of(fields, 3).live) = (Intent::Lost, Liveness::Down);
    check_lost("the only owner of some", gone, |lost| (1..64).contains(&lost));
    check_lost("one that is up", |fields| of(fields, 3).intent = Intent::Leave, |lost| lost == 0);
    check_lost("an earlier life", |fields| of(fields, 3).boot = Boot::new(2), |lost| (1..64).contains(&lost));
    let two = |fields: &mut ViewFields| (fields.copies, fields.config.replication) = (2, 2);
    let one_of_two = |fields: &mut ViewFields| {
        two(fields);
        gone(fields);
    };
    check_lost("one owner of two", one_of_two, |lost| lost == 0);
    let both = |fields: &mut ViewFields| {
        two(fields);
        (2..=3).for_each(|index| of(fields, index).boot = Boot::new(2));
    };
    check_lost("both owners of some", both, |lost| (1..64).contains(&lost));
    let all = |fields: &mut ViewFields| fields.members.iter_mut().for_each(|member| member.boot = Boot::new(2));
    check_lost("all", all, |lost| lost == 64);
}

/// A change of what places slots is wanted like a change of owners, and every slot grows at once and shrinks by one.
#[test]
fn other_weights_zones_and_copies_are_wanted_with_the_same_owners() {
    let begins = |view: &View| {
        let mut change = RingChange::new(millis(0));
        step(&mut change, 0, view);
        match step(&mut change, 10_000, view) {
            Step::Begin { target, .. } => Some((target == view.fields().ring, view.copies_towards(&target))),
            Step::Rest | Step::Finish | Step::Abort => None,
        }
    };
    assert_eq!(begins(&view(3, |_| ())), None);
    let placed = |zone: Option<&str>, vnodes| Some(Placed { zone: zone.map(|zone| zone.parse().unwrap()), vnodes });
    assert_eq!(begins(&view(3, |fields| of(fields, 2).placed = placed(None, 3))), Some((true, 1)));
    assert_eq!(begins(&view(3, |fields| of(fields, 2).placed = placed(Some("z"), 8))), Some((true, 1)));
    let copies = |now, wanted| view(3, |fields| (fields.copies, fields.config.replication) = (now, wanted));
    for (now, wanted, next) in [(1, 3, 3), (3, 1, 2), (2, 1, 1), (7, 1, 2), (255, 1, 2), (1, 255, 255), (255, 7, 7)] {
        assert_eq!(begins(&copies(now, wanted)), Some((true, next)), "{now} to {wanted}");
    }
    assert_eq!(begins(&copies(2, 2)), None);
}

#[test]
fn what_is_wanted_within_a_second_is_one_change() {
    let mut change = RingChange::new(millis(0));
    let settled = view(3, |_| ());
    assert_eq!(step(&mut change, 0, &settled), Step::Rest);
    let first = after(&settled, joined);
    assert_eq!(step(&mut change, 10_000, &first), Step::Rest, "the time begins with the wish");
    let second = after(&first, |fields| of(fields, 2).intent = Intent::Leave);
    assert_eq!(step(&mut change, 10_999, &second), Step::Rest);
    let wanted = vec![owner(1, 1), owner(3, 1), owner(4, 1)];
    let begin = Step::Begin { target: wanted, lost: 0 };
    assert_eq!(step(&mut change, 11_000, &second), begin, "and holds for what was wished meanwhile");
}

#[test]
fn a_wish_that_is_taken_back_leaves_no_trace() {
    let mut change = RingChange::new(millis(0));
    let wished = view(3, |fields| of(fields, 2).intent = Intent::Leave);
    let settled = after(&wished, |fields| of(fields, 2).intent = Intent::Stay);
    let again = after(&settled, |fields| of(fields, 2).intent = Intent::Leave);
    assert_eq!(step(&mut change, 0, &wished), Step::Rest);
    assert_eq!(step(&mut change, 500, &settled), Step::Rest);
    assert_eq!(step(&mut change, 1_200, &again), Step::Rest);
    assert!(matches!(step(&mut change, 2_200, &again), Step::Begin { .. }));
}

#[test]
fn who_cannot_serve_until_the_ring_changes_does_not_wait() {
    let begin = |owners: &[(u32, u32)]| owners.iter().map(|(index, boot)| owner(*index, *boot)).collect::<Vec<_>>();
    let step = |change: &mut RingChange, at, view: &View| match step(change, at, view) {
        Step::Begin { target, .. } => target,
        Step::Rest | Step::Finish | Step::Abort => Vec::new(),
    };
    let restarted = view(3, |fields| of(fields, 2).boot = Boot::new(2));
    assert_eq!(step(&mut RingChange::new(millis(0)), 0, &restarted), begin(&[(1, 1), (2, 2), (3, 1)]));
    let nobody_owns = view(2, |fields| fields.ring.clear());
    assert_eq!(step(&mut RingChange::new(millis(0)), 0, &nobody_owns), begin(&[(1, 1), (2, 1)]));
    let nobody_can = view(1, |fields| {
        fields.ring.clear();
        of(fields, 1).vnodes = 0;
    });
    assert_eq!(step(&mut RingChange::new(millis(0)), 0, &nobody_can), []);
}

/// One row of the guard: who told what, and what comes of it in the view `joint` after `change`.
#[track_caller]
fn check_guard(what: &str, (synced, installed): (&[u32], &[u32]), change: impl FnOnce(&mut ViewFields), step_is: Step) {
    let view = after(&joint(), change);
    assert_eq!(step(&mut ready(&view, synced, installed), 59_999, &view), step_is, "{what}");
}

#[test]
fn a_ring_is_in_force_when_owners_to_be_hold_their_slots_and_owners_know() {
    let nothing = |_: &mut ViewFields| ();
    let all: &[u32] = &[1, 2, 3, 4];
    check_guard("all have told", (all, &[2, 3]), nothing, Step::Finish);
    check_guard("the coordinator knows by itself", (all, &[1, 2, 3, 4]), nothing, Step::Finish);
    check_guard("n4 does not hold its slots", (&[1, 2, 3], &[2, 3, 4]), nothing, Step::Rest);
    check_guard("n3 has not said that it has nothing to fetch", (&[1, 2, 4], &[2, 3, 4]), nothing, Step::Rest);
    check_guard("n3 does not know", (all, &[2, 4]), nothing, Step::Rest);
    let down = |index| move |fields: &mut ViewFields| of(fields, index).live = Liveness::Down;
    check_guard("n3 is down", (&[1, 2, 4], &[2]), down(3), Step::Finish);
    check_guard("n3 has another life", (&[1, 2, 4], &[2]), |f| of(f, 3).boot = Boot::new(2), Step::Finish);
    check_guard("n4 fell silent, with what it held", (all, &[2, 3]), down(4), Step::Rest);
    check_guard("only others hold theirs", (&[1, 2, 3], &[2, 3]), nothing, Step::Rest);
}

/// Each slot of two copies is to have one. Those of n2 cannot go to it alone once it is down, as the other copy goes.
#[test]
fn no_slot_is_left_to_an_owner_that_has_gone_down_meanwhile() {
    let shrinking = view(2, |fields| {
        (fields.copies, fields.config.replication) = (2, 1);
        (fields.target, fields.fence) = (Some(fields.ring.clone()), Fence::new(5));
    });
    assert_eq!(step(&mut ready(&shrinking, &[1, 2], &[2]), 0, &shrinking), Step::Finish);
    let down = after(&shrinking, |fields| of(fields, 2).live = Liveness::Down);
    assert_eq!(step(&mut ready(&down, &[1, 2], &[2]), 59_999, &down), Step::Rest);
    assert_eq!(step(&mut ready(&down, &[1, 2], &[2]), 60_000, &down), Step::Abort);
}

/// With n4 gone, n1 to n3 take its slots.
#[test]
fn those_who_own_already_and_take_more_are_waited_for() {
    let leaving = |down: Option<u32>| {
        view(4, |fields| {
            (fields.target, fields.fence) = (Some(fields.ring[..3].to_vec()), Fence::new(5));
            of(fields, 4).intent = Intent::Leave;
            down.iter().for_each(|index| of(fields, *index).live = Liveness::Down);
        })
    };
    let next = |view: &View, synced: &[u32]| step(&mut ready(view, synced, &[2, 3, 4]), 1_000, view);
    assert_eq!(next(&leaving(None), &[1, 2]), Step::Rest);
    assert_eq!(next(&leaving(None), &[1, 2, 3]), Step::Finish);
    assert_eq!(next(&leaving(Some(3)), &[1, 2]), Step::Rest, "n3 is to take slots, and is down");
    assert_eq!(next(&leaving(Some(4)), &[1, 2, 3]), Step::Finish, "n4 is to take none");
}

#[test]
fn a_ring_change_that_cannot_end_is_given_up() {
    let none: (&[u32], &[u32]) = (&[], &[]);
    check_guard("it goes on", none, |_| (), Step::Rest);
    check_guard("n4 is down and may come back", none, |fields| of(fields, 4).live = Liveness::Down, Step::Rest);
    check_guard("n4 restarted", none, |fields| of(fields, 4).boot = Boot::new(2), Step::Abort);
    check_guard("n4 leaves", none, |fields| of(fields, 4).intent = Intent::Leave, Step::Abort);
    check_guard("n4 is lost", none, |fields| of(fields, 4).intent = Intent::Lost, Step::Abort);
    check_guard("an owner leaves, which is for later", none, |f| of(f, 2).intent = Intent::Leave, Step::Rest);
    let view = joint();
    assert_eq!(step(&mut ready(&view, &[], &[2, 3]), 60_000, &view), Step::Abort, "it takes too long");
    assert_eq!(step(&mut ready(&view, &[1, 2, 3, 4], &[2, 3]), 60_000, &view), Step::Finish, "but it is done");
}

/// What is told of `n4`'s slots, each with its time in seconds, and what comes of it in the second `at`.
#[track_caller]
fn check_progress(what: &str, told: &[(u64, u32)], at: u64, step_is: Step) {
    let view = joint();
    let mut change = ready(&view, &[1, 2, 3], &[2, 3]);
    for (seconds, left) in told {
        change.note_synced(millis(seconds * 1_000), Ordinal::new(4), view.fence(), *left);
    }
    assert_eq!(step(&mut change, at * 1_000, &view), step_is, "{what}");
}

#[test]
fn a_ring_change_that_gets_on_is_not_given_up() {
    check_progress("the first word", &[(50, 9)], 109, Step::Rest);
    check_progress("and nothing since", &[(50, 9)], 110, Step::Abort);
    check_progress("one slot less", &[(50, 9), (109, 8)], 168, Step::Rest);
    check_progress("the same again", &[(50, 9), (109, 9)], 110, Step::Abort);
    check_progress("more, then less but not less than ever", &[(50, 9), (60, 11), (100, 10)], 110, Step::Abort);
    check_progress("none left", &[(50, 9), (109, 0)], 110, Step::Finish);
    check_progress("none left, and then one", &[(50, 0), (59, 1)], 61, Step::Rest);
}

#[test]
fn what_one_says_is_news_once() {
    let view = joint();
    let mut change = ready(&view, &[], &[]);
    let mut note = |fence, left| change.note_synced(millis(0), Ordinal::new(4), Fence::new(fence), left);
    assert_eq!([note(5, 3), note(5, 3), note(5, 0), note(5, 0), note(6, 0)], [true, false, true, false, false]);
}

#[test]
fn what_was_told_of_another_fence_counts_for_nothing() {
    let view = joint();
    let mut change = ready(&view, &[], &[]);
    for fence in [4, 6].map(Fence::new) {
        (1..=4).for_each(|index| {
            change.note_synced(millis(0), Ordinal::new(index), fence, 0);
        });
        [2, 3].map(Ordinal::new).iter().for_each(|owner| change.note_installed(*owner, fence));
    }
    assert_eq!(step(&mut change, 0, &view), Step::Rest);
    let mut change = ready(&view, &[1, 2, 3, 4], &[2, 3]);
    let later = after(&view, |fields| fields.fence = Fence::new(6));
    assert_eq!(step(&mut change, 50_000, &later), Step::Rest, "told of the one before");
    assert_eq!(step(&mut change, 109_999, &later), Step::Rest, "and so is the time it took");
    assert_eq!(step(&mut change, 110_000, &later), Step::Abort);
}

/// Asserts what holds for the ring that is wanted after `view`, whatever happened.
fn check_wanted(view: &View) -> Result<(), TestCaseError> {
    let (ring, wanted) = (&view.fields().ring, next_ring(view));
    let in_order = wanted.is_sorted_by(|a, b| a.ordinal < b.ordinal);
    prop_assert!(in_order && wanted.iter().all(|owner| view.member(owner.ordinal).is_some()), "{wanted:?}");
    prop_assert!(ring.is_empty() || !wanted.is_empty(), "an empty ring");
    for owner in &wanted {
        let member = view.member(owner.ordinal).unwrap();
        let known = ring.iter().any(|known| known.ordinal == owner.ordinal);
        let comes = member.live == Liveness::Up && member.intent == Intent::Stay && member.vnodes > 0;
        let lives = member.live == Liveness::Up && owner.boot == member.boot;
        prop_assert!(ring.contains(owner) || (lives && (known || comes)), "{owner:?} comes");
    }
    check_slots(view, &wanted)
}

/// Asserts that a change from `view` to `target` costs no slot more than one owner, nor its last one, and that whoever would
/// have to take slots is up to do it (PROTOCOL, T6 and T8).
fn check_slots(view: &View, target: &[Owner]) -> Result<(), TestCaseError> {
    let (old, new) = (view.ring(), view.ring_towards(target, &tokens_towards(view, target)));
    let change = *target != view.fields().ring || old != new;
    for slot in old.slots().slots() {
        let (old, new) = (old.owners(slot), new.owners(slot));
        prop_assert!(new.len() + 1 >= old.len(), "{slot:?} has {old:?}, and is to have {new:?}");
        prop_assert!(old.is_empty() || !new.is_empty(), "{slot:?} has {old:?}, and is to have nobody");
        let begins = change
            && RingChange::new(millis(0)).step(millis(0), view, Ordinal::new(1), AT_ONCE, Planted::NOTHING)
                != Step::Rest;
        for owner in new.iter().filter(|_| begins && view.fields().target.is_none()) {
            let now = target.iter().find(|known| known.ordinal == *owner).unwrap();
            let holds = old.contains(owner) && view.fields().ring.contains(now);
            let member = view.member(*owner).unwrap();
            let takes = member.live == Liveness::Up && member.boot == now.boot;
            prop_assert!(holds || takes, "{owner} takes {slot:?}");
        }
    }
    Ok(())
}

/// A timing without the wait for others to join a change.
const AT_ONCE: Timing = Timing { batch: Duration::ZERO, ..LAN };

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn no_slot_loses_two_owners_at_a_time_or_its_last_one(view in any_view()) {
        check_wanted(&view)?;
    }

    /// However often it is asked, and whatever of it comes true, it comes to rest: with as many copies as are wanted, and
    /// nobody who waits to be placed, unless some who would have to take slots are down.
    #[test]
    fn ring_changes_end(view in any_view()) {
        let mut view = view;
        let mut change = RingChange::new(millis(0));
        for round in 0..60 {
            let at = round * 100_000;
            let next = step(&mut change, at, &view);
            prop_assert!(round < 59 || next == Step::Rest, "{next:?}");
            if next == Step::Rest && change.waiting(&view).is_none() && view.fields().target.is_none() && round > 40 {
                let placed = |index: &Owner| view.member(index.ordinal).unwrap().placed.is_some();
                prop_assert_eq!(view.fields().copies, view.fields().config.replication);
                prop_assert!(!view.fields().ring.iter().any(placed));
            }
            if let Some(next) = plan(&view, &News::of(next)) {
                view = next;
            }
            change.enter(millis(at), &view);
            for member in view.members() {
                change.note_installed(member.ordinal, view.fence());
                change.note_synced(millis(at), member.ordinal, view.fence(), 0);
            }
        }
    }
}
