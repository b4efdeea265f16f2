//! I6: a new ring is decided only when every owner-to-be that lives holds all that the living owners held when they had
//! installed the change, as far as it has room (PROTOCOL 8.5).

use std::collections::{BTreeMap, BTreeSet};

use quoit_core::{routing::Routing, store::Store};
use quoit_proto_types::{
    Boot, Fence, Instance, Ordinal, SlotSet, View,
    limits::TRANSFER_HANDLES_MAX,
    message::transfer::Cursor,
    view::{Change, Liveness, Owner},
};

use super::{Rank, Side, rank};
use crate::invariants::{Ledger, Violation};

const NAME: &str = "new owners hold all";

/// The places of the entries of some slots, by the hash of the key.
type Held = BTreeMap<u128, Rank>;

#[derive(Debug, Default)]
pub(super) struct NewOwnersHoldAll {
    /// Who was down in any view of a fence.
    downs: BTreeMap<Fence, BTreeSet<Ordinal>>,
    /// What each owner held of each slot when it installed a change, by its life.
    held: BTreeMap<(Fence, Instance, Boot), Vec<Held>>,
}

impl NewOwnersHoldAll {
    pub(super) fn installed(&mut self, side: &Side<'_>, routing: &Routing) {
        if routing.target().is_none() || !routing.is_owner() {
            return;
        }
        let place = (routing.fence(), side.actor.instance, side.actor.boot);
        self.held.entry(place).or_insert_with(|| {
            let slots = routing.slots();
            slots.slots().map(|slot| list(&side.data.store, &SlotSet::of(slots, |other| other == slot))).collect()
        });
    }

    pub(super) fn decided(&mut self, ledger: &Ledger, view: &View, sides: &[Side<'_>]) -> Result<(), Violation> {
        let down = view.members().iter().filter(|member| member.live == Liveness::Down);
        self.downs.entry(view.fence()).or_default().extend(down.map(|member| member.ordinal));
        let Some(joint) = ledger.base_of(view) else { return Ok(()) };
        let Some(target) = joint.fields().target.as_ref() else { return Ok(()) };
        if !view.fields().changes.contains(&Change::RingChangeDone) {
            return Ok(());
        }
        for owner in target {
            let Some(instance) = joint.member(owner.ordinal).map(|member| member.instance) else { continue };
            let lives = |side: &&Side<'_>| (side.actor.instance, side.actor.boot) == (instance, owner.boot);
            let Some(side) = sides.iter().find(lives).filter(|side| side.data.has_room()) else { continue };
            self.check(joint, *owner, side, sides)?;
        }
        self.held.retain(|(fence, ..), _| *fence > joint.fence());
        Ok(())
    }

    /// Whether `side` holds all that it is to own after `joint`.
    fn check(&self, joint: &View, owner: Owner, side: &Side<'_>, sides: &[Side<'_>]) -> Result<(), Violation> {
        let Some(routing) = side.routing().filter(|routing| routing.fence() == joint.fence()) else { return Ok(()) };
        let none = BTreeSet::new();
        let downs = self.downs.get(&joint.fence()).unwrap_or(&none);
        let pending = routing.slots_with(quoit_core::routing::Standing::Pending);
        for slot in pending.iter() {
            let mine = list(&side.data.store, &SlotSet::of(pending.slots(), |other| other == slot));
            let floor = side.data.store.floor(slot);
            for source in routing.owners(slot).now.iter().filter(|source| !downs.contains(source)) {
                let Some(named) = joint.fields().ring.iter().find(|named| named.ordinal == *source) else { continue };
                let Some(member) = joint.member(*source).filter(|member| member.boot == named.boot) else { continue };
                let Some(held) = self.held.get(&(joint.fence(), member.instance, named.boot)) else {
                    let is_up = sides.iter().any(|side| side.is(routing, *named));
                    if is_up {
                        let what = format!("the change of {} ends before {} goes by it", joint.fence(), member.name);
                        return Err(Violation::new(NAME, what));
                    }
                    continue;
                };
                let missing = held[slot.index()]
                    .iter()
                    .find(|(key, rank)| mine.get(key).is_none_or(|mine| mine < rank) && rank.0.hlc > floor);
                if let Some((_, (version, _))) = missing {
                    let what = format!(
                        "the change of {} ends, and {} (member {}) lacks {version} of slot {slot}, which {} held",
                        joint.fence(),
                        side.actor,
                        owner.ordinal,
                        member.name
                    );
                    return Err(Violation::new(NAME, what));
                }
            }
        }
        Ok(())
    }
}

/// All that is held of `slots`.
fn list(store: &Store, slots: &SlotSet) -> Held {
    let (mut held, mut from) = (Held::new(), Cursor::default());
    loop {
        let (known, next) = store.list(slots, from, TRANSFER_HANDLES_MAX);
        held.extend(known.iter().map(|known| (known.key, rank(&known.stamp))));
        match next {
            Some(next) => from = next,
            None => return held,
        }
    }
}
