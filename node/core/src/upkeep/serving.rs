//! Answers what other nodes ask for their handoff, repair and collection.
//!
//! A question counts only under the own fence (PROTOCOL, T1), and only for slots that this process owns in force: one that
//! is still fetching a slot gives nothing of it away.
//!
//! In a round of collection an owner stands by its digests: it takes no writes and no repairs up to the moment that was
//! named, until the round's purge, a timeout or another view. It leaves a round at any time; a purge of a round that it has
//! left is ignored.

use std::{collections::BTreeMap, time::Duration};

use quoit_proto_types::{
    Fence, Ordinal, SlotSet, limits,
    message::transfer::{Cursor, EntryBlock, SlotSummary, TransferReply, TransferRequest},
    version::Hlc,
};

use super::{config::SEAL_TIMEOUT, scene::Scene};
use crate::{
    planted::data::DataBug,
    replication::MAX_SKEW,
    routing::Standing,
    store::{Origin, Store},
    time::{Timestamp, Wall},
};

#[derive(Debug)]
pub(super) struct Serving {
    /// How old a tombstone gets at least, whoever says that it may go.
    grace: Duration,
    /// How far in the past a moment must be up to which others collect: a hint that becomes one just before it is too old has
    /// as long again to arrive.
    witnessed: Duration,
    /// The rounds this owner takes part in, by who drives them: one of each at a time.
    rounds: BTreeMap<Ordinal, Round>,
    /// Which of the slots that this process gives up each new owner has merged.
    merged: BTreeMap<Ordinal, SlotSet>,
}

#[derive(Debug)]
struct Round {
    number: u64,
    slots: SlotSet,
    until: Hlc,
    deadline: Timestamp,
}

impl Serving {
    pub(super) fn new(grace: Duration, hint_age: Duration) -> Self {
        Self { grace, witnessed: grace.min(hint_age * 2), rounds: BTreeMap::new(), merged: BTreeMap::new() }
    }

    /// Answers `request`, which `from` asked under `fence`.
    pub(super) fn answer(
        &mut self,
        scene: &Scene<'_>,
        from: Option<Ordinal>,
        fence: Fence,
        request: &TransferRequest,
        block: &EntryBlock,
    ) -> (TransferReply, EntryBlock) {
        let too_new = fence > scene.routing.fence() && scene.planted.is(DataBug::ScanBeforeSeal);
        if fence != scene.routing.fence() && !too_new {
            return plain(TransferReply::NotNow);
        }
        self.leave_late_rounds(scene);
        let Some(from) = from else { return self.answer_stranger(scene, request, block) };
        match request {
            TransferRequest::Summarise { slots } => plain(summarise(scene, slots)),
            TransferRequest::Pull { slots, from } if owns(scene, slots) => {
                let (entries, next) = scene.store.pull(scene.wall, slots, *from, limits::TRANSFER_PAGE_BYTES);
                (TransferReply::Entries { next }, entries)
            }
            TransferRequest::List { slots, from } => plain(list(scene, slots, *from)),
            TransferRequest::Fetch { handles } => {
                let entries = scene.store.fetch(handles, limits::TRANSFER_PAGE_BYTES);
                (TransferReply::Entries { next: None }, entries)
            }
            TransferRequest::Merged { slots } if owns(scene, slots) => {
                self.merged.entry(from).or_insert_with(|| SlotSet::none(slots.slots())).extend(slots);
                plain(TransferReply::Noted)
            }
            TransferRequest::Offer => plain(self.take_offer(scene, block)),
            TransferRequest::Seal { slots, until, round } => plain(self.seal(scene, from, slots, *until, *round)),
            TransferRequest::Purge { slots, until, round } => plain(self.purge(scene, from, slots, *until, *round)),
            TransferRequest::Pull { .. } | TransferRequest::Merged { .. } => plain(TransferReply::NotNow),
        }
    }

    /// Answers one that is no member: it owns nothing, and so it has nothing to fetch, but it may have something to give.
    fn answer_stranger(
        &mut self,
        scene: &Scene<'_>,
        request: &TransferRequest,
        block: &EntryBlock,
    ) -> (TransferReply, EntryBlock) {
        plain(match request {
            TransferRequest::Summarise { slots } => summarise(scene, slots),
            TransferRequest::List { slots, from } => list(scene, slots, *from),
            TransferRequest::Offer => self.take_offer(scene, block),
            TransferRequest::Pull { .. }
            | TransferRequest::Fetch { .. }
            | TransferRequest::Merged { .. }
            | TransferRequest::Seal { .. }
            | TransferRequest::Purge { .. } => TransferReply::NotNow,
        })
    }

    /// Another view: whatever round it was, it is over. Under another fence, what was merged counts no more; returns it.
    pub(super) fn install(&mut self, store: &Store, moved: bool) -> BTreeMap<Ordinal, SlotSet> {
        if !moved {
            return BTreeMap::new();
        }
        for round in std::mem::take(&mut self.rounds).into_values() {
            store.unseal_slots(&round.slots);
        }
        std::mem::take(&mut self.merged)
    }

