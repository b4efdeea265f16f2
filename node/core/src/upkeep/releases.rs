//! Lets go of slots that this process owns no more.
//!
//! Whatever it held is compared with what the present owners hold first, and offered where they lack it (PROTOCOL 11.5).
//! That a new owner has merged the slot is not enough: a write that came after that may have been acknowledged by this owner
//! and a hint for the new one, which was out of reach or had a clock that was behind. If the slot went with that, the hint
//! would be the only copy, and a planned change would have cost one (simulator seed 2499). Where digests are equal nothing
//! else is asked.
//!
//! Entries that found no owner in time are dropped and counted, but for those of slots that nobody in reach owns. A slot that
//! this process is to own again before it was offered starts empty like any other (T5), and is counted too, unless every new
//! owner had merged it, or there is none in reach: then it is kept, and offered further if nothing comes of the change.

use std::collections::BTreeMap;

use quoit_proto_types::{Ordinal, SlotIndex, SlotSet, message::transfer::TransferReply, view::View};

use super::{
    config::{BATCH_SLOTS, OFFER_DEADLINE, RETRY},
    exchange::{Answer, Ask, Job},
    handoff::Waits,
    merge::Progress,
    offer::Offer,
    scene::{Scene, both},
};
use crate::{
    planted::data::DataBug,
    routing::{Routing, Standing},
    time::Timestamp,
};

#[derive(Debug, Default)]
pub(super) struct Releases {
    /// Slots that are being offered, and until when.
    offering: Option<Offering>,
    jobs: BTreeMap<Job, Running>,
    jobs_begun: Job,
    /// Slots that were let go before all of their owners had been offered them.
    unoffered: u64,
    /// Entries that owners took.
    taken: u64,
}

#[derive(Debug)]
struct Offering {
    slots: SlotSet,
    /// Those of them that a new owner has not merged, as far as that is known.
    doubtful: SlotSet,
    deadline: Timestamp,
    /// Slots that each owner has still to be offered.
    remaining: BTreeMap<Ordinal, SlotSet>,
}

#[derive(Debug)]
struct Running {
    to: Ordinal,
    offer: Offer,
    waits: Waits,
}

impl Releases {
    /// Goes from the view `before` on to `scene`'s. Returns the slots that may be dropped at once.
    pub(super) fn install(
        &mut self,
        scene: &Scene<'_>,
        before: Option<&Routing>,
        merged: &BTreeMap<Ordinal, SlotSet>,
    ) -> SlotSet {
        let routing = scene.routing;
        let mut dropped = SlotSet::none(routing.slots());
        let Some(before) = before.filter(|before| before.slots() == routing.slots()) else {
            (self.offering, self.jobs) = (None, BTreeMap::new());
            return dropped;
        };
        if before.fence() != routing.fence() {
            self.jobs.clear();
            let direct = follows(routing.view(), before);
            let is_in_reach = |slot| before.is_in_reach(slot) && routing.is_in_reach(slot);
            let is_lost =
                |slot| before.standing(slot) != Standing::Stranger && routing.standing(slot) == Standing::Stranger;
            let mut lost = SlotSet::of(routing.slots(), is_lost);
            let mut doubtful = SlotSet::none(routing.slots());
            for slot in lost.iter().collect::<Vec<_>>() {
                // Given up before it was owned: the present owners acknowledged everything that was written here.
                let is_safe = before.standing(slot) == Standing::Pending && direct && is_in_reach(slot);
                let is_empty = scene.store.summary(slot).entries == 0;
                if is_safe || is_empty || scene.planted.is(DataBug::DropsWithoutOffer) {
                    lost.remove(slot);
                    dropped.insert(slot);
                } else if !(direct && all_merged(before, merged, slot)) {
                    doubtful.insert(slot);
                }
            }
            self.begin(scene, lost, doubtful);
        }
        self.aim(scene);
        dropped
    }

    fn begin(&mut self, scene: &Scene<'_>, lost: SlotSet, mut doubtful: SlotSet) {
        let mut slots = lost;
        let mut deadline = scene.now.saturating_add(OFFER_DEADLINE);
        if let Some(offering) = self.offering.take() {
            let again = SlotSet::of(slots.slots(), |slot| {
                offering.slots.contains(slot) && scene.routing.standing(slot) != Standing::Stranger
            });
            let let_go =
                both(&again, &offering.doubtful).iter().filter(|slot| scene.routing.is_in_reach(*slot)).count();
            self.unoffered += u64::try_from(let_go).unwrap_or(u64::MAX);
            slots.extend(&offering.slots);
            slots.subtract(&again);
            doubtful.extend(&offering.doubtful);
            doubtful.subtract(&again);
            deadline = offering.deadline.min(deadline);
        }
        if !slots.is_empty() {
            self.offering = Some(Offering { slots, doubtful, deadline, remaining: BTreeMap::new() });
        }
    }

