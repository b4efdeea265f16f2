//! Collects tombstones: drives the rounds of the slots that this process is the first owner of.
//!
//! ```text
//!  Idle ──(no ring change)──► Vouching ──(all who live)──► Sealing ──(every owner's digest is the same)──► Purging ──► next slots
//!                                │ (somebody does not)        │ (a digest differs, or is missing)                         │
//!                                └──► next time               └──► repair, next time                                      └──► Idle
//! ```
//!
//! The protocol has a step between the two, in which the driver spreads the union of all that the owners hold. Here a slot
//! whose owners differ is left to repair, and collected in a later round; so there is nothing left to spread when the digests
//! are equal, and the union is what everybody has. The digests are of *all* entries up to the moment that is named, values
//! too, and each owner stands by its own until the purge: no write, repair or offer up to that moment gets in between. So at
//! the purge every owner holds, of every key, the same entry up to then, or a later one; to forget the tombstones among them
//! changes nothing that can be seen, and the floor keeps everything older out (PROTOCOL, theorem 4).
//!
//! An owner that misses the purge keeps its tombstones, and takes over the floor when it compares with the others.
//!
//! **Whose present.** Before the rounds, whoever else lives bears witness, owner or not: the moment up to which is collected must
//! lie well in the past by the clock of each. Any member may have stamped a write or keep a hint that a floor ahead of its own
//! present would keep out for ever, although it was acknowledged; and the owner of a slot with one copy, whose clock has jumped
//! ahead by more than the grace, would be contradicted by no other owner (simulator seed 20246). The protocol asks owners only.
//! A cluster of one has nobody to ask, and nobody who could be kept out.
//!
//! **Known limit.** Owners that evict different values differ up to the moment that is named, and their tombstones are not
//! collected: they leave for lack of room then, and raise the floor.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quoit_proto_types::{
    Ordinal, SlotIndex, SlotSet, limits,
    message::transfer::{Digest, TransferReply, TransferRequest},
    version::Hlc,
};
use rand::{RngExt, rngs::StdRng};

use super::{
    config::{RETRY, ROUND_TIMEOUT},
    exchange::{Answer, Ask, Job},
    scene::Scene,
};
use crate::{planted::data::DataBug, time::Timestamp};

#[derive(Debug)]
pub(super) struct Collector {
    interval: Duration,
    grace: Duration,
    next_at: Timestamp,
    sweep: Option<Sweep>,
    round: Option<Round>,
    /// Names the attempts, in the whole life of the process.
    rounds_begun: Job,
    completed: u64,
    collected_until: Hlc,
}

/// What is collected in the rounds that follow each other.
#[derive(Debug)]
struct Sweep {
    /// Slots that are left.
    slots: SlotSet,
    until: Hlc,
    /// Whether everybody has said that this lies in the past.
    is_vouched_for: bool,
}

#[derive(Debug)]
struct Round {
    number: Job,
    until: Hlc,
    slots: SlotSet,
    /// The slots of each owner.
    owners: BTreeMap<Ordinal, SlotSet>,
    /// Those who are to be asked.
    unasked: Vec<Ordinal>,
    stage: Stage,
    deadline: Timestamp,
}

#[derive(Debug)]
enum Stage {
    /// Who has yet to say that the moment lies in the past, those of them who are to be asked once more, and when.
    Vouching { missing: BTreeSet<Ordinal>, again: Vec<Ordinal>, again_at: Timestamp },
    /// What the owners said so far; nothing for one that said no.
    Sealing(BTreeMap<Ordinal, Option<Vec<Digest>>>),
    /// How many have still to answer.
    Purging(usize),
}

impl Round {
    /// Has those asked once more who did not vouch, as they may have been behind, or busy, and waits for nobody who is down.
    /// Says whether there is nobody left to vouch.
    fn look(&mut self, scene: &Scene<'_>) -> bool {
        let Stage::Vouching { missing, again, again_at } = &mut self.stage else { return false };
        missing.retain(|member| scene.routing.is_up(*member));
        again.retain(|member| missing.contains(member));
        if *again_at <= scene.now {
            self.unasked.append(again);
        }
        missing.is_empty()
    }
}

