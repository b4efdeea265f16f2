//! When the ring changes, to what, and when that is given up.

use proptest::prelude::*;
use quoit_proto_types::{
    Boot, Fence, Ordinal, View,
    view::{Intent, Liveness, Owner, ViewFields},
};

use super::views::{LAN, after, any_view, cases, member, millis, of, owner, view};
use crate::{
    membership::ring_change::{RingChange, Step, pending, wanted_ring},
    planted::Planted,
};

/// What the coordinator `n1` does about the ring of `view`, `at` milliseconds after the start.
fn step(change: &mut RingChange, at: u64, view: &View) -> Step {
    change.step(millis(at), view, Ordinal::new(1), LAN, Planted::NOTHING)
}

/// Asserts which ring is wanted for three owners after `change`.
#[track_caller]
fn check(what: &str, change: impl FnOnce(&mut ViewFields), wanted: &[(u32, u32)]) {
    let wanted: Vec<Owner> = wanted.iter().map(|(index, boot)| owner(*index, *boot)).collect();
    assert_eq!(wanted_ring(&view(3, change)), wanted, "{what}");
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
    synced.iter().for_each(|index| change.note_synced(Ordinal::new(*index), view.fence()));
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
        fields.config.replication = 3;
    };
    check("all leave a small ring", replicated, &[(1, 1), (2, 1)]);
    let one_stays = |fields: &mut ViewFields| {
        replicated(fields);
        of(fields, 1).intent = Intent::Stay;
    };
    check("two leave a small ring, and one of them goes first", one_stays, &[(1, 1), (2, 1)]);
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
    assert_eq!(step(&mut change, 11_000, &second), Step::Begin(wanted), "and holds for what was wished meanwhile");
}

#[test]
fn a_wish_that_is_taken_back_leaves_no_trace() {
    let mut change = RingChange::new(millis(0));
    let (settled, wished) = (view(3, |_| ()), view(3, |fields| of(fields, 2).intent = Intent::Leave));
    assert_eq!(step(&mut change, 0, &wished), Step::Rest);
    assert_eq!(step(&mut change, 500, &settled), Step::Rest);
    assert_eq!(step(&mut change, 1_200, &wished), Step::Rest);
    assert!(matches!(step(&mut change, 2_200, &wished), Step::Begin(_)));
}

#[test]
fn who_cannot_serve_until_the_ring_changes_does_not_wait() {
    let begin = |owners: &[(u32, u32)]| Step::Begin(owners.iter().map(|(index, boot)| owner(*index, *boot)).collect());
    let restarted = view(3, |fields| of(fields, 2).boot = Boot::new(2));
    assert_eq!(step(&mut RingChange::new(millis(0)), 0, &restarted), begin(&[(1, 1), (2, 2), (3, 1)]));
    let nobody_owns = view(2, |fields| fields.ring.clear());
    assert_eq!(step(&mut RingChange::new(millis(0)), 0, &nobody_owns), begin(&[(1, 1), (2, 1)]));
    let nobody_can = view(1, |fields| {
        fields.ring.clear();
        of(fields, 1).vnodes = 0;
    });
    assert_eq!(step(&mut RingChange::new(millis(0)), 0, &nobody_can), Step::Rest);
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
    check_guard("all have told", (&[4], &[2, 3]), nothing, Step::Finish);
    check_guard("the coordinator knows by itself", (&[4], &[1, 2, 3, 4]), nothing, Step::Finish);
    check_guard("n4 does not hold its slots", (&[], &[2, 3, 4]), nothing, Step::Rest);
    check_guard("n3 does not know", (&[4], &[2, 4]), nothing, Step::Rest);
    check_guard("n3 is down", (&[4], &[2]), |fields| of(fields, 3).live = Liveness::Down, Step::Finish);
    check_guard("n3 has another life", (&[4], &[2]), |fields| of(fields, 3).boot = Boot::new(2), Step::Finish);
    check_guard("n4 is down, and holds them", (&[4], &[2, 3]), |f| of(f, 4).live = Liveness::Down, Step::Finish);
    check_guard("others hold theirs", (&[1, 2, 3], &[2, 3]), nothing, Step::Rest);
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
    assert_eq!(step(&mut ready(&view, &[4], &[2, 3]), 60_000, &view), Step::Finish, "but it is done");
}