    /// Chooses whom to offer what: every owner of a slot.
    fn aim(&mut self, scene: &Scene<'_>) {
        let Some(offering) = &mut self.offering else { return };
        if !offering.remaining.is_empty() {
            return;
        }
        for slot in offering.slots.iter() {
            for owner in scene.routing.owners(slot).now.iter().filter(|owner| scene.routing.me() != Some(**owner)) {
                let none = || SlotSet::none(offering.slots.slots());
                offering.remaining.entry(*owner).or_insert_with(none).insert(slot);
            }
        }
    }

    /// The slots that may be dropped, as they were offered, or as it is too late.
    ///
    /// One that is offered to those owners only that are within reach is kept as long as there is time: what is here is one
    /// copy more of it (simulator seed 5884).
    pub(super) fn done(&mut self, scene: &Scene<'_>) -> Option<SlotSet> {
        let orphaned = orphaned(scene.routing, &self.offering.as_ref()?.slots);
        let needed = self.left(scene.routing) - orphaned.len();
        let offering = self.offering.as_mut()?;
        let mut done = offering.slots.clone();
        done.subtract(&orphaned);
        if offering.deadline <= scene.now {
            self.unoffered += u64::try_from(needed).unwrap_or(u64::MAX);
            self.jobs.clear();
            offering.deadline = scene.now.saturating_add(OFFER_DEADLINE);
            offering.remaining.values_mut().for_each(|remaining| remaining.subtract(&done));
        }
        offering.remaining.values().for_each(|remaining| done.subtract(remaining));
        offering.slots.subtract(&done);
        offering.doubtful.subtract(&done);
        if offering.slots.is_empty() {
            self.offering = None;
            self.jobs.clear();
        }
        (!done.is_empty()).then_some(done)
    }

    /// The next question, if there is one at this moment.
    pub(super) fn next_ask(&mut self, scene: &Scene<'_>) -> Option<(Job, Ask)> {
        let offering = self.offering.as_ref()?;
        for (owner, remaining) in &offering.remaining {
            let idle = !self.jobs.values().any(|running| running.to == *owner);
            if idle && !remaining.is_empty() && scene.routing.lives(*owner) {
                let offer = Offer::new(remaining.clone().take(BATCH_SLOTS));
                self.jobs_begun += 1;
                self.jobs.insert(self.jobs_begun, Running { to: *owner, offer, waits: Waits::Until(scene.now) });
            }
        }
        let (job, running) = self.jobs.iter_mut().find(|(_, running)| running.waits.is_due(scene.now))?;
        running.waits = Waits::Answer;
        let (request, block) = running.offer.request();
        Some((*job, Ask { to: running.to, request, block }))
    }

    /// Takes an answer, or the news that there is none.
    pub(super) fn take(&mut self, scene: &Scene<'_>, job: Job, answer: Answer) {
        let Some(running) = self.jobs.get_mut(&job) else { return };
        let progress = match answer {
            None | Some((TransferReply::NotNow, _)) => Progress::Later,
            Some((reply, _)) => running.offer.take(scene, reply),
        };
        match progress {
            Progress::Next => running.waits = Waits::Until(scene.now),
            Progress::Later => running.waits = Waits::Until(scene.now.saturating_add(RETRY)),
            Progress::Done => {
                let Some(Running { to, offer, .. }) = self.jobs.remove(&job) else { return };
                self.taken += offer.offered();
                let remaining = self.offering.as_mut().and_then(|offering| offering.remaining.get_mut(&to));
                remaining.into_iter().for_each(|remaining| remaining.subtract(offer.slots()));
            }
        }
    }

    /// When there is something to do, if not at this moment.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        let jobs = self.jobs.values().filter_map(|running| running.waits.wake());
        jobs.chain(self.offering.as_ref().map(|offering| offering.deadline)).min()
    }

    /// How many slots there are of which an owner within reach may lack something, or no owner is within reach.
    pub(super) fn left(&self, routing: &Routing) -> usize {
        let Some(offering) = &self.offering else { return 0 };
        let mut left = orphaned(routing, &offering.slots);
        let living = offering.remaining.iter().filter(|(owner, _)| routing.lives(**owner));
        living.for_each(|(_, remaining)| left.extend(remaining));
        left.len()
    }

    /// Entries that owners took, and slots that were let go without being offered to all.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.taken, self.unoffered)
    }
}

/// Those of `slots` none of whose owners is within reach.
fn orphaned(routing: &Routing, slots: &SlotSet) -> SlotSet {
    SlotSet::of(slots.slots(), |slot| slots.contains(slot) && !routing.is_in_reach(slot))
}

/// Whether `view` is the next one after that of `before`.
fn follows(view: &View, before: &Routing) -> bool {
    view.fields().previous == before.hash() && view.fields().cluster_id == before.view().fields().cluster_id
}

/// Whether all who gained `slot` in the joint view `before` have merged it, and there are any.
fn all_merged(before: &Routing, merged: &BTreeMap<Ordinal, SlotSet>, slot: SlotIndex) -> bool {
    let owners = before.owners(slot);
    let mut gaining = owners.then.unwrap_or_default().iter().filter(|owner| !owners.now.contains(owner)).peekable();
    gaining.peek().is_some() && gaining.all(|owner| merged.get(owner).is_some_and(|slots| slots.contains(slot)))
}