impl Collector {
    pub(super) fn new(interval: Duration, grace: Duration) -> Self {
        Self {
            interval,
            grace,
            next_at: Timestamp::default(),
            sweep: None,
            round: None,
            rounds_begun: 0,
            completed: 0,
            collected_until: Hlc::MIN,
        }
    }

    /// Another view: the round ends.
    pub(super) fn install(&mut self, scene: &Scene<'_>, rng: &mut StdRng, moved: bool) {
        if moved {
            (self.sweep, self.round) = (None, None);
            self.next_at = scene.now.saturating_add(self.interval.mul_f64(rng.random_range(0.5..1.0)));
        }
    }

    /// Begins when it is time, and gives up what takes too long. Returns slots whose owners differ.
    pub(super) fn handle_timeout(&mut self, scene: &Scene<'_>) -> Option<SlotSet> {
        let is_over = self.round.as_mut().is_some_and(|round| round.look(scene) || round.deadline <= scene.now);
        let differing = if is_over { self.close(scene) } else { None };
        if self.next_at <= scene.now && self.sweep.is_none() && self.round.is_none() {
            self.next_at = scene.now.saturating_add(self.interval);
            let grace = u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX);
            let until = Hlc::from_millis(scene.wall.as_millis().saturating_sub(grace));
            if scene.routing.target().is_none() && until > self.collected_until {
                let slots = SlotSet::of(scene.routing.slots(), |slot| drives(scene, slot));
                self.sweep = Some(Sweep { slots, until, is_vouched_for: false });
            }
        }
        self.begin(scene);
        differing
    }

    fn begin(&mut self, scene: &Scene<'_>) {
        if self.round.is_some() {
            return;
        }
        let Some(sweep) = &mut self.sweep else { return };
        if sweep.slots.is_empty() {
            self.collected_until = sweep.until;
            self.sweep = None;
            return;
        }
        let mut owners: BTreeMap<Ordinal, SlotSet> = BTreeMap::new();
        let (missing, again_at) = (witnesses(scene), Timestamp::default());
        let (unasked, stage, slots) = if sweep.is_vouched_for || missing.is_empty() {
            let slots = sweep.slots.take(limits::TRANSFER_SLOTS_MAX);
            for slot in slots.iter() {
                for owner in scene.routing.owners(slot).now {
                    owners.entry(*owner).or_insert_with(|| SlotSet::none(slots.slots())).insert(slot);
                }
            }
            (owners.keys().copied().collect(), Stage::Sealing(BTreeMap::new()), slots)
        } else {
            let unasked = missing.iter().copied().collect();
            let none = SlotSet::none(sweep.slots.slots());
            (unasked, Stage::Vouching { missing, again: Vec::new(), again_at }, none)
        };
        self.rounds_begun += 1;
        let (number, deadline) = (self.rounds_begun, scene.now.saturating_add(ROUND_TIMEOUT));
        self.round = Some(Round { number, until: sweep.until, slots, owners, unasked, stage, deadline });
    }

    /// The next question, if there is one at this moment. It may go to this process itself.
    pub(super) fn next_ask(&mut self) -> Option<(Job, Ask)> {
        let round = self.round.as_mut()?;
        let to = round.unasked.pop()?;
        let slots = round.owners.get(&to).cloned().unwrap_or_else(|| SlotSet::none(round.slots.slots()));
        let (until, number) = (round.until, round.number);
        let request = match round.stage {
            Stage::Vouching { .. } | Stage::Sealing(_) => TransferRequest::Seal { slots, until, round: number },
            Stage::Purging(_) => TransferRequest::Purge { slots, until, round: number },
        };
        Some((number, Ask::new(to, request)))
    }

    /// Takes an answer of `owner`, or the news that there is none. Returns slots whose owners differ.
    pub(super) fn take(&mut self, scene: &Scene<'_>, number: Job, owner: Ordinal, answer: Answer) -> Option<SlotSet> {
        let round = self.round.as_mut().filter(|round| round.number == number)?;
        let is_over = match &mut round.stage {
            Stage::Vouching { missing, again, again_at } => {
                if matches!(answer, Some((TransferReply::Sealed(_), _))) {
                    missing.remove(&owner);
                } else {
                    again.push(owner);
                    *again_at = scene.now.saturating_add(RETRY);
                }
                missing.is_empty()
            }
            Stage::Sealing(said) => {
                let digests = match answer {
                    Some((TransferReply::Sealed(digests), _)) => Some(digests),
                    Some(_) | None => None,
                };
                said.insert(owner, digests);
                said.len() == round.owners.len()
            }
            Stage::Purging(waiting) => {
                *waiting -= 1;
                *waiting == 0
            }
        };
        let differing = if is_over { self.close(scene) } else { None };
        self.begin(scene);
        differing
    }

    /// Ends the stage of the round. Returns slots whose owners differ.
    fn close(&mut self, scene: &Scene<'_>) -> Option<SlotSet> {
        let mut round = self.round.take()?;
        let said = match &round.stage {
            Stage::Vouching { missing, .. } => {
                match &mut self.sweep {
                    Some(sweep) if missing.is_empty() => sweep.is_vouched_for = true,
                    Some(_) | None => self.sweep = None,
                }
                return None;
            }
            Stage::Sealing(said) => said,
            Stage::Purging(_) => {
                self.completed += 1;
                return None;
            }
        };
        let mut views: BTreeMap<SlotIndex, Vec<Digest>> = BTreeMap::new();
        for (owner, digests) in said {
            let Some(slots) = round.owners.get(owner) else { continue };
            let Some(digests) = digests.as_ref().filter(|digests| digests.len() == slots.len()) else { continue };
            slots.iter().zip(digests).for_each(|(slot, digest)| views.entry(slot).or_default().push(*digest));
        }
        let settled = SlotSet::of(round.slots.slots(), |slot| {
            let said = views.get(&slot).map_or(&[][..], Vec::as_slice);
            round.slots.contains(slot) && is_settled(scene, scene.routing.owners(slot).now.len(), said)
        });
        let differs = |slot| views.get(&slot).is_some_and(|said| said.iter().any(|digest| *digest != said[0]));
        let differing = SlotSet::of(round.slots.slots(), differs);
        for slots in round.owners.values_mut() {
            *slots = super::scene::both(slots, &settled);
        }
        // Whoever took part hears of the end, also if nothing of its is settled, and is free for the next round.
        round.unasked = round.owners.keys().copied().collect();
        round.stage = Stage::Purging(round.owners.len());
        round.deadline = scene.now.saturating_add(ROUND_TIMEOUT);
        self.round = Some(round);
        (!differing.is_empty()).then_some(differing)
    }

    /// When there is something to do, if not at this moment.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        match &self.round {
            Some(Round { stage: Stage::Vouching { again, again_at, .. }, unasked, deadline, .. })
                if unasked.is_empty() && !again.is_empty() =>
            {
                Some(*deadline.min(again_at))
            }
            Some(round) if round.unasked.is_empty() => Some(round.deadline),
            Some(_) => Some(Timestamp::default()),
            None => Some(self.next_at),
        }
    }

    /// How many rounds were completed, and up to when the last sweep went.
    pub(super) fn totals(&self) -> (u64, Hlc) {
        (self.completed, self.collected_until)
    }
}

/// Whether this process drives the rounds of `slot` at this moment: it is the first owner, and all of them live.
fn drives(scene: &Scene<'_>, slot: SlotIndex) -> bool {
    let owners = scene.routing.owners(slot).now;
    owners.first().copied() == scene.routing.me() && owners.iter().all(|owner| scene.routing.lives(*owner))
}

/// Who is to say that a moment lies in the past: whoever else is up.
fn witnesses(scene: &Scene<'_>) -> BTreeSet<Ordinal> {
    if scene.planted.is(DataBug::CollectsByOwnClock) {
        return BTreeSet::new();
    }
    let members = scene.routing.view().members().iter().map(|member| member.ordinal);
    members.filter(|member| scene.routing.is_up(*member) && scene.routing.me() != Some(*member)).collect()
}

/// Whether the `owners` of a slot hold the same, by what those `said` who were asked.
fn is_settled(scene: &Scene<'_>, owners: usize, said: &[Digest]) -> bool {
    let enough = if scene.planted.is(DataBug::PurgeOnMajority) { owners / 2 + 1 } else { owners };
    said.first().is_some_and(|first| said.iter().filter(|digest| *digest == first).count() >= enough)
}