    /// Leaves the rounds that have lasted for too long.
    pub(super) fn leave_late_rounds(&mut self, scene: &Scene<'_>) {
        let late = |round: &Round| round.deadline <= scene.now;
        let drivers: Vec<Ordinal> = self.rounds.iter().filter(|(_, r)| late(r)).map(|(driver, _)| *driver).collect();
        drivers.into_iter().for_each(|driver| self.leave(scene.store, driver));
    }

    /// When the next round has lasted for too long.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        self.rounds.values().map(|round| round.deadline).min()
    }

    fn leave(&mut self, store: &Store, driver: Ordinal) {
        if let Some(round) = self.rounds.remove(&driver) {
            store.unseal_slots(&round.slots);
        }
    }

    /// A present entry is merged; an absent one is taken if it is above the floor, which the store sees to. Where a round is
    /// under way it would make an owner differ from what it has said.
    fn take_offer(&mut self, scene: &Scene<'_>, block: &EntryBlock) -> TransferReply {
        let sealed = |key: &[u8]| {
            let slot = scene.slot_of(key);
            self.rounds.values().any(|round| round.slots.contains(slot))
        };
        if block.entries().flatten().any(|entry| sealed(entry.key)) {
            return TransferReply::NotNow;
        }
        // Who has merged such a slot has not merged this: it is to be offered on.
        for entry in block.entries().flatten() {
            let slot = scene.slot_of(entry.key);
            self.merged.values_mut().for_each(|merged| merged.remove(slot));
        }
        let import = scene.import(Origin::Handoff, block);
        if import.failed { TransferReply::NotNow } else { TransferReply::Offered { taken: import.taken } }
    }

    fn seal(&mut self, scene: &Scene<'_>, driver: Ordinal, slots: &SlotSet, until: Hlc, number: u64) -> TransferReply {
        let is_joint = scene.routing.target().is_some();
        let is_too_much = slots.len() > limits::TRANSFER_SLOTS_MAX || !owns(scene, slots);
        if is_joint || is_too_much || self.is_early(scene, slots, until) {
            return TransferReply::NotNow;
        }
        if slots.is_empty() {
            return TransferReply::Sealed(Vec::new());
        }
        if self.rounds.iter().any(|(other, round)| *other != driver && round.slots.meets(slots)) {
            return TransferReply::NotNow;
        }
        let known = self.rounds.get(&driver).map(|round| (round.number, &round.slots, round.until));
        if known != Some((number, slots, until)) {
            // A round that was left, or repeated by a driver that forgot it, must not be purged by an older message.
            if known.is_some_and(|(known, ..)| number <= known) {
                return TransferReply::NotNow;
            }
            self.leave(scene.store, driver);
            let deadline = scene.now.saturating_add(SEAL_TIMEOUT);
            self.rounds.insert(driver, Round { number, slots: slots.clone(), until, deadline });
            scene.store.seal_slots(slots, until);
        }
        TransferReply::Sealed(scene.store.digests_until(slots, until))
    }

    /// Whether a driver whose clock is ahead would collect what is being written by others. An owner gives a tombstone its
    /// whole grace. Who is a witness only sees to it that nothing is kept out that is on its way: one clock that is behind must not
    /// keep a whole cluster from collecting.
    fn is_early(&self, scene: &Scene<'_>, slots: &SlotSet, until: Hlc) -> bool {
        let age = if slots.is_empty() { self.witnessed } else { self.grace };
        let old_at = Wall::from_millis(until.millis()).saturating_add(age);
        old_at.checked_duration_since(scene.wall).is_some_and(|ahead| ahead > MAX_SKEW)
    }

    fn purge(&mut self, scene: &Scene<'_>, driver: Ordinal, slots: &SlotSet, until: Hlc, number: u64) -> TransferReply {
        let covers = |round: &Round| {
            let mut others = slots.clone();
            others.subtract(&round.slots);
            round.slots.slots() == slots.slots() && others.is_empty()
        };
        let in_round = |round: &&Round| round.number == number && round.until == until && covers(round);
        if self.rounds.get(&driver).filter(in_round).is_none() {
            return TransferReply::NotNow;
        }
        if !slots.is_empty() {
            scene.store.purge(slots, until);
        }
        self.leave(scene.store, driver);
        TransferReply::Noted
    }
}

fn plain(reply: TransferReply) -> (TransferReply, EntryBlock) {
    (reply, EntryBlock::default())
}

/// Whether all of `slots` are owned by this process, in force.
fn owns(scene: &Scene<'_>, slots: &SlotSet) -> bool {
    let is_owner = |slot| scene.routing.standing(slot) == Standing::Owner;
    slots.slots() == scene.routing.slots() && slots.iter().all(is_owner)
}

fn list(scene: &Scene<'_>, slots: &SlotSet, from: Cursor) -> TransferReply {
    if !owns(scene, slots) {
        return TransferReply::NotNow;
    }
    let (known, next) = scene.store.list(slots, from, limits::TRANSFER_HANDLES_MAX);
    TransferReply::Versions { known, next }
}

fn summarise(scene: &Scene<'_>, slots: &SlotSet) -> TransferReply {
    if slots.len() > limits::TRANSFER_SLOTS_MAX || !owns(scene, slots) {
        return TransferReply::NotNow;
    }
    let summaries: Vec<SlotSummary> = slots.iter().map(|slot| scene.store.summary(slot)).collect();
    TransferReply::Summaries(summaries)
}
