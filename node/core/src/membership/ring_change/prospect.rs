//! What a ring change would bring: to which owners, who takes slots, and what is lost for good.

use std::collections::BTreeSet;

use quoit_proto_types::{
    Member, Ordinal, Ring, View,
    view::{Intent, Liveness, Owner},
};

use crate::{
    placement::tokens_towards,
    planted::{Bug, Planted},
};

/// What is to be done about the ring of a view, worked out once for each view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Prospect {
    /// Nothing: it is as it should be.
    Settled,
    /// The ring may change to this target.
    Begin {
        target: Vec<Owner>,
        /// How many slots have no owner whose memory lives, nor one that may come back.
        lost: u32,
    },
    /// The ring should change, and would if these members, which would have to take slots, were up.
    Blocked(BTreeSet<Ordinal>),
    /// All owners are to go, and there is nobody in their place.
    NobodyElse,
}

impl Prospect {
    /// That of `view`.
    pub(super) fn of(view: &View, planted: Planted) -> Self {
        let (target, wanted) = match wanted_ring(view, planted) {
            Some(target) => (target, None),
            None => (with_lives(view), Some(Self::NobodyElse)),
        };
        if !is_change(view, &target) {
            return wanted.unwrap_or(Self::Settled);
        }
        let mut down = down_gainers(view, &target);
        down.extend(down_keepers(view, &target));
        if down.is_empty() {
            return Self::Begin { lost: lost_slots(view, &target), target };
        }
        // Who restarted takes its own place again, and waits for nobody.
        let lives = with_lives(view);
        if lives != view.fields().ring {
            return Self::Begin { lost: lost_slots(view, &lives), target: lives };
        }
        Self::Blocked(down)
    }
}

/// Whether anything would be different after a change to `target`: who owns, in which life, how many of a slot, or what places
/// them.
fn is_change(view: &View, target: &[Owner]) -> bool {
    let fields = view.fields();
    let resettled = |owner: &Owner| {
        let member = view.member(owner.ordinal);
        member.is_some_and(|member| member.placed() != member.to_be_placed())
    };
    *target != fields.ring || view.copies_towards(target) != fields.copies || target.iter().any(resettled)
}

/// The owners in force, those that restarted and are up in their present life.
fn with_lives(view: &View) -> Vec<Owner> {
    view.fields()
        .ring
        .iter()
        .map(|owner| view.member(owner.ordinal).map_or(*owner, |member| life(member, Some(*owner))))
        .collect()
}

/// The life in which `member` is to own, which does as `known`, if it does. One that is down keeps the place of its earlier
/// life until it is back.
fn life(member: &Member, known: Option<Owner>) -> Owner {
    let present = Owner { ordinal: member.ordinal, boot: member.boot };
    known.filter(|_| member.live == Liveness::Down).unwrap_or(present)
}

/// The owners that `view` should have: everybody who stays, has vnodes, and is up or was an owner before. `None` if there is
/// nobody.
///
/// No slot may shrink by more than one owner at a time (PROTOCOL, T6), so of those who leave a small ring, some wait. The
/// number of copies, which shrinks by one at a time as well, follows from the same number of owners in force, and so the
/// two together do no more.
fn wanted_ring(view: &View, planted: Planted) -> Option<Vec<Owner>> {
    let ring = &view.fields().ring;
    let place = |ordinal: Ordinal| ring.binary_search_by_key(&ordinal, |owner| owner.ordinal).ok();
    let known = |member: &Member| place(member.ordinal).map(|place| ring[place]);
    let stays = |member: &Member| member.intent == Intent::Stay && member.vnodes > 0;
    let belongs = |member: &&Member| stays(member) && (member.live == Liveness::Up || known(member).is_some());
    let mut wanted: Vec<Owner> =
        view.members().iter().filter(belongs).map(|member| life(member, known(member))).collect();
    let held = usize::from(view.fields().copies).min(view.owners_in_force());
    let least = held.saturating_sub(if planted.is(Bug::ShrinksByTwo) { 2 } else { 1 });
    let members = ring.iter().filter_map(|owner| view.member(owner.ordinal));
    let mut leaving: Vec<&Member> = members.filter(|member| !stays(member) && member.placed().1 > 0).collect();
    // Of those that leave, who is up is worth more.
    leaving.sort_by_key(|member| member.live == Liveness::Down);
    let wait = least.saturating_sub(wanted.len());
    wanted.extend(leaving.into_iter().take(wait).map(|member| life(member, known(member))));
    wanted.sort_unstable();
    Some(wanted).filter(|wanted| !wanted.is_empty() || ring.is_empty())
}

