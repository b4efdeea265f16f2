//! Puts views in force, in an order that keeps every acknowledged write (PROTOCOL, T1, T2 and T5).
//!
//! 1. What the slots held that this process comes to fetch is removed, shard by shard, if an owner in reach has them.
//! 2. Every shard is *sealed*: from then on it takes requests of the new fence and no others.
//! 3. The view is published: requests are coordinated by it, and others hear of it.
//! 4. The upkeep goes by it, and so begins to answer what is asked under the new fence.
//!
//! So when the first entry is served under the new fence, the last write under the old one has been refused or is there.
//!
//! What takes long is done in pieces, between which the driver answers heartbeats. Meanwhile requests are served by the view
//! before, unless slots have to be emptied of which that view lets writes in: these are shut out first.

use std::{collections::VecDeque, sync::Arc};

use arc_swap::ArcSwapOption;
use quoit_core::{
    cluster::Life,
    routing::{Routing, Standing},
    upkeep::{newly_pending, starts_empty},
};
use quoit_proto_types::{Fence, Ordinal, SlotIndex, SlotSet, View};

use crate::{store::Store, views::Views};

/// Views that may wait for the store. If there were more, those between would be skipped, which the upkeep takes like views
/// that were missed.
const WAITING_MAX: usize = 64;

/// The views that are in force, or about to be.
#[derive(Debug)]
pub(crate) struct Placement {
    store: Arc<Store>,
    routing: Arc<ArcSwapOption<Routing>>,
    views: Arc<Views>,
    /// In force, or the last one that was.
    current: Option<Arc<Routing>>,
    waiting: VecDeque<Arc<Routing>>,
    emptying: Option<Emptying>,
    dropping: Option<Sweep>,
    /// The last fence under which this process had to do with each slot. What was to be dropped before that is not any more.
    held_at: Vec<Fence>,
    /// In force since the driver last asked.
    published: Vec<Arc<Routing>>,
}

/// Makes room for a view.
#[derive(Debug)]
struct Emptying {
    next: Arc<Routing>,
    /// All that must start empty.
    slots: SlotSet,
    sweep: Sweep,
}

/// A walk through the shards that removes the entries of some slots.
#[derive(Debug)]
struct Sweep {
    slots: SlotSet,
    /// The next shard.
    shard: usize,
}

impl Sweep {
    fn new(slots: SlotSet) -> Self {
        Self { slots, shard: 0 }
    }

    /// Does one shard, and says whether that was the last.
    fn step(&mut self, store: &Store) -> bool {
        if !self.slots.is_empty() {
            store.retain_slots(self.shard, |slot| !self.slots.contains(slot));
            self.shard += 1;
        }
        self.slots.is_empty() || self.shard >= store.shards_count()
    }
}

impl Placement {
    pub(crate) fn new(store: Arc<Store>, routing: Arc<ArcSwapOption<Routing>>, views: Arc<Views>) -> Self {
        Self {
            store,
            routing,
            views,
            current: None,
            waiting: VecDeque::new(),
            emptying: None,
            dropping: None,
            held_at: Vec::new(),
            published: Vec::new(),
        }
    }