#[test]
fn what_was_told_of_another_fence_counts_for_nothing() {
    let view = joint();
    let mut change = ready(&view, &[], &[]);
    for fence in [4, 6].map(Fence::new) {
        change.note_synced(Ordinal::new(4), fence);
        [2, 3].map(Ordinal::new).iter().for_each(|owner| change.note_installed(*owner, fence));
    }
    assert_eq!(step(&mut change, 0, &view), Step::Rest);
    let mut change = ready(&view, &[4], &[2, 3]);
    let later = after(&view, |fields| fields.fence = Fence::new(6));
    assert_eq!(step(&mut change, 50_000, &later), Step::Rest, "told of the one before");
    assert_eq!(step(&mut change, 109_999, &later), Step::Rest, "and so is the time it took");
    assert_eq!(step(&mut change, 110_000, &later), Step::Abort);
}

#[test]
fn pending_are_those_who_do_not_own_yet() {
    let view = view(4, |fields| {
        fields.ring = vec![owner(1, 1), owner(2, 1)];
        fields.target = Some(vec![owner(1, 1), owner(2, 2), owner(4, 1)]);
    });
    let target = view.fields().target.clone().unwrap();
    assert_eq!(pending(&view, &target).copied().collect::<Vec<_>>(), [owner(2, 2), owner(4, 1)]);
}

/// Asserts what holds for the ring that is wanted after `view`, whatever happened.
fn check_wanted(view: &View) -> Result<(), TestCaseError> {
    let (ring, wanted) = (&view.fields().ring, wanted_ring(view));
    let in_order = wanted.is_sorted_by(|a, b| a.ordinal < b.ordinal);
    prop_assert!(in_order && wanted.iter().all(|owner| view.member(owner.ordinal).is_some()), "{wanted:?}");
    prop_assert!(ring.is_empty() || !wanted.is_empty(), "an empty ring");
    for owner in &wanted {
        let member = view.member(owner.ordinal).unwrap();
        let comes = member.live == Liveness::Up && member.intent == Intent::Stay && member.vnodes > 0;
        prop_assert!(ring.contains(owner) || (comes && owner.boot == member.boot), "{owner:?} comes");
    }
    check_slots(view, &wanted)
}

/// Asserts that no slot of a ring that is not larger than its replication loses more than one owner, if nobody comes instead.
fn check_slots(view: &View, wanted: &[Owner]) -> Result<(), TestCaseError> {
    let ring = &view.fields().ring;
    let small = ring.len() <= usize::from(view.fields().config.replication);
    let was = |owner: &Owner| ring.iter().any(|old| old.ordinal == owner.ordinal);
    if !small || !wanted.iter().all(was) {
        return Ok(());
    }
    let (old, new) = (view.ring(), view.ring_of(wanted));
    for slot in old.slots().slots() {
        let lost = old.owners(slot).iter().filter(|owner| !new.owners(slot).contains(owner)).count();
        prop_assert!(lost <= 1, "{slot:?} has {:?}, and is to have {:?}", old.owners(slot), new.owners(slot));
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_ring_is_never_emptied_nor_loses_two_owners_of_a_slot_at_a_time(view in any_view()) {
        check_wanted(&view)?;
    }

    /// However often it is asked, and whatever of it comes true, it comes to rest.
    #[test]
    fn ring_changes_end(view in any_view()) {
        let mut view = view;
        let mut change = RingChange::new(millis(0));
        for round in 0..20 {
            let next = step(&mut change, round * 100_000, &view);
            prop_assert!(round < 19 || next == Step::Rest, "{next:?}");
            view = after(&view, |fields| {
                match next {
                    Step::Rest => return,
                    Step::Begin(target) => fields.target = Some(target),
                    Step::Finish => fields.ring = fields.target.take().unwrap(),
                    Step::Abort => fields.target = None,
                }
                fields.fence = Fence::new(fields.epoch.value());
            });
            for member in view.members() {
                change.enter(millis(round * 100_000), &view);
                change.note_installed(member.ordinal, view.fence());
                change.note_synced(member.ordinal, view.fence());
            }
        }
    }
}