/// Whether `owner` is a member that is up in this life.
pub(super) fn lives(view: &View, owner: &Owner) -> bool {
    view.member(owner.ordinal).is_some_and(|member| member.live == Liveness::Up && member.boot == owner.boot)
}

/// The members that would have to take slots, and are not up to do it.
fn down_gainers(view: &View, target: &[Owner]) -> BTreeSet<Ordinal> {
    let down: BTreeSet<Ordinal> =
        target.iter().filter(|owner| !lives(view, owner)).map(|owner| owner.ordinal).collect();
    if down.is_empty() { down } else { gainers(view, target).intersection(&down).copied().collect() }
}

/// The members that are not up, and would be all that is left of the owners of a slot of which somebody else lives: what that
/// one holds would have nowhere to go.
pub(super) fn down_keepers(view: &View, target: &[Owner]) -> BTreeSet<Ordinal> {
    let is_down = |owner: &&Owner| !lives(view, owner);
    let down: BTreeSet<Ordinal> = target.iter().filter(is_down).map(|owner| owner.ordinal).collect();
    if down.is_empty() || view.replaces_lives(target) {
        return BTreeSet::new();
    }
    let living = view.fields().ring.iter().filter(|owner| lives(view, owner));
    let living: BTreeSet<Ordinal> = living.map(|owner| owner.ordinal).collect();
    let (old, new) = (view.ring(), view.ring_towards(target, &tokens_towards(view, target)));
    let mut keepers = BTreeSet::new();
    for slot in new.slots().slots() {
        let (old, new) = (old.owners(slot), new.owners(slot));
        if new.iter().all(|owner| down.contains(owner)) && old.iter().any(|owner| living.contains(owner)) {
            keepers.extend(new);
        }
    }
    keepers
}

/// The owners of `target` that own some slot which they do not hold under the ring in force, in this life.
///
/// Takes as long as building two rings, unless it can be told without them.
pub(super) fn gainers(view: &View, target: &[Owner]) -> BTreeSet<Ordinal> {
    let ring = &view.fields().ring;
    let fresh: BTreeSet<Ordinal> =
        target.iter().filter(|owner| ring.binary_search(owner).is_err()).map(|owner| owner.ordinal).collect();
    let all_hold_all = ring.len() <= usize::from(view.fields().copies) && view.owners_in_force() == ring.len();
    if view.replaces_lives(target) || all_hold_all {
        // Who was an owner had all that it is to have: its former place, or all slots.
        return fresh;
    }
    let (old, new) = (view.ring(), view.ring_towards(target, &tokens_towards(view, target)));
    let mut gainers = BTreeSet::new();
    for slot in new.slots().slots() {
        let (old, new) = (old.owners(slot), new.owners(slot));
        for owner in new.iter().filter(|owner| fresh.contains(owner) || !old.contains(owner)) {
            gainers.insert(*owner);
        }
    }
    gainers
}

/// How many slots all of whose owners are gone with their memories, and go with the change to `target`.
fn lost_slots(view: &View, target: &[Owner]) -> u32 {
    let ring = &view.fields().ring;
    let is_gone = |owner: &&Owner| !lives(view, owner) && target.binary_search(owner).is_err();
    let gone: BTreeSet<Ordinal> = ring.iter().filter(is_gone).map(|owner| owner.ordinal).collect();
    let held = usize::from(view.fields().copies).min(view.owners_in_force());
    if gone.len() < held || held == 0 {
        return 0;
    }
    let old: Ring = view.ring();
    let lost = old.slots().slots().filter(|slot| old.owners(*slot).iter().all(|owner| gone.contains(owner)));
    u32::try_from(lost.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(in crate::membership) mod testing {
    //! What the tests of other modules ask.

    use super::{Owner, Planted, Prospect, View};

    /// The owners that a change would make, or those in force if there is to be none.
    pub(in crate::membership) fn next_ring(view: &View) -> Vec<Owner> {
        match Prospect::of(view, Planted::NOTHING) {
            Prospect::Begin { target, .. } => target,
            Prospect::Settled | Prospect::Blocked(_) | Prospect::NobodyElse => view.fields().ring.clone(),
        }
    }
}