    /// Puts `view` in force for the process `life`: at once if nothing must be removed for it, else by [`work`](Self::work).
    pub(crate) fn install(&mut self, view: Arc<View>, life: Life) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_back();
        }
        self.waiting.push_back(Arc::new(Routing::new(view, life.instance, life.boot)));
        self.go_on();
    }

    /// Removes the entries of `slots`, which this process did not own any more under `fence`, by [`work`](Self::work). Those
    /// that it has had to do with since are left alone.
    pub(crate) fn drop_slots(&mut self, fence: Fence, slots: &SlotSet) {
        let held_at = &self.held_at;
        let is_over = |slot| held_at.get(SlotIndex::index(slot)).is_none_or(|held| *held <= fence);
        let mut dropped = SlotSet::of(slots.slots(), |slot| slots.contains(slot) && is_over(slot));
        self.spare_held(&mut dropped);
        if let Some(before) = self.dropping.take() {
            // Once more from the first shard, for all of them.
            dropped.extend(&before.slots);
        }
        if !dropped.is_empty() {
            self.dropping = Some(Sweep::new(dropped));
        }
    }

    /// Whether there is something left to do.
    pub(crate) fn is_busy(&self) -> bool {
        self.emptying.is_some() || self.dropping.is_some()
    }

    /// Does one shard. Views go before what is only to give memory back.
    pub(crate) fn work(&mut self) {
        if let Some(mut emptying) = self.emptying.take() {
            if emptying.sweep.step(&self.store) {
                self.put_in_force(emptying.next, &emptying.slots);
                self.go_on();
            } else {
                self.emptying = Some(emptying);
            }
        } else if let Some(mut sweep) = self.dropping.take() {
            if sweep.step(&self.store) {
                self.store.reset_slots(&sweep.slots);
            } else {
                self.dropping = Some(sweep);
            }
        }
    }

    /// What has been put in force since this was last called.
    pub(crate) fn published(&mut self) -> Vec<Arc<Routing>> {
        std::mem::take(&mut self.published)
    }

    /// The view in force.
    pub(crate) fn view(&self) -> Option<&Arc<View>> {
        self.current.as_ref().map(|routing| routing.view())
    }

    /// Puts no view in force any more.
    pub(crate) fn withdraw(&self) {
        self.routing.store(None);
    }

    fn go_on(&mut self) {
        while self.emptying.is_none()
            && let Some(next) = self.waiting.pop_front()
        {
            // The first view tells how many slots there are; all views of a cluster tell the same.
            self.store.prepare(next.slots());
            let before = self.current.as_deref();
            let slots = newly_pending(before, &next);
            let empty = starts_empty(&slots, &next);
            // What was being dropped is not all there any more, and counts for nothing.
            let in_part = |slot| self.dropping.as_ref().is_some_and(|dropping| dropping.slots.contains(slot));
            let is_emptied = |slot| empty.contains(slot) || slots.contains(slot) && in_part(slot);
            let filled = SlotSet::of(slots.slots(), |slot| is_emptied(slot) && self.has_entries(slot));
            if filled.is_empty() {
                self.put_in_force(next, &slots);
                continue;
            }
            let takes_writes = |slot| before.is_some_and(|before| before.standing(slot) != Standing::Stranger);
            if filled.iter().any(takes_writes) {
                self.seal(next.fence());
            }
            self.emptying = Some(Emptying { next, slots, sweep: Sweep::new(filled) });
        }
    }

    fn has_entries(&self, slot: SlotIndex) -> bool {
        self.store.summary(slot).entries > 0
    }

    /// The slots that must be empty are. Those of `pending` begin without a floor.
    fn put_in_force(&mut self, routing: Arc<Routing>, pending: &SlotSet) {
        self.store.reset_slots(pending);
        let is_same = self.current.as_ref().is_some_and(|current| current.fence() == routing.fence());
        if !is_same {
            // Before the first one that another node may miss.
            if needs_shadows(&routing) {
                self.store.set_shadowing(true);
            }
            self.seal(routing.fence());
        }
        self.publish(&routing);
        if !is_same {
            self.note_held(&routing);
            if !needs_shadows(&routing) {
                self.store.set_shadowing(false);
            }
        }
    }

    /// Shuts out every request of another fence. Each shard has answered its last one when this returns.
    fn seal(&self, fence: Fence) {
        (0..self.store.shards_count()).for_each(|shard| self.store.seal(shard, fence));
    }

    fn publish(&mut self, routing: &Arc<Routing>) {
        self.routing.store(Some(Arc::clone(routing)));
        // Others hear of a view only once this node goes by it.
        self.views.push(routing);
        self.current = Some(Arc::clone(routing));
        self.published.push(Arc::clone(routing));
    }

    fn note_held(&mut self, routing: &Routing) {
        let slots = routing.slots();
        self.held_at.resize(slots.count() as usize, Fence::default());
        for slot in slots.slots().filter(|slot| routing.standing(*slot) != Standing::Stranger) {
            self.held_at[slot.index()] = routing.fence();
        }
        if let Some(mut sweep) = self.dropping.take() {
            self.spare_held(&mut sweep.slots);
            self.dropping = (!sweep.slots.is_empty()).then_some(sweep);
        }
    }

    /// Takes the slots out that this process has to do with.
    fn spare_held(&self, slots: &mut SlotSet) {
        if let Some(current) = &self.current {
            let held: Vec<_> = slots.iter().filter(|slot| current.standing(*slot) != Standing::Stranger).collect();
            held.into_iter().for_each(|slot| slots.remove(slot));
        }
    }
}

/// Whether an older value could come back for one that was deleted: somebody else is a member, or has been one. Also where
/// there is one copy of each key, whoever has owned a slot before offers what it has left of it, and must be told that it was
/// deleted.
fn needs_shadows(routing: &Routing) -> bool {
    // Ordinals are never used twice, and the first is 1.
    routing.view().fields().next_ordinal > Ordinal::new(2)
}

#[cfg(test)]
mod tests;
